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
    event::Event,
    exit::Failure,
    output::{
        Selection, Sink, Start,
        capture::{Header, OLDEST, VERSION},
        clock::Clock,
    },
    session::{Session, Wanted},
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
    printer: impl FnOnce(Clock) -> Box<dyn Sink>,
) -> Result<()> {
    let mut lines = capture.lines();
    let first = lines
        .next()
        .transpose()
        .map_err(|e| unreadable(name, &e.to_string()))?;
    let header: Header = serde_json::from_str(&first.unwrap_or_default())
        .map_err(|e| unreadable(name, &format!("no dropwatch capture: {e}")))?;
    if !(OLDEST..=VERSION).contains(&header.dropwatch_capture) {
        let what = format!(
            "format {} is not known, only {OLDEST} to {VERSION}",
            header.dropwatch_capture
        );
        return Err(unreadable(name, &what));
    }
    let engine = Engine::new(
        causes::all(),
        header.coverage.clone().of_release(&header.kernel),
        header.dropwatch_capture > OLDEST,
    );
    let printer = printer(Clock {
        offset_ns: header.offset_ns,
    });
    let wanted = Wanted {
        explain,
        selection,
        count: None,
    };
    let mut session = Session::new(engine, printer, wanted);
    session.start(&Start {
        causes: causes::root()
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
            Ok(event) => replayed.event(event, &mut session)?,
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
    end: Option<Event>,
}

impl Replayed {
    fn event(&mut self, event: Event, session: &mut Session) -> Result<()> {
        let time_ns = event.time_ns();
        if let Event::End { .. } = event {
            self.last_ns = time_ns;
            self.end = Some(event);
            return Ok(());
        }
        // Records of several CPUs are not strictly in order: time only goes forward.
        if time_ns > self.last_ns {
            self.last_ns = time_ns;
            session.advance(time_ns)?;
        }
        session.take(&event)?;
        // The facts are in the capture; nobody is asked.
        session.questions().clear();
        Ok(())
    }
}
