//! Judges a capture again: the same pipeline from a file.

use std::{
    fs::File,
    io::{BufRead, BufReader},
};

use anyhow::{Context as _, Result};

use crate::{
    app, causes,
    cli::Replay,
    correlate::engine::Engine,
    exit::Failure,
    output::{
        Printer, Selection, Start,
        capture::{Header, Line, VERSION},
        clock::Clock,
    },
    session::Session,
    stats::Ledger,
};

/// Replays a capture to stdout.
///
/// # Errors
///
/// [`Failure::Capture`] when the file cannot be read; a last line that was cut short is only warned of.
pub fn run(args: &Replay) -> Result<()> {
    let name = args.file.display().to_string();
    let file = File::open(&args.file).map_err(|e| unreadable(&name, &e.to_string()))?;
    let selection = Selection::new(args.output.cause.clone());
    let explain = args.explain || selection.is_narrow();
    let format = args.output.format;
    replay(&name, BufReader::new(file), explain, selection, |clock| {
        app::printer(format, clock)
    })
}

/// Replays a capture to any printer, which gets the clock of the recording.
///
/// # Errors
///
/// As [`run`].
pub fn replay(
    name: &str,
    capture: impl BufRead,
    explain: bool,
    selection: Selection,
    printer: impl FnOnce(Clock) -> Box<dyn Printer>,
) -> Result<()> {
    let mut lines = capture.lines();
    let first = lines
        .next()
        .transpose()
        .map_err(|e| unreadable(name, &e.to_string()))?;
    let header: Header = serde_json::from_str(&first.unwrap_or_default())
        .map_err(|e| unreadable(name, &format!("no dropwatch capture: {e}")))?;
    if header.dropwatch_capture != VERSION {
        let what = format!(
            "format {} is not known, only {VERSION}",
            header.dropwatch_capture
        );
        return Err(unreadable(name, &what));
    }
    let engine = Engine::new(
        &causes::ALL,
        header.coverage.clone().of_release(&header.kernel),
    );
    let printer = printer(Clock {
        offset_ns: header.offset_ns,
    });
    let mut session = Session::new(engine, printer, explain, selection, None);
    session.start(&Start {
        causes: causes::ALL
            .iter()
            .map(|c| (c.id(), c.blind(&header.coverage)))
            .collect(),
        kernel: header.kernel,
        netns: header.netns,
        time_ns: header.start_ns,
        coverage: header.coverage,
    })?;
    let mut replayed = Replayed::default();
    let mut cut: Option<(usize, serde_json::Error)> = None;
    for (number, line) in lines.enumerate() {
        let line = line.with_context(|| format!("reading {name}"))?;
        // Only the very last line may be cut short: the tracer was killed.
        if let Some((number, error)) = cut.take() {
            return Err(unreadable(name, &format!("line {number}: {error}")));
        }
        match serde_json::from_str(&line) {
            Ok(line) => replayed.line(line, &mut session)?,
            Err(error) => cut = Some((number + 2, error)),
        }
    }
    if let Some((number, error)) = cut {
        log::warn!("capture {name}: line {number} was cut short: {error}");
    }
    session.finish_replay(replayed.end, replayed.last_ns)
}

fn unreadable(name: &str, what: &str) -> anyhow::Error {
    Failure::Capture.because(format!("capture {name}: {what}"))
}

/// How far the replay is.
#[derive(Default)]
struct Replayed {
    last_ns: u64,
    end: Option<(u64, f64, Ledger)>,
}

impl Replayed {
    fn line(&mut self, line: Line, session: &mut Session) -> Result<()> {
        match line {
            Line::Drop(drop) => {
                self.pass(drop.time_ns, session)?;
                session.dropped(drop)?;
            }
            Line::SysctlWrite(write) => {
                self.pass(write.time_ns, session)?;
                session.sysctl_write(write)?;
            }
            Line::IpvsReply(reply) => {
                self.pass(reply.time_ns, session)?;
                session.ipvs_reply(reply)?;
            }
            Line::IpvsReset(reset) => {
                self.pass(reset.time_ns, session)?;
                session.ipvs_reset(reset)?;
            }
            Line::Probe { time_ns, status } => {
                self.pass(time_ns, session)?;
                session.probe(status, time_ns)?;
            }
            Line::Fact { time_ns, key, fact } => {
                self.pass(time_ns, session)?;
                session.fact(key, fact, time_ns)?;
            }
            Line::End {
                time_ns,
                seconds,
                ledger,
            } => {
                self.last_ns = time_ns;
                self.end = Some((time_ns, seconds, ledger));
            }
        }
        // The facts are in the capture; nobody is asked.
        session.questions().clear();
        Ok(())
    }

    /// Records of several CPUs are not strictly in order: time only goes forward.
    fn pass(&mut self, time_ns: u64, session: &mut Session) -> Result<()> {
        if time_ns > self.last_ns {
            self.last_ns = time_ns;
            session.advance(time_ns)?;
        }
        Ok(())
    }
}
