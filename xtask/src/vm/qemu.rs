//! Boots one virtual machine and watches it to its end.
//!
//! The console is shown as it comes, usually with the kernel's name and the seconds since the start before each
//! line; results come over a second serial port into a file.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::arch::Arch;
use super::kernel::Kernel;
use super::report::Report;
use crate::sh;

/// How many processors a machine has: races need two.
const PROCESSORS: &str = "2";

/// How instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// By the processor.
    Kvm,
    /// By emulation.
    Tcg,
}

impl Accel {
    /// Options for the emulator.
    fn options(self, arch: &Arch) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", arch.processor],
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// What of the console is shown while a machine runs; all of it is kept in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Nothing.
    Nothing,
    /// Every line, with the seconds since the start before it.
    All,
    /// What the started command says, as it says it.
    Command,
}

/// What a machine is made of, and how long it may take.
pub struct Machine<'a> {
    /// What boots.
    pub kernel: &'a Kernel,
    /// What it starts from.
    pub initramfs: &'a Path,
    /// How it is executed.
    pub accel: Accel,
    /// Where the console's text is kept.
    pub console: &'a Path,
    /// Where the second serial port's bytes go.
    pub results: &'a Path,
    /// What of the console is shown; anything but nothing brings the emulator's complaints as well.
    pub show: Show,
    /// How long it may be silent.
    pub silence: Duration,
    /// How long it may run.
    pub limit: Duration,
}

/// Ends the emulator when it goes out of scope.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine<'_> {
    /// Runs the machine to its end.
    pub fn run(&self) -> Result<Report> {
        let start = Instant::now();
        let mut log = File::create(self.console)
            .with_context(|| format!("cannot write {}", self.console.display()))?;
        let mut guard = Guard(
            self.command()
                .spawn()
                .context("cannot start the emulator")?,
        );
        let (sender, lines) = mpsc::channel();
        let mut output = guard
            .0
            .stdout
            .take()
            .context("the emulator has no output")?;
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    break;
                }
            }
        });

        let mut report = Report::default();
        let mut rest = Vec::new();
        loop {
            let left = self.limit.saturating_sub(start.elapsed());
            match lines.recv_timeout(self.silence.min(left)) {
                Ok(bytes) => {
                    log.write_all(&bytes)?;
                    rest.extend(bytes);
                    while let Some(end) = rest.iter().position(|b| *b == b'\n') {
                        let line: Vec<u8> = rest.drain(..=end).collect();
                        self.line(&line, start.elapsed(), &mut report);
                    }
                }
                Err(RecvTimeoutError::Timeout) if start.elapsed() >= self.limit => {
                    report.ended = Some(format!("not done after {} s", self.limit.as_secs()));
                    break;
                }
                Err(RecvTimeoutError::Timeout) => {
                    report.ended = Some(format!("silent for {} s", self.silence.as_secs()));
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if !rest.is_empty() {
            self.line(&rest, start.elapsed(), &mut report);
        }
        report.total = start.elapsed();
        Ok(report)
    }

    fn line(&self, line: &[u8], at: Duration, report: &mut Report) {
        let line = readable(line);
        let begun = report.boot.is_some();
        report.line(&line, at);
        match self.show {
            Show::All => println!("[{:>4} {:6.1}] {line}", self.kernel.name, at.as_secs_f64()),
            Show::Command if begun && report.status.is_none() => println!("{line}"),
            Show::Command | Show::Nothing => {}
        }
    }

    fn command(&self) -> Command {
        let arch = self.kernel.arch;
        let (emulator, _) = arch.emulator;
        // The emulator must not outlive this process, however that ends.
        let mut command = match sh::which("setpriv") {
            Some(setpriv) => {
                let mut c = Command::new(setpriv);
                c.args(["--pdeathsig", "KILL", "--", emulator]);
                c
            }
            None => Command::new(emulator),
        };
        command
            .args(self.accel.options(arch))
            .args([
                "-m",
                "1G",
                "-smp",
                PROCESSORS,
                "-display",
                "none",
                "-no-reboot",
                "-nodefaults",
            ])
            .args(["-monitor", "none", "-serial", "stdio"])
            .args(arch.port(self.results))
            .args(arch.machine)
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(self.initramfs)
            .arg("-append")
            // The kernel's warnings are shown (level 4), its notices are not. A word that the kernel does not know goes to the environment of the first process.
            .arg(format!(
                "console={} panic=-1 loglevel=5 mitigations=off RESULTS={}",
                arch.console, arch.results
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(if self.show == Show::Nothing {
                Stdio::null()
            } else {
                Stdio::inherit()
            });
        command
    }
}

/// A console's line without what a terminal would act on.
fn readable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars()
        .filter(|c| !c.is_control() || *c == '\t')
        .collect()
}
