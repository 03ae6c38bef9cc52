//! What every task needs: places, running commands, saying what happens.
//!
//! Limits: commands only, no pipelines; nothing here knows what a task is about.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};

/// The root of the workspace.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where cargo puts what it builds, and the tasks their results.
pub fn target_dir() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        // A relative one is meant from the folder the user is in.
        Some(dir) => env::current_dir().unwrap_or_default().join(dir),
        None => root().join("target"),
    }
}

/// Where downloads live: outside the tree, as they serve all clones of it.
pub fn cache_dir() -> Result<PathBuf> {
    let under = |name: &str, rest: &str| env::var_os(name).map(|v| PathBuf::from(v).join(rest));
    under("DROPWATCH_CACHE", "")
        .or_else(|| under("XDG_CACHE_HOME", "dropwatch"))
        .or_else(|| under("HOME", ".cache/dropwatch"))
        .context("none of DROPWATCH_CACHE, XDG_CACHE_HOME and HOME says where to keep downloads")
}

/// The cargo that runs this task.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    // The first field of the line is the real id, the second the effective one.
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .find_map(|l| l.strip_prefix("Uid:"))
            .is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
    })
}

/// The full path of a command: from PATH, or a folder for administrators that PATH may lack.
pub fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Says one line about what is being done. On stderr, as stdout belongs to results.
pub fn say(text: impl AsRef<str>) {
    eprintln!("xtask: {}", text.as_ref());
}

/// Runs a command with its output shown; an error names the command.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", name(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", name(command));
    }
    Ok(())
}

/// Runs a command and returns what it prints on stdout, without the white space around it.
pub fn capture(command: &mut Command) -> Result<String> {
    let out = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", name(command)))?;
    if !out.status.success() {
        let told = String::from_utf8_lossy(&out.stderr);
        let told = told.lines().last().unwrap_or_default();
        bail!("{} failed ({}): {told}", name(command), out.status);
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// A command as a person would name it: program and first arguments.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut name = program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    for arg in command.get_args().take(3) {
        name.push(' ');
        name.push_str(&arg.to_string_lossy());
    }
    format!("`{name}`")
}

/// The size of a file and when it was changed: enough to see that it is another one.
pub fn stamp(path: &Path) -> Option<(u64, SystemTime)> {
    let meta = path.metadata().ok()?;
    Some((meta.len(), meta.modified().ok()?))
}
