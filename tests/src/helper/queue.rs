//! A queue program: it binds an NFQUEUE number and answers each packet, as a traffic inspector does.
//!
//! It tells on its standard output that it is bound, then a line for each packet that it was given:
//! length, whether it was whole (not segmented yet), and the mark it came with. Who ends it while it
//! holds packets back makes the kernel drop those.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Stdio};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use nfq::{Queue, Verdict};

use super::myself;
use crate::netns::Netns;

/// What the program says once it is bound.
const BOUND: &str = "bound";

/// What the program does with every packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Answer {
    /// Lets it go on to the next hook function.
    Accept,
    /// Has the kernel drop it.
    Drop,
    /// Lets it go on, beginning with the hook function that queued it.
    Repeat,
    /// Never answers.
    Hold,
}

/// What the answer says about the packet's mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Nothing, as `nfq_set_verdict`.
    Keep,
    /// The whole mark, as `nfq_set_verdict2`.
    Set(u32),
    /// These bits under this mask, the others as they came.
    Masked(u32, u32),
}

impl Mark {
    /// The mark to answer with for a packet that came with `old`.
    fn of(self, old: u32) -> Option<u32> {
        match self {
            Self::Keep => None,
            Self::Set(value) => Some(value),
            Self::Masked(value, mask) => Some(old & !mask | value & mask),
        }
    }

    /// As it stands on the command line.
    fn text(self) -> String {
        match self {
            Self::Keep => "keep".to_owned(),
            Self::Set(value) => value.to_string(),
            Self::Masked(value, mask) => format!("{value}/{mask}"),
        }
    }
}

impl FromStr for Mark {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once('/') {
            None if text == "keep" => Self::Keep,
            None => Self::Set(text.parse()?),
            Some((value, mask)) => Self::Masked(value.parse()?, mask.parse()?),
        })
    }
}

/// The program's command line.
#[derive(Debug, Args)]
pub struct Options {
    /// The name it shows as its own.
    pub comm: String,
    /// The queue.
    number: u16,
    /// What it does with every packet.
    #[arg(long, value_enum)]
    answer: Answer,
    /// `keep`, a value, or `value/mask`.
    #[arg(long)]
    mark: Mark,
    /// How long it thinks about each packet.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Take large packets whole, instead of having the kernel segment them.
    #[arg(long)]
    whole: bool,
    /// How many packets may wait.
    #[arg(long)]
    max_len: Option<u32>,
}

/// Plays the program.
pub fn serve(options: &Options) -> Result<()> {
    let mut queue = Queue::open().context("opening the queue's socket")?;
    let number = options.number;
    queue
        .bind(number)
        .with_context(|| format!("binding queue {number}"))?;
    queue.set_recv_gso(number, options.whole)?;
    if let Some(max_len) = options.max_len {
        queue.set_queue_max_len(number, max_len)?;
    }
    say(BOUND)?;
    let mut held = Vec::new();
    loop {
        let mut packet = queue.recv().context("receiving")?;
        let old = packet.get_nfmark();
        let line = format!(
            "{} {} {old}",
            packet.get_original_len(),
            packet.is_seg_offloaded()
        );
        thread::sleep(Duration::from_millis(options.delay_ms));
        let verdict = match options.answer {
            Answer::Accept => Some(Verdict::Accept),
            Answer::Drop => Some(Verdict::Drop),
            Answer::Repeat => Some(Verdict::Repeat),
            Answer::Hold => None,
        };
        match verdict {
            Some(verdict) => {
                if let Some(mark) = options.mark.of(old) {
                    packet.set_nfmark(mark);
                }
                packet.set_verdict(verdict);
                queue.verdict(packet).context("answering")?;
            }
            None => held.push(packet),
        }
        say(&line)?;
    }
}

fn say(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}

/// How a scenario wants the program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// What it does with every packet.
    pub answer: Answer,
    /// What it says about the mark.
    pub mark: Mark,
    /// How long it thinks about each packet, in milliseconds.
    pub delay_ms: u64,
    /// Whether it takes large packets whole.
    pub whole: bool,
    /// How many packets may wait.
    pub max_len: Option<u32>,
}

impl Program {
    /// One that accepts at once.
    pub const fn accept(mark: Mark) -> Self {
        Self {
            answer: Answer::Accept,
            mark,
            delay_ms: 0,
            whole: false,
            max_len: None,
        }
    }
}

/// A packet that the program was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its length from the network header on.
    pub length: usize,
    /// Whether it is a large one that was not segmented.
    pub whole: bool,
    /// The mark it came with.
    pub mark: u32,
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Inspector {
    child: Child,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Inspector {
    /// Starts it in `netns` under the name `comm` and waits until the queue is bound.
    pub fn start(netns: &Netns, comm: &str, number: u16, program: &Program) -> Result<Self> {
        let answer = program.answer.to_possible_value();
        let answer = answer.context("an answer without a name")?;
        let mut command = myself(netns)?;
        command.args(["helper", "queue", comm, &number.to_string()]);
        command.args(["--answer", answer.get_name()]);
        command.args(["--mark", &program.mark.text()]);
        command.args(["--delay-ms", &program.delay_ms.to_string()]);
        if program.whole {
            command.arg("--whole");
        }
        if let Some(max_len) = program.max_len {
            command.args(["--max-len", &max_len.to_string()]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the queue program")?;
        let stdout = child.stdout.take().context("no stdout")?;
        // Already a guard: whatever goes wrong from here on, the child is killed.
        let inspector = Self {
            child,
            seen: Arc::default(),
        };
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        ensure!(
            line.trim_end() == BOUND,
            "the queue program did not bind queue {number}"
        );
        let seen = Arc::clone(&inspector.seen);
        thread::spawn(move || collect(stdout, &seen));
        Ok(inspector)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The packets that it was given so far and has done with.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until there are at least `count` of them.
    pub fn wait(&self, count: usize, patience: Duration) -> Result<Vec<Seen>> {
        let deadline = Instant::now() + patience;
        loop {
            let seen = self.seen();
            if seen.len() >= count {
                return Ok(seen);
            }
            if Instant::now() > deadline {
                bail!(
                    "the queue program was given {} packets, not {count}",
                    seen.len()
                );
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stdout: BufReader<ChildStdout>, seen: &Mutex<Vec<Seen>>) {
    for line in stdout.lines() {
        let Some(packet) = line.ok().as_deref().and_then(parse) else {
            break;
        };
        seen.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(packet);
    }
}

fn parse(line: &str) -> Option<Seen> {
    let mut words = line.split_whitespace();
    Some(Seen {
        length: words.next()?.parse().ok()?,
        whole: words.next()?.parse().ok()?,
        mark: words.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_the_command_line() {
        for mark in [
            Mark::Keep,
            Mark::Set(0x8000),
            Mark::Masked(0x8010, u32::MAX),
        ] {
            assert_eq!(mark.text().parse(), Ok(mark));
        }
    }

    #[test]
    fn a_mask_keeps_the_other_bits() {
        assert_eq!(Mark::Keep.of(7), None);
        assert_eq!(Mark::Set(0x10).of(7), Some(0x10));
        assert_eq!(Mark::Masked(0x8010, 0xff).of(0x4007), Some(0x4010));
    }

    #[test]
    fn a_line_is_read_back() {
        let packet = Seen {
            length: 14_532,
            whole: true,
            mark: 16,
        };
        assert_eq!(parse("14532 true 16"), Some(packet));
        assert_eq!(parse(""), None);
    }
}
