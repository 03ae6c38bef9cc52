//! A running `dropwatch`: started, known to be ready, its lines collected, stopped, replayed.
//!
//! Nothing here sleeps and hopes: every wait is for a condition, with a deadline.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sched::CloneFlags;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::exec;
use crate::netns;

/// How long the tracer may take to be ready or to stop. Generous: it also runs in an emulated VM.
pub const SLOW: Duration = Duration::from_secs(30);

/// One line of output and when it was read.
#[derive(Clone, Debug)]
pub struct Line {
    /// The parsed line.
    pub value: Value,
    /// When it was read.
    pub read: SystemTime,
}

#[derive(Debug, Default)]
struct Shared {
    lines: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    bad: Option<String>,
    ended: bool,
}

/// A tracer that runs.
#[derive(Debug)]
pub struct Tracer {
    child: Child,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
    folder: PathBuf,
    /// From start to ready file.
    pub ready_after: Duration,
}

/// What a stopped tracer left.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// All lines it printed.
    pub lines: Vec<Value>,
}

impl Tracer {
    /// Starts `command` (arguments of the case already given) with JSON output and a ready file,
    /// and waits until it is ready. Files go to `folder`.
    pub fn start(mut command: Command, folder: &Path) -> Result<Self> {
        let ready = folder.join("ready");
        let _ = fs::remove_file(&ready);
        let stderr = File::create(folder.join("stderr.txt"))?;
        let begun = Instant::now();
        let mut child = command
            .args(["-o", "json", "--ready-file"])
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let stdout = child.stdout.take().context("no stdout")?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let reader = std::thread::spawn(move || collect(BufReader::new(stdout), &theirs));
        let mut tracer = Self {
            child,
            shared,
            reader: Some(reader),
            folder: folder.to_owned(),
            ready_after: Duration::ZERO,
        };
        while !ready.exists() {
            if let Some(status) = tracer.child.try_wait()? {
                bail!("dropwatch ended before it was ready: {status}");
            }
            if begun.elapsed() > SLOW {
                bail!("dropwatch was not ready after {SLOW:?}");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        tracer.ready_after = begun.elapsed();
        let told = tracer.wait(SLOW, |line| line["type"] == "start");
        ensure!(
            told.is_some(),
            "dropwatch is ready, but printed no start line"
        );
        Ok(tracer)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.state().lines.clone()
    }

    /// The hooks that it says it has.
    pub fn hooks(&self) -> Vec<Value> {
        let state = self.state();
        let start = state
            .lines
            .iter()
            .find(|line| line.value["type"] == "start");
        start
            .and_then(|line| line.value["hooks"].as_array())
            .cloned()
            .unwrap_or_default()
    }

    /// Whether it says that a hook is attached.
    pub fn attached(&self, hook: &str) -> bool {
        self.hooks()
            .iter()
            .any(|line| line["hook"] == hook && line["attached"] == true)
    }

    /// What it says about a cause: whether it can be judged on this kernel, and why not.
    pub fn cause(&self, cause: &str) -> Result<Value> {
        let state = self.state();
        let mut lines = state.lines.iter().map(|line| &line.value);
        let start = lines.find(|line| line["type"] == "start");
        let causes = start.and_then(|line| line["causes"].as_array());
        let told = causes.and_then(|causes| causes.iter().find(|told| told["cause"] == cause));
        told.cloned()
            .with_context(|| format!("the start line does not say whether {cause} is judged"))
    }

    /// Whether it can judge a cause on this kernel.
    pub fn judges(&self, cause: &str) -> Result<bool> {
        let told = self.cause(cause)?;
        let judged = told["judged"].as_bool();
        judged.with_context(|| format!("neither judged nor not: {told}"))
    }

    /// Whether it says that this probe is attached.
    pub fn attached_probe(&self, probe: &str) -> bool {
        self.hooks()
            .iter()
            .any(|line| line["probe"] == probe && line["attached"] == true)
    }

    /// Waits for the first line that `wanted` accepts; `None` when the deadline passes.
    pub fn wait(&self, patience: Duration, wanted: impl Fn(&Value) -> bool) -> Option<Line> {
        let deadline = Instant::now() + patience;
        let mut seen = 0;
        let mut state = self.state();
        loop {
            if let Some(line) = state.lines[seen..].iter().find(|line| wanted(&line.value)) {
                return Some(line.clone());
            }
            seen = state.lines.len();
            let left = deadline.checked_duration_since(Instant::now())?;
            if state.ended {
                return None;
            }
            state = self
                .shared
                .news
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until `count` lines were accepted by `wanted`, and returns them.
    pub fn wait_for(
        &self,
        patience: Duration,
        count: usize,
        wanted: impl Fn(&Value) -> bool,
    ) -> Option<Vec<Value>> {
        let accepted = std::cell::Cell::new(0);
        self.wait(patience, |line| {
            accepted.set(accepted.get() + usize::from(wanted(line)));
            accepted.get() == count
        })?;
        let lines = self.lines().into_iter().map(|line| line.value);
        Some(lines.filter(|line| wanted(line)).collect())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        kill(pid, signal).with_context(|| format!("{signal} to dropwatch"))
    }

    /// A shell command that will run in the tracer's own network and mount namespaces.
    pub fn shell(&self, script: &str) -> Result<Command> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let pid = self.pid();
        for (kind, flag) in [
            ("net", CloneFlags::CLONE_NEWNET),
            ("mnt", CloneFlags::CLONE_NEWNS),
        ] {
            let namespace = File::open(format!("/proc/{pid}/ns/{kind}"))?;
            netns::enter(&mut command, namespace, flag);
        }
        Ok(command)
    }

    /// Runs a shell command there.
    pub fn run_shell(&self, script: &str) -> Result<String> {
        exec::output(&mut self.shell(script)?)
    }

    /// Stops it as a service manager would and returns everything it printed.
    pub fn stop(mut self) -> Result<Finished> {
        self.signal(Signal::SIGTERM)?;
        self.end()
    }

    /// Waits for its end.
    pub fn end(&mut self) -> Result<Finished> {
        let deadline = Instant::now() + SLOW;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                bail!("dropwatch did not end within {SLOW:?} after the signal");
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        self.save()?;
        let state = self.state();
        let lines = state.lines.iter().map(|line| line.value.clone()).collect();
        if let Some(bad) = &state.bad {
            bail!("dropwatch printed a line that is not JSON: {bad}");
        }
        Ok(Finished { status, lines })
    }

    fn save(&self) -> Result<()> {
        let text: String = self
            .state()
            .lines
            .iter()
            .map(|line| format!("{}\n", line.value))
            .collect();
        fs::write(self.folder.join("live.jsonl"), text).context("saving the output")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Also when a scenario failed half-way: this is what one looks at then.
        let _ = self.save();
    }
}

fn collect(stdout: impl BufRead, shared: &Shared) {
    for text in stdout.lines() {
        let Ok(text) = text else { break };
        let read = SystemTime::now();
        let mut state = shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
        match serde_json::from_str(&text) {
            Ok(value) => state.lines.push(Line { value, read }),
            Err(_) => state.bad = Some(text),
        }
        drop(state);
        shared.news.notify_all();
    }
    shared
        .lines
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .ended = true;
    shared.news.notify_all();
}
