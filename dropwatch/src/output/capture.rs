//! Captures: JSON lines with everything that a replay needs, in the order in which it was judged.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{
    facts::{Fact, FactKey},
    model::{
        anchor::Drop,
        coverage::{Coverage, ProbeStatus},
        evidence::SysctlWrite,
        ipvs::{IpvsReply, IpvsReset},
    },
    stats::Ledger,
};

/// Version of the format.
pub const VERSION: u32 = 2;

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// [`VERSION`].
    pub dropwatch_capture: u32,
    /// Version of dropwatch that wrote it.
    pub version: String,
    /// Kernel release.
    pub kernel: String,
    /// The tracer's own namespace.
    pub netns: u32,
    /// When everything was attached: `CLOCK_MONOTONIC`, nanoseconds.
    pub start_ns: u64,
    /// Wall-clock minus monotonic time, nanoseconds.
    pub offset_ns: u64,
    /// What was attached.
    pub coverage: Coverage,
}

/// Every other line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one exists at a time")]
pub enum Line {
    /// A drop.
    Drop(Box<Drop>),
    /// A sysctl write.
    SysctlWrite(SysctlWrite),
    /// An anomaly of IPVS.
    IpvsReply(Box<IpvsReply>),
    /// A reset that it earned.
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
    /// The end.
    End {
        /// `CLOCK_MONOTONIC`, nanoseconds.
        time_ns: u64,
        /// How long the session took.
        seconds: f64,
        /// The ledger.
        ledger: Ledger,
    },
}

/// Writes a capture.
pub struct Writer {
    out: BufWriter<File>,
}

impl Writer {
    /// Begins a capture.
    pub fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let mut writer = Self {
            out: BufWriter::new(File::create(path)?),
        };
        writer.write(header)?;
        Ok(writer)
    }

    /// Adds a line.
    pub fn line(&mut self, line: &Line) -> io::Result<()> {
        self.write(line)
    }

    fn write<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }

    /// Writes out what is buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
