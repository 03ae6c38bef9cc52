//! What cannot be written ends a session, but not before its books are closed.

use std::{cell::RefCell, rc::Rc};

use super::*;
use crate::{
    causes, exit,
    model::coverage::{Coverage, ProbeStatus},
    stats::Ledger,
};

/// Remembers the lines that it was given, until it has room for no more.
#[derive(Clone, Default)]
struct Paper {
    room: usize,
    lines: Rc<RefCell<Vec<String>>>,
}

impl Paper {
    fn with_room(room: usize) -> Self {
        Self {
            room,
            ..Self::default()
        }
    }

    fn write(&self, line: &str) -> io::Result<()> {
        let mut lines = self.lines.borrow_mut();
        if lines.len() >= self.room {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        lines.push(line.to_owned());
        Ok(())
    }

    fn last(&self) -> Option<String> {
        self.lines.borrow().last().cloned()
    }
}

impl Sink for Paper {
    fn event(&mut self, event: &Event, _: &Names) -> io::Result<()> {
        self.write(match event {
            Event::End { .. } => "end",
            _ => "event",
        })
    }

    fn summary(&mut self, summary: &Summary, _: &Names) -> io::Result<()> {
        assert!(summary.ledger.is_some());
        self.write("summary")
    }
}

/// A session that a probe is told of three times, and its end.
fn played(printer: &Paper, recorder: &Paper) -> Result<()> {
    let engine = Engine::new(causes::all(), Coverage::default(), true);
    let mut session = Session::new(engine, Box::new(printer.clone()), Wanted::default());
    session.record(Box::new(recorder.clone()));
    for _ in 0..3 {
        session.take(&Event::Probe {
            time_ns: 1,
            status: ProbeStatus {
                hook: "drop".into(),
                probe: "drop".into(),
                symbol: "kfree_skb".into(),
                flavour: None,
                attached: false,
                why: None,
                awaits: None,
            },
        });
    }
    let full = printer.room < 3 || recorder.room < 3;
    assert_eq!(session.done(), full);
    session.finish(2, 1.0, Ledger::default(), Vec::new())
}

#[test]
fn a_full_disk_ends_the_session_with_its_ledger() {
    let (printer, recorder) = (Paper::with_room(9), Paper::with_room(2));
    let error = played(&printer, &recorder).expect_err("the capture is not whole");
    assert_eq!(exit::code(&error), 1);
    assert!(exit::one_line(&error).starts_with("writing the capture: "));
    // Only a reader of the output may have had enough.
    assert!(
        error
            .chain()
            .all(|e| e.downcast_ref::<io::Error>().is_none())
    );
    assert_eq!(printer.last().as_deref(), Some("summary"));
}

#[test]
fn a_capture_is_whole_though_nobody_reads_the_output() {
    let (printer, recorder) = (Paper::with_room(1), Paper::with_room(9));
    let error = played(&printer, &recorder).expect_err("the output is not whole");
    assert!(
        error
            .chain()
            .any(|e| e.downcast_ref::<io::Error>().is_some())
    );
    assert_eq!(recorder.last().as_deref(), Some("end"));
    assert_eq!(recorder.lines.borrow().len(), 4);
}

#[test]
fn an_end_that_finds_no_room_is_told() {
    let (printer, recorder) = (Paper::with_room(9), Paper::with_room(3));
    assert!(played(&printer, &recorder).is_err());
    assert_eq!(printer.last().as_deref(), Some("summary"));
    assert!(played(&Paper::with_room(9), &Paper::with_room(9)).is_ok());
}
