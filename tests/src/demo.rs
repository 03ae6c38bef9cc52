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

use crate::fix;
use crate::lab::Lab;
use crate::netns;
use crate::say;
use crate::scenarios::rp_filter::{CAUSE, SEED_FILES};
use crate::topology::files::SYSCTL_FILE;
use crate::topology::seed::{CILIUM_HOST, Config, LXC, POD_COMM, POD_IP, POD_PORT, Seed};
use crate::tracer::SLOW;
use crate::traffic::flow::{Flow, probe};

/// Plays the demo of a cause.
pub fn run(cause: &str, dropwatch: &Path) -> Result<bool> {
    ensure!(
        cause == CAUSE,
        "no demo of `{cause}`; there is one of `{CAUSE}`"
    );
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

fn play(lab: &Lab) -> Result<()> {
    step("A node and a pod, as in the incident");
    let seed = Seed::build(&Config {
        all: 2,
        device: 2,
        ..Config::HEALTHY
    })?;
    tell(&format!(
        "pod:   {POD_COMM} on {POD_IP}, its eth0 is the far end of the node's {LXC}\n\
         node:  reaches 10.0.0.0/24 by {CILIUM_HOST}; {LXC} has no address\n\
         file:  {SYSCTL_FILE} sets rp_filter = 2 for every device"
    ));

    step(&format!("dropwatch --explain --netns {}", seed.node.name()));
    let mut shown = Shown::start(lab, &seed)?;
    let tracer = lab.explain(Some(&seed.node), SEED_FILES)?;

    step(&format!(
        "The node's health probe: GET http://{POD_IP}:{POD_PORT}/health"
    ));
    ensure!(
        !probe(&seed.node)?,
        "the probe was answered: the network is not as it should be"
    );
    tell("timed out: the pod answers, the node never sees the answer");
    let verdict = lab.verdict(&tracer, &Flow::Probe.tuple())?;
    ensure!(
        verdict["cause"] == CAUSE,
        "dropwatch gives another cause: {}",
        verdict["cause"]
    );
    shown.settle()?;

    step("The advice, applied as printed");
    for line in advice(&verdict) {
        tell(&line);
    }
    fix::apply(fix::primary(&verdict)?, &tracer)?;
    let before = seed.refused()?;

    step("The same probe again");
    for _ in 0..3 {
        let begun = Instant::now();
        ensure!(
            probe(&seed.node)?,
            "still no answer: the advice does not help"
        );
        tell(&format!(
            "200 OK after {:.1} ms",
            begun.elapsed().as_secs_f64() * 1e3
        ));
    }
    let after = seed.refused()? - before;
    ensure!(
        after == 0,
        "{after} more packets were refused: the advice does not help"
    );

    step("dropwatch ends");
    let said = shown.stop()?;
    ensure!(said.contains(CAUSE), "the text output never named {CAUSE}");
    let finished = lab.finish(tracer)?;
    let blamed = finished.blamed(CAUSE, &seed.node)?;
    ensure!(
        blamed == before,
        "{blamed} drops explained, but the kernel refused {before}"
    );
    step(&format!(
        "lost before the change: {before}; lost after it: none; all of them explained"
    ));
    Ok(())
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
    child: Child,
    reader: Option<JoinHandle<()>>,
    said: Arc<Mutex<(String, Instant)>>,
}

impl Shown {
    fn start(lab: &Lab, seed: &Seed) -> Result<Self> {
        let ready = lab.folder().join("text-ready");
        let mut command = lab.command(Some(&seed.node), SEED_FILES)?;
        let begun = Instant::now();
        let mut child = command
            .args([
                "--explain",
                "--netns",
                seed.node.name(),
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
                if said.0.contains(CAUSE) && said.1.elapsed() > Duration::from_millis(150) {
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

    fn stop(&mut self) -> Result<String> {
        kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        )?;
        let status = self.child.wait()?;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        ensure!(status.success(), "dropwatch ended with {status}");
        Ok(self
            .said
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone())
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
