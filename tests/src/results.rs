//! Results as JSON lines: for machines, and for whoever reads the serial console of a VM.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Serialize;

/// What became of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As expected.
    Pass,
    /// Not as expected.
    Fail,
    /// Could not be tried here.
    Skip,
}

/// One line of the results file.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Entry<'a> {
    /// A scenario ended.
    Result {
        /// Its name.
        scenario: &'a str,
        /// What it belongs to: a cause, or another subject.
        group: &'a str,
        /// What sort of scenario it is.
        kind: &'a str,
        /// What became of it.
        outcome: Outcome,
        /// How long it took.
        seconds: f64,
        /// Why it failed or was skipped.
        detail: &'a str,
        /// The tracer's exit code, if it ended by itself.
        dropwatch_exit: Option<i32>,
    },
    /// A file that a scenario left.
    Artefact {
        /// Its scenario.
        scenario: &'a str,
        /// Its name.
        name: &'a str,
        /// Its bytes, base64.
        data: String,
    },
    /// All scenarios ended.
    End {
        /// How many passed.
        pass: usize,
        /// How many failed.
        fail: usize,
        /// How many were skipped.
        skip: usize,
    },
}

/// Where entries go; nowhere without a file.
#[derive(Debug)]
pub struct Results(Option<File>);

impl Results {
    /// Opens the file, if there is to be one. A device such as a serial port will do.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let open = |path: &Path| {
            let mut options = File::options();
            let options = options.write(true).create(true).truncate(true);
            options
                .open(path)
                .with_context(|| format!("opening {}", path.display()))
        };
        Ok(Self(path.map(open).transpose()?))
    }

    /// Writes one line.
    pub fn write(&mut self, entry: &Entry<'_>) -> Result<()> {
        if let Some(file) = &mut self.0 {
            let mut line = serde_json::to_string(entry)?;
            line.push('\n');
            file.write_all(line.as_bytes()).context("writing results")?;
        }
        Ok(())
    }
}

/// Base64 with padding (RFC 4648).
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for letter in 0..4 {
            if letter <= chunk.len() {
                let index = word >> (18 - 6 * letter) & 63;
                text.push(char::from(LETTERS[index as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_result_line_keeps_its_shape() {
        let entry = Entry::Result {
            group: "",
            scenario: "x",
            kind: "twin",
            outcome: Outcome::Pass,
            seconds: 1.5,
            detail: "",
            dropwatch_exit: Some(0),
        };
        let line = serde_json::to_string(&entry).expect("plain data");
        assert_eq!(
            line,
            r#"{"type":"result","scenario":"x","group":"","kind":"twin","outcome":"pass","seconds":1.5,"detail":"","dropwatch_exit":0}"#
        );
    }
}
