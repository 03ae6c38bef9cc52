//! What cannot be written ends a session, but not before its books are closed; and no line has another
//! namespace's name.

use std::{cell::RefCell, rc::Rc};

use super::*;
use crate::{
    causes, exit,
    facts::Netns,
    model::{
        anchor::Task,
        coverage::{Coverage, ProbeStatus},
        evidence::SysctlWrite,
    },
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

/// Remembers under which namespace each line was printed.
#[derive(Clone, Default)]
struct Places(Rc<RefCell<Vec<String>>>);

impl Sink for Places {
    fn event(&mut self, event: &Event, names: &Names) -> io::Result<()> {
        if let Event::SysctlWrite(write) = event {
            self.0.borrow_mut().push(names.words(write.netns));
        }
        Ok(())
    }
}

const SECOND: u64 = 1_000_000_000;

fn written(time_ns: u64) -> Event {
    Event::SysctlWrite(SysctlWrite {
        time_ns,
        netns: 7,
        key: "net.ipv4.conf.eth0.rp_filter".into(),
        old: "0".into(),
        new: "1".into(),
        process: Task {
            pid: 1,
            comm: "sysctl".into(),
        },
    })
}

fn named(time_ns: u64, name: &str) -> Event {
    Event::Fact {
        time_ns,
        key: FactKey::Netns { netns: 7 },
        fact: Fact::Netns(Netns {
            name: Some(name.into()),
            ..Netns::default()
        }),
    }
}

#[test]
fn a_write_is_printed_under_the_namespace_that_has_the_number_now() {
    let places = Places::default();
    let engine = Engine::new(causes::all(), Coverage::default(), false);
    let mut session = Session::new(engine, Box::new(places.clone()), Wanted::default());
    session.take(&written(SECOND));
    session.take(&named(SECOND + 1, "old"));
    // The number went to another namespace: the name is asked again, and waited for.
    session.take(&written(2 * SECOND));
    assert_eq!(*places.0.borrow(), ["netns old"]);
    session.take(&named(2 * SECOND + 1, "new"));
    // Where no answer comes in time, no name is better than one that may be another's.
    session.take(&written(3 * SECOND));
    session.advance(4 * SECOND);
    assert_eq!(*places.0.borrow(), ["netns old", "netns new", "netns 7"]);
}
