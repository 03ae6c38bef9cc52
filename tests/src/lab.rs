//! What a scenario works with: the product under test, a folder of its own, and the checks that
//! hold for every run of the tracer (exit code, ledger, replay).

use std::cell::Cell;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::expect::{self, Check, is_packet, nearest_miss, packet};
use crate::netns::Netns;
use crate::topology::files::{self, FileSpec};
use crate::tracer::{Finished, SLOW, Tracer};
use crate::traffic::flow::Tuple;

/// Says that a scenario cannot be tried here, and why. Returned as an error, counted as a skip.
#[derive(Debug)]
pub struct Skip(pub String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// The surroundings of one scenario.
#[derive(Debug)]
pub struct Lab {
    dropwatch: PathBuf,
    force: Vec<String>,
    folder: PathBuf,
    exit: Cell<Option<i32>>,
}

impl Lab {
    /// Surroundings with an empty folder.
    pub fn new(dropwatch: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self {
            dropwatch: dropwatch.to_owned(),
            force: Vec::new(),
            folder: folder.to_owned(),
            exit: Cell::new(None),
        })
    }

    /// The same, but attaching only in these ways: `PROBE=FLAVOUR,…`.
    pub fn forced(&self, flavours: &str) -> Self {
        Self {
            dropwatch: self.dropwatch.clone(),
            force: flavours.split(',').map(str::to_owned).collect(),
            folder: self.folder.clone(),
            exit: Cell::new(None),
        }
    }

    /// The binary under test.
    pub fn dropwatch(&self) -> &Path {
        &self.dropwatch
    }

    /// Where the scenario's files go.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Exit code of the tracer, if one ended.
    pub fn exit_code(&self) -> Option<i32> {
        self.exit.get()
    }

    /// The end of what the tracer last said on stderr.
    pub fn stderr_tail(&self) -> String {
        let text = fs::read(self.folder.join("stderr.txt")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// A tracer command in a namespace (`None` = this program's own) that sees just these files.
    pub fn command(&self, netns: Option<&Netns>, files: &[FileSpec]) -> Result<Command> {
        let mut command = match netns {
            Some(netns) => netns.command(&self.dropwatch)?,
            None => Command::new(&self.dropwatch),
        };
        files::cover(&mut command, files)?;
        for force in &self.force {
            command.args(["--force", force]);
        }
        Ok(command)
    }

    /// Starts a recording `dropwatch --explain`.
    pub fn explain(&self, netns: Option<&Netns>, files: &[FileSpec]) -> Result<Tracer> {
        self.explain_with(netns, files, &[])
    }

    /// The same with more options.
    pub fn explain_with(
        &self,
        netns: Option<&Netns>,
        files: &[FileSpec],
        options: &[&str],
    ) -> Result<Tracer> {
        let mut command = self.command(netns, files)?;
        command.args(["--explain", "--record"]).arg(self.capture());
        command.args(options);
        Tracer::start(command, &self.folder)
    }

    /// Starts a `dropwatch` that lists drops.
    pub fn list(&self, netns: Option<&Netns>) -> Result<Tracer> {
        Tracer::start(self.command(netns, &[])?, &self.folder)
    }

    /// Waits for the verdict on the packet with this tuple.
    pub fn verdict(&self, tracer: &Tracer, tuple: &Tuple) -> Result<Value> {
        let ours = |line: &Value| line["type"] == "verdict" && is_packet(packet(line), tuple);
        if let Some(line) = tracer.wait(SLOW / 3, ours) {
            return Ok(line.value);
        }
        let lines: Vec<Value> = tracer.lines().into_iter().map(|line| line.value).collect();
        bail!(
            "no verdict for {tuple:?}\n  {}",
            nearest_miss(&lines, "verdict", tuple)
        )
    }

    /// Stops the tracer; exit code 0, a summary with a ledger that adds up, and a replay that gives
    /// the same verdicts are required.
    pub fn finish(&self, tracer: Tracer) -> Result<Finished> {
        let finished = self.finish_without_replay(tracer)?;
        self.replay(&finished)?;
        Ok(finished)
    }

    /// The same without the replay.
    pub fn finish_without_replay(&self, tracer: Tracer) -> Result<Finished> {
        let finished = tracer.stop()?;
        self.exit.set(finished.status.code());
        ensure!(
            finished.status.code() == Some(0),
            "dropwatch ended with {}",
            finished.status
        );
        let mut check = Check::new(finished.summary()?);
        check.eq("/ledger/balanced", true);
        check.done("summary")?;
        Ok(finished)
    }

    /// Where the capture goes that the end compares with a replay.
    pub fn capture(&self) -> PathBuf {
        self.folder.join("capture.jsonl")
    }

    fn replay(&self, live: &Finished) -> Result<()> {
        let out = Command::new(&self.dropwatch)
            .arg("replay")
            .arg(self.capture())
            .args(["--explain", "-o", "json"])
            .output()
            .context("starting the replay")?;
        fs::write(self.folder.join("replay.jsonl"), &out.stdout)?;
        let stderr = String::from_utf8_lossy(&out.stderr);
        ensure!(
            out.status.success(),
            "replay ended with {}: {}",
            out.status,
            stderr.trim()
        );
        let text = String::from_utf8_lossy(&out.stdout);
        let lines: serde_json::Result<Vec<Value>> =
            text.lines().map(serde_json::from_str).collect();
        let lines = lines.context("replay printed a line that is not JSON")?;
        let again: Vec<&Value> = lines
            .iter()
            .filter(|line| line["type"] == "verdict")
            .collect();
        let before = live.verdicts();
        ensure!(
            again.len() == before.len(),
            "replay gives {} verdicts, the live run gave {}",
            again.len(),
            before.len()
        );
        for (again, before) in again.iter().zip(before) {
            let mut check = Check::new(again);
            for field in ["/case", "/cause", "/summary", "/facts", "/fixes"] {
                check.eq(field, before.pointer(field).cloned().unwrap_or(Value::Null));
            }
            check.done("replay")?;
        }
        let told = |lines: &[Value]| -> Vec<Value> {
            let updates = lines.iter().filter(|line| line["type"] == "update");
            updates.map(|l| l["facts"].clone()).collect()
        };
        ensure!(
            told(&lines) == told(&live.lines),
            "replay tells other fates of connections than the live run"
        );
        Ok(())
    }
}

impl Finished {
    /// The summary line, which must be the last.
    pub fn summary(&self) -> Result<&Value> {
        let last = self.lines.last().context("dropwatch printed nothing")?;
        ensure!(
            last["type"] == "summary",
            "the last line is no summary: {last}"
        );
        Ok(last)
    }

    /// All verdicts.
    pub fn verdicts(&self) -> Vec<&Value> {
        self.lines
            .iter()
            .filter(|line| line["type"] == "verdict")
            .collect()
    }

    /// How many drops or anomalies in a namespace the summary attributes to a cause. Other namespaces may have
    /// drops of their own, when somebody else works on this machine.
    pub fn blamed(&self, cause: &str, netns: &Netns) -> Result<u64> {
        let cases = self.summary()?["cases"]
            .as_array()
            .context("a summary without cases")?;
        let verdicts = self.verdicts();
        let mut sum = 0;
        for case in cases.iter().filter(|case| case["cause"] == cause) {
            let verdict = verdicts
                .iter()
                .find(|verdict| verdict["case"] == case["case"]);
            let verdict = verdict.with_context(|| format!("a case without verdict: {case}"))?;
            if expect::netns(verdict)["inum"] == netns.inum() {
                let total = case["total"].as_u64();
                sum += total.with_context(|| format!("a case without total: {case}"))?;
            }
        }
        Ok(sum)
    }

    /// Fails when a cause is blamed for what happened in a namespace, in a verdict or in the summary.
    pub fn must_not_blame(&self, cause: &str, netns: &Netns) -> Result<()> {
        for verdict in self.verdicts() {
            let here = expect::netns(verdict)["inum"] == netns.inum();
            ensure!(!here || verdict["cause"] != cause, "false blame: {verdict}");
        }
        let blamed = self.blamed(cause, netns)?;
        ensure!(
            blamed == 0,
            "false blame in the summary: {}",
            self.summary()?
        );
        Ok(())
    }
}
