//! Captures: JSON lines with everything that a replay needs, in the order in which it was judged.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{Names, Sink, capture_file, capture_reader::MOST_BYTES};
use crate::{event::Event, facts::Fact, model::coverage::Coverage};

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
    line: Vec<u8>,
}

impl Writer {
    /// Begins a capture.
    ///
    /// # Errors
    ///
    /// Those of [`capture_file::open`], and when the header cannot be written.
    pub fn create(path: &Path, header: &Header) -> Result<Self> {
        let mut writer = Self {
            out: BufWriter::new(capture_file::open(path)?),
            line: Vec::new(),
        };
        writer
            .write(header)
            .with_context(|| format!("--record {}", path.display()))?;
        Ok(writer)
    }

    fn write<T: Serialize>(&mut self, value: &T) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)?;
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }
}

/// What is written of an event whose line would be longer than one that is read: an answer of that size is left out, and
/// said to be.
fn instead(event: &Event, bytes: usize) -> Option<Event> {
    let Event::Fact { time_ns, key, .. } = event else {
        return None;
    };
    (bytes > MOST_BYTES).then(|| Event::Fact {
        time_ns: *time_ns,
        key: key.clone(),
        fact: Fact::Unknown {
            why: format!(
                "too long for a capture: {} MiB, over {}",
                bytes >> 20,
                MOST_BYTES >> 20
            ),
        },
    })
}

impl Sink for Writer {
    fn event(&mut self, event: &Event, _names: &Names) -> io::Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, event)?;
        if let Some(shorter) = instead(event, self.line.len()) {
            return self.write(&shorter);
        }
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::FactKey;

    #[test]
    fn an_answer_that_no_reader_takes_is_said_to_be_missing() {
        let event = Event::Fact {
            time_ns: 7,
            key: FactKey::Ruleset { netns: 1 },
            fact: Fact::Unknown { why: "x".into() },
        };
        assert!(instead(&event, MOST_BYTES).is_none());
        let Some(Event::Fact { fact, key, .. }) = instead(&event, MOST_BYTES + 1) else {
            panic!("left out")
        };
        assert_eq!(key, FactKey::Ruleset { netns: 1 });
        assert!(matches!(fact, Fact::Unknown { why } if why.contains("over 12")));
    }
}
