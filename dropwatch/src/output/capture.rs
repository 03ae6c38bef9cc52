//! Captures: JSON lines with everything that a replay needs, in the order in which it was judged.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{Names, Sink};
use crate::{event::Event, model::coverage::Coverage};

/// Version of the format.
pub const VERSION: u32 = 3;

/// The oldest version that can be read: it tells nothing of kinds of drops that lost detail.
pub const OLDEST: u32 = 2;

/// The first line; every other one is an [`Event`].
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

    fn write<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        self.out.write_all(b"\n")
    }
}

impl Sink for Writer {
    fn event(&mut self, event: &Event, _names: &Names) -> io::Result<()> {
        self.write(event)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
