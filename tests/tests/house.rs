//! Which parts of the program may know which: data flow one way, and no cause is named where all are equal.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder, and what none of its files may name.
const WALLS: &[(&str, &[&str])] = &[
    (
        "judge",
        &[
            "causes::",
            "correlate::",
            "ingest::",
            "output::",
            "session::",
            "app::",
        ],
    ),
    (
        "correlate",
        &[
            "causes::",
            "ingest::",
            "output::",
            "session::",
            "app::",
            "facts::reader",
        ],
    ),
    (
        "causes",
        &[
            "correlate::",
            "ingest::",
            "output::",
            "session::",
            "app::",
            "facts::reader",
        ],
    ),
    (
        "netfilter",
        &[
            "causes::",
            "judge::",
            "correlate::",
            "ingest::",
            "output::",
            "facts::reader",
        ],
    ),
    (
        "reasons",
        &["causes::", "judge::", "correlate::", "output::", "facts::"],
    ),
    (
        "model",
        &[
            "causes::",
            "judge::",
            "correlate::",
            "ingest::",
            "output::",
            "facts::",
            "attach::",
        ],
    ),
    (
        "facts",
        &[
            "causes::",
            "judge::",
            "correlate::",
            "output::",
            "session::",
            "app::",
        ],
    ),
    (
        "ingest",
        &[
            "causes::",
            "judge::",
            "correlate::",
            "output::",
            "session::",
            "app::",
        ],
    ),
    (
        "kernel",
        &[
            "causes::",
            "judge::",
            "correlate::",
            "output::",
            "session::",
            "app::",
        ],
    ),
];

/// Stems that only a cause's own folder, and the list of causes, may name.
const STEMS: &[&str] = &["rp_filter", "snat_race", "nfqueue_mark", "ipvs_conntrack"];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dropwatch/src")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The code of a file without comments and without its tests, which stand at its end or in files of their own.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    let shown = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = shown
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn is_test(path: &Path) -> bool {
    let name = path.to_string_lossy();
    ["tests.rs", "/tests/", "_tests.rs", "samples.rs"]
        .iter()
        .any(|part| name.contains(part))
}

/// The paths of a `use crate::{…}` tree stand without `crate::` in it, so a name counts where a path begins.
fn names(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let inside = code[..at].ends_with("crate::");
        inside || before.is_none_or(|c| c.is_whitespace() || c == '{')
    })
}

#[test]
fn no_part_knows_what_it_must_not() {
    let mut wrong = Vec::new();
    for (folder, forbidden) in WALLS {
        for path in files(&source().join(folder)) {
            if is_test(&path) {
                continue;
            }
            let code = code(&path);
            for name in *forbidden {
                if names(&code, name) {
                    wrong.push(format!("{}: {name}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_cause_is_named_by_nobody_but_itself_and_the_list() {
    let mut wrong = Vec::new();
    for path in files(&source()) {
        let name = path.to_string_lossy().into_owned();
        let listed = name.ends_with("causes/mod.rs");
        if is_test(&path) || listed {
            continue;
        }
        let code = code(&path);
        for stem in STEMS {
            let own = name.contains(&format!("causes/{stem}/"));
            if !own && code.contains(&format!("causes::{stem}")) {
                wrong.push(format!("{name}: {stem}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_walls_would_hold_something_back() {
    assert!(names("use crate::{\n    causes::shell,\n};", "causes::"));
    assert!(names("let x = crate::output::json();", "output::"));
    assert!(!names("use super::causes::shell;", "causes::"));
    assert!(!names("let output = my_output::x();", "output::"));
}
