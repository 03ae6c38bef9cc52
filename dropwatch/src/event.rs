//! What happens in a session: one enum from the ring buffer to the sinks, and the lines of a capture.

use serde::{Deserialize, Serialize};

use crate::{
    facts::{Fact, FactKey},
    model::{
        anchor::Drop,
        counts::{Counted, KindCount},
        coverage::ProbeStatus,
        evidence::SysctlWrite,
        ipvs::{IpvsReply, IpvsReset},
    },
    stats::Ledger,
};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one exists at a time")]
pub enum Event {
    /// A packet was dropped.
    Drop(Box<Drop>),
    /// A watched sysctl was written.
    SysctlWrite(SysctlWrite),
    /// An anomaly: a reply left IPVS from where the client did not ask.
    IpvsReply(Box<IpvsReply>),
    /// A reset that such a reply earned.
    IpvsReset(IpvsReset),
    /// A probe was attached after the start, or could not be.
    Probe {
        /// When, `CLOCK_MONOTONIC`, nanoseconds.
        time_ns: u64,
        /// Its status.
        status: ProbeStatus,
    },
    /// An answer.
    Fact {
        /// When it came, `CLOCK_MONOTONIC`, nanoseconds.
        time_ns: u64,
        /// Question.
        key: FactKey,
        /// Answer.
        fact: Fact,
    },
    /// The kernel's exact counts of those kinds of drops of which not every one came in detail. There is such an
    /// event whenever they grew, once a second at most.
    Tick {
        /// When they were read, `CLOCK_MONOTONIC`, nanoseconds.
        time_ns: u64,
        /// Counts since the start.
        counted: Vec<KindCount>,
        /// Whether there were drops that no kind was left for: then counts of kinds may be too low.
        keyless: bool,
    },
    /// The end.
    End {
        /// `CLOCK_MONOTONIC`, nanoseconds.
        time_ns: u64,
        /// How long the session took.
        seconds: f64,
        /// The ledger.
        ledger: Ledger,
        /// The kernel's exact counts.
        #[serde(default)]
        drops: Vec<Counted>,
    },
}

impl Event {
    /// When it happened: `CLOCK_MONOTONIC`, nanoseconds.
    #[must_use]
    pub fn time_ns(&self) -> u64 {
        match self {
            Self::Drop(drop) => drop.time_ns,
            Self::SysctlWrite(write) => write.time_ns,
            Self::IpvsReply(reply) => reply.time_ns,
            Self::IpvsReset(reset) => reset.time_ns,
            Self::Probe { time_ns, .. }
            | Self::Fact { time_ns, .. }
            | Self::Tick { time_ns, .. }
            | Self::End { time_ns, .. } => *time_ns,
        }
    }
}
