//! JSON lines: docs/events.md. One type for each kind of line; what they have in common with captures are the types of
//! `model`.

use std::io::{self, Write};

use serde::Serialize as _;
use serde_json::Serializer;

use super::{
    Names, Sink, Start, Summary,
    clock::{Clock, Time},
};
use crate::{
    correlate::{
        case::{Repeat, Report},
        follow::Update,
    },
    event::Event,
};

mod anomaly;
mod drop;
mod line;
mod netns;
mod plain;
#[cfg(test)]
mod schema;
mod start;
mod summary;
mod sysctl_write;
mod verdict;

use anomaly::AnomalyObject;
use drop::DropObject;
pub use line::Line;
use plain::Plain;
use start::{HookLine, StartLine};
use summary::SummaryLine;
use sysctl_write::SysctlWriteLine;
use verdict::{RepeatLine, UpdateLine, VerdictLine};

/// Version of the schema.
pub const SCHEMA: u32 = 2;

/// Writes JSON lines.
pub struct Json<W: Write> {
    out: W,
    clock: Clock,
}

impl<W: Write> Json<W> {
    /// A printer with this clock.
    pub fn new(out: W, clock: Clock) -> Self {
        Self { out, clock }
    }

    /// By way of a value, whose keys are in order.
    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        let line = serde_json::to_value(line)?;
        line.serialize(&mut Serializer::with_formatter(&mut self.out, Plain))?;
        self.out.write_all(b"\n")
    }

    fn time(&self, time_ns: u64) -> Time {
        self.clock.rfc3339(time_ns)
    }
}

impl<W: Write> Sink for Json<W> {
    fn start(&mut self, start: &Start) -> io::Result<()> {
        self.line(&Line::Start(StartLine::new(start, self.clock)))
    }

    fn event(&mut self, event: &Event, names: &Names) -> io::Result<()> {
        let clock = self.clock;
        match event {
            Event::Drop(drop) => self.line(&Line::Drop(DropObject::new(drop, clock, names))),
            Event::IpvsReply(reply) => {
                self.line(&Line::Anomaly(AnomalyObject::new(reply, clock, names)))
            }
            Event::SysctlWrite(write) => self.line(&Line::SysctlWrite(SysctlWriteLine::new(
                write, clock, names,
            ))),
            Event::Probe { status, time_ns } => {
                let time = self.time(*time_ns);
                self.line(&Line::Hook(HookLine { time, status }))?;
                self.flush()
            }
            Event::IpvsReset(_) | Event::Fact { .. } | Event::Tick { .. } | Event::End { .. } => {
                Ok(())
            }
        }
    }

    fn report(&mut self, report: &Report, names: &Names) -> io::Result<()> {
        self.line(&Line::Verdict(VerdictLine::new(report, self.clock, names)))
    }

    fn repeat(&mut self, repeat: &Repeat, time_ns: u64) -> io::Result<()> {
        let time = self.time(time_ns);
        self.line(&Line::Repeat(RepeatLine { time, repeat }))
    }

    fn update(&mut self, update: &Update, time_ns: u64) -> io::Result<()> {
        let time = self.time(time_ns);
        self.line(&Line::Update(UpdateLine { time, update }))?;
        self.flush()
    }

    fn summary(&mut self, summary: &Summary, _names: &Names) -> io::Result<()> {
        self.line(&Line::Summary(SummaryLine::new(summary, self.clock)))?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
