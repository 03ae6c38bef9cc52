//! Output: one file per format, over any writer. Selection is the same for all.

use std::io;

use serde::Serialize;

use crate::{
    correlate::{
        case::{Repeat, Tally, Told},
        follow::Update,
    },
    model::{
        anchor::Drop,
        coverage::{Coverage, ProbeStatus},
        evidence::SysctlWrite,
        ipvs::IpvsReply,
    },
    stats::Ledger,
};

pub mod capture;
pub mod clock;
pub mod json;
pub mod sanitize;
pub mod text;

/// What a session begins with.
#[derive(Clone, Debug)]
pub struct Start {
    /// When everything was attached: `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Kernel release.
    pub kernel: String,
    /// The tracer's own namespace.
    pub netns: u32,
    /// What is attached.
    pub coverage: Coverage,
    /// Causes with the reason why they cannot be judged, if so.
    pub causes: Vec<(&'static str, Option<String>)>,
}

/// A line of the kernel's exact counts, with names.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Counted {
    /// Drop reason.
    pub reason: String,
    /// Place.
    pub location: String,
    /// Namespace inode number.
    pub netns: u32,
    /// Device index.
    pub ifindex: u32,
    /// All drops.
    pub count: u64,
    /// Those of which no detail was sent.
    pub suppressed: u64,
}

/// What a session ends with.
#[derive(Clone, Debug)]
pub struct Summary {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// How long it took.
    pub seconds: f64,
    /// The ledger; `None` in a replay of a capture that was cut short.
    pub ledger: Option<Ledger>,
    /// Cases.
    pub cases: Vec<Tally>,
    /// Exact counts by the kernel, the largest first.
    pub drops: Vec<Counted>,
}

/// A format.
pub trait Printer {
    /// Everything is attached.
    fn start(&mut self, start: &Start) -> io::Result<()>;
    /// A drop, without `--explain`.
    fn dropped(&mut self, drop: &Drop) -> io::Result<()>;
    /// An anomaly of IPVS, without `--explain`.
    fn ipvs_reply(&mut self, reply: &IpvsReply) -> io::Result<()>;
    /// A probe was attached after the start, or could not be.
    fn probe(&mut self, status: &ProbeStatus, time_ns: u64) -> io::Result<()>;
    /// A new case.
    fn told(&mut self, told: &Told) -> io::Result<()>;
    /// More of a case.
    fn repeat(&mut self, repeat: &Repeat, time_ns: u64) -> io::Result<()>;
    /// What became of a connection of a case.
    fn update(&mut self, update: &Update, time_ns: u64) -> io::Result<()>;
    /// A watched sysctl was written.
    fn sysctl_write(&mut self, write: &SysctlWrite) -> io::Result<()>;
    /// The end.
    fn summary(&mut self, summary: &Summary) -> io::Result<()>;
    /// Nothing more to come for now.
    fn flush(&mut self) -> io::Result<()>;
}

/// Which cases to show.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    cause: Option<String>,
}

impl Selection {
    /// Only one cause, or `none`.
    #[must_use]
    pub fn new(cause: Option<String>) -> Self {
        Self { cause }
    }

    /// Whether anything is left out.
    #[must_use]
    pub fn is_narrow(&self) -> bool {
        self.cause.is_some()
    }

    /// Whether a case of this cause is shown.
    #[must_use]
    pub fn shows(&self, cause: Option<&str>) -> bool {
        self.cause
            .as_deref()
            .is_none_or(|wanted| wanted == cause.unwrap_or("none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_knows_drops_of_no_cause() {
        assert!(Selection::default().shows(None));
        let none = Selection::new(Some("none".into()));
        assert!(none.shows(None) && !none.shows(Some("rp_filter")));
        let one = Selection::new(Some("rp_filter".into()));
        assert!(one.shows(Some("rp_filter")) && !one.shows(None));
    }
}
