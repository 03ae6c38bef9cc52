//! One incident from drop to cure, told on a terminal.
//!
//! The explanation is what `dropwatch --explain` prints; the commands applied are those of its
//! advice, taken from a second tracer with JSON output. The demo succeeds only when everything it
//! tells was really seen.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::lab::Lab;
use crate::netns::{self, Netns};
use crate::say;
use crate::scenarios;
use crate::topology::files::FileSpec;
use crate::tracer::SLOW;

mod rp_filter;
mod snat_race;

/// Plays the demo of a cause.
pub fn run(cause: &str, dropwatch: &Path) -> Result<bool> {
    let play = match cause {
        scenarios::rp_filter::CAUSE => rp_filter::play,
        scenarios::snat_race::CAUSE => snat_race::play,
        _ => bail!("no demo of `{cause}`; there are `rp_filter` and `snat_race`"),
    };
    netns::require_root()?;
    netns::remove_leftovers()?;
    let dropwatch = fs::canonicalize(dropwatch)
        .with_context(|| format!("no dropwatch at {}", dropwatch.display()))?;
    let folder = std::env::temp_dir().join(format!("dropwatch-demo-{}", std::process::id()));
    let lab = Lab::new(&dropwatch, &folder)?;
    let result = play(&lab);
    if result.is_err() {
        let said = fs::read_to_string(folder.join("text-stderr.txt")).unwrap_or_default();
        eprint!("{said}");
    }
    let _ = fs::remove_dir_all(&folder);
    result.map(|()| true)
}

fn advice(verdict: &Value) -> Vec<String> {
    let fixes = verdict["fixes"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let Some(fix) = fixes.iter().find(|fix| fix["primary"] == true) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    if let (Some(path), Some(content)) = (
        fix["file"]["path"].as_str(),
        fix["file"]["content"].as_str(),
    ) {
        lines.push(format!("{path}:"));
        lines.extend(content.lines().map(|line| format!("    {line}")));
    }
    let commands = fix["commands"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    lines.extend(
        commands
            .iter()
            .filter_map(Value::as_str)
            .map(|command| format!("# {command}")),
    );
    lines
}

fn step(text: &str) {
    say::line(format_args!("\n== {text}"));
}

fn tell(text: &str) {
    for line in text.lines() {
        say::line(format_args!("   {line}"));
    }
}

/// The tracer whose text the viewer reads.
struct Shown {
    cause: &'static str,
    child: Child,
    reader: Option<JoinHandle<()>>,
    said: Arc<Mutex<(String, Instant)>>,
}

impl Shown {
    fn start(lab: &Lab, cause: &'static str, netns: &Netns, files: &[FileSpec]) -> Result<Self> {
        let ready = lab.folder().join("text-ready");
        let mut command = lab.command(Some(netns), files)?;
        let begun = Instant::now();
        let mut child = command
            .args([
                "--explain",
                "--netns",
                netns.name(),
                "-o",
                "text",
                "--ready-file",
            ])
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(lab.folder().join("text-stderr.txt"))?)
            .spawn()
            .context("starting dropwatch")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let said = Arc::new(Mutex::new((String::new(), Instant::now())));
        let theirs = Arc::clone(&said);
        let reader = Some(std::thread::spawn(move || show(stdout, &theirs)));
        let mut shown = Self {
            cause,
            child,
            reader,
            said,
        };
        while !ready.exists() {
            if let Some(status) = shown.child.try_wait()? {
                bail!("dropwatch ended before it was ready: {status}");
            }
            ensure!(
                begun.elapsed() < SLOW,
                "dropwatch was not ready after {SLOW:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        tell(&format!(
            "attached after {} ms",
            begun.elapsed().as_millis()
        ));
        Ok(shown)
    }

    /// Waits until it has said something of the cause and then paused.
    fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + SLOW;
        loop {
            {
                let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
                if said.0.contains(self.cause) && said.1.elapsed() > Duration::from_millis(150) {
                    return Ok(());
                }
            }
            ensure!(
                Instant::now() < deadline,
                "no explanation in the text output"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it; it must have named the cause.
    fn stop(&mut self) -> Result<()> {
        kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        )?;
        let status = self.child.wait()?;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        ensure!(status.success(), "dropwatch ended with {status}");
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let cause = self.cause;
        ensure!(
            said.0.contains(cause),
            "the text output never named {cause}"
        );
        Ok(())
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn show(stdout: impl Read, said: &Mutex<(String, Instant)>) {
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { break };
        say::line(format_args!("   | {line}"));
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.0.push_str(&line);
        said.0.push('\n');
        said.1 = Instant::now();
    }
}
