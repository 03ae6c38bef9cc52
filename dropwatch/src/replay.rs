//! Judges a capture again: the same pipeline from a file.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use anyhow::Result;

use crate::{
    app, causes,
    cli::Replay,
    correlate::engine::Engine,
    event::Event,
    exit::Failure,
    output::{
        Selection, Sink, Start,
        capture::{Header, OLDEST, VERSION},
        capture_reader::Lines,
        clock::Clock,
    },
    session::{Session, Wanted},
};

/// Replays a capture to stdout.
///
/// # Errors
///
/// [`Failure::Capture`] when the file cannot be read; a last line that nothing ends was cut short and is only warned of.
pub fn run(args: &Replay) -> Result<()> {
    let (name, capture): (_, Box<dyn BufRead>) = if args.file == Path::new("-") {
        ("stdin".to_owned(), Box::new(io::stdin().lock()))
    } else {
        let name = args.file.display().to_string();
        let file = File::open(&args.file).map_err(|e| unreadable(&name, &e.to_string()))?;
        (name, Box::new(BufReader::new(file)))
    };
    let selection = Selection::new(args.output.cause.clone());
    let explain = args.explain || selection.is_narrow();
    let format = args.output.format;
    replay(&name, capture, explain, selection, |clock| {
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
    let mut lines = Lines::new(capture);
    let first = lines.read().map_err(|e| unreadable(name, &e.to_string()))?;
    let header: Header = serde_json::from_slice(first.map_or(&[], |line| line.text))
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
    if header.dropwatch_capture == OLDEST {
        session.answers_once();
    }
    session.start(&Start {
        causes: causes::root()
            .iter()
            .map(|c| (c.id(), c.blind(&header.coverage)))
            .collect(),
        kernel: header.kernel,
        netns: header.netns,
        time_ns: header.start_ns,
        coverage: header.coverage,
    });
    let mut replayed = Replayed::default();
    while let Some(line) = lines.read().map_err(|e| unreadable(name, &e.to_string()))? {
        if session.done() {
            break;
        }
        match serde_json::from_slice(line.text) {
            Ok(event) => replayed.event(event, &mut session),
            // The tracer was killed in the middle of it.
            Err(error) if !line.ended => {
                log::warn!(
                    "capture {name}: line {} was cut short: {error}",
                    line.number
                );
            }
            Err(error) => {
                return Err(unreadable(name, &format!("line {}: {error}", line.number)));
            }
        }
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
    fn event(&mut self, event: Event, session: &mut Session) {
        let time_ns = event.time_ns();
        if let Event::End { .. } = event {
            self.last_ns = time_ns;
            self.end = Some(event);
            return;
        }
        // Records of several CPUs are not strictly in order: time only goes forward.
        if time_ns > self.last_ns {
            self.last_ns = time_ns;
            session.advance(time_ns);
        }
        session.take(&event);
        // The facts are in the capture; nobody is asked.
        session.questions().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{exit, model::coverage::Coverage};

    struct Nothing;
    impl Sink for Nothing {}

    /// The exit code and the words that a capture with these lines after its header ends with.
    fn replayed(lines: &[u8]) -> Result<(), (u8, String)> {
        let header = Header {
            dropwatch_capture: VERSION,
            version: String::new(),
            kernel: "6.12.0".into(),
            netns: 1,
            start_ns: 0,
            offset_ns: 0,
            coverage: Coverage::default(),
        };
        let mut bytes = serde_json::to_vec(&header).expect("JSON");
        bytes.push(b'\n');
        bytes.extend_from_slice(lines);
        replay("c", &bytes[..], true, Selection::default(), |_| {
            Box::new(Nothing)
        })
        .map_err(|e| (exit::code(&e), exit::one_line(&e)))
    }

    #[test]
    fn only_a_line_that_nothing_ends_was_cut_short() {
        assert_eq!(replayed(b"{\"is\": \"dr"), Ok(()));
        assert_eq!(
            replayed(b"\n  \n{\"is\": \"\xc3"),
            Ok(()),
            "in the middle of a letter"
        );
        for (lines, place) in [
            (&b"{\"is\": \"dr\n"[..], "line 2: "),
            (b"\n\n{}\n", "line 4: "),
            (b"{\"is\": \"\xff\"}\n", "line 2: "),
            (b"{\"is\n{\"is", "line 2: "),
        ] {
            let (code, said) = replayed(lines).expect_err("unreadable");
            assert_eq!(code, 5, "{said}");
            assert!(said.contains(place), "{said}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_a_long_line() {
        let line = [
            b"{\"is\": \"".to_vec(),
            vec![b'x'; 1 << 20],
            b"\"}\n".to_vec(),
        ]
        .concat();
        let (code, said) = replayed(&line).expect_err("unreadable");
        assert_eq!(code, 5);
        assert!(said.len() < 4000);
    }
}
