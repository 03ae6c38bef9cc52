//! Every command line in the documents must be one that the program accepts.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use dropwatch::cli::Cli;

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = vec![root.join("README.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("docs") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// Lines in code blocks that begin with `program`, without comments (behind two spaces or `#`).
fn commands(program: &str) -> Vec<(PathBuf, Vec<String>)> {
    let mut found = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).expect("a document");
        let mut code = false;
        for line in text.lines() {
            code ^= line.starts_with("```");
            let command = line.split("  ").next().unwrap_or_default();
            let command = command.split(" #").next().unwrap_or_default();
            let mut words = command.split_whitespace().map(str::to_owned).peekable();
            if code && words.peek().is_some_and(|w| w == program) {
                found.push((path.clone(), words.collect()));
            }
        }
    }
    found
}

#[test]
fn documented_command_lines_are_accepted() {
    let commands = commands("dropwatch");
    assert!(commands.len() >= 8, "only {} found", commands.len());
    for (path, words) in commands {
        if let Err(e) = Cli::try_parse_from(&words) {
            panic!("{}: {}: {e}", path.display(), words.join(" "));
        }
    }
}

#[test]
fn every_option_is_documented() {
    use clap::CommandFactory as _;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/usage.md");
    let usage = fs::read_to_string(root).expect("docs/usage.md");
    for option in Cli::command().get_arguments().filter(|a| !a.is_hide_set()) {
        if let Some(long) = option
            .get_long()
            .filter(|l| !matches!(*l, "help" | "version"))
        {
            assert!(
                usage.contains(&format!("--{long}")),
                "--{long} is not in docs/usage.md"
            );
        }
    }
}
