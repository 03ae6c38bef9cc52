//! The tracer whose text the viewer reads.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::tell;
use crate::lab::Lab;
use crate::netns::Netns;
use crate::say;
use crate::topology::files::FileSpec;
use crate::tracer::SLOW;

/// The tracer whose text the viewer reads.
pub struct Shown {
    cause: &'static str,
    child: Child,
    reader: Option<JoinHandle<()>>,
    said: Arc<Mutex<(String, Instant)>>,
}

impl Shown {
    /// Starts it in a namespace, with these files, and waits until it is attached.
    pub fn start(
        lab: &Lab,
        cause: &'static str,
        netns: &Netns,
        files: &[FileSpec],
    ) -> Result<Self> {
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
    pub fn settle(&self) -> Result<()> {
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
    pub fn stop(&mut self) -> Result<()> {
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
