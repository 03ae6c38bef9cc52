//! Reads a capture line by line, whatever it is that was given: a line is never longer than [`MOST_BYTES`].

use std::{
    fmt,
    io::{self, BufRead, Read as _},
};

/// Most bytes of a line. The longest ones hold a whole rule set; [`super::capture::Writer`] keeps to it.
pub const MOST_BYTES: usize = 12 << 20;

/// Most bytes of the first line, which is the same in all captures but for what is attached: what is no capture at all
/// often has no lines.
const MOST_OF_HEADER: usize = 1 << 20;

/// A line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Counted from 1, blank lines included.
    pub number: usize,
    /// Without what ends it.
    pub text: &'a [u8],
    /// Whether something ends it: the very last line may have been cut short.
    pub ended: bool,
}

/// Why there is no next line.
#[derive(Debug)]
pub enum Unreadable {
    /// The system says so.
    Io(io::Error),
    /// A line is longer than any that dropwatch writes.
    TooLong {
        /// Counted from 1.
        number: usize,
        /// Bytes that it may have.
        most: usize,
    },
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::TooLong { number, most } => {
                write!(f, "line {number} is longer than {} MiB", most >> 20)
            }
        }
    }
}

/// The lines of a capture.
pub struct Lines<R> {
    input: R,
    number: usize,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Those that `input` has.
    pub fn new(input: R) -> Self {
        Self {
            input,
            number: 0,
            line: Vec::new(),
        }
    }

    /// The next line that is not blank; `None` at the end.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or is too long.
    pub fn read(&mut self) -> Result<Option<Line<'_>>, Unreadable> {
        loop {
            self.line.clear();
            let most = if self.number == 0 {
                MOST_OF_HEADER
            } else {
                MOST_BYTES
            };
            let mut limited = self.input.by_ref().take(most as u64 + 1);
            let read = limited.read_until(b'\n', &mut self.line);
            if read.map_err(Unreadable::Io)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let ended = self.line.pop_if(|last| *last == b'\n').is_some();
            if self.line.len() > most {
                return Err(Unreadable::TooLong {
                    number: self.number,
                    most,
                });
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some(Line {
                    number: self.number,
                    text: &self.line,
                    ended,
                }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, repeat};

    use super::*;

    #[test]
    fn blank_lines_count_but_are_left_out() {
        let mut lines = Lines::new(&b"\n{}\r\n \t\n\n[1"[..]);
        let first = lines.read().expect("readable").expect("a line");
        assert_eq!(
            (first.number, first.text, first.ended),
            (2, &b"{}\r"[..], true)
        );
        let last = lines.read().expect("readable").expect("a line");
        assert_eq!((last.number, last.text, last.ended), (5, &b"[1"[..], false));
        assert!(lines.read().expect("readable").is_none());
    }

    #[test]
    fn a_line_without_end_is_not_read_to_its_end() {
        // Endless: only a limit ends it.
        let mut lines = Lines::new(BufReader::new((&b"{}\n"[..]).chain(repeat(0))));
        assert!(lines.read().is_ok_and(|line| line.is_some()));
        let error = lines.read().expect_err("too long");
        assert_eq!(error.to_string(), "line 2 is longer than 12 MiB");
        assert!(lines.line.len() <= MOST_BYTES + 1);
        let error = Lines::new(BufReader::new(repeat(0)))
            .read()
            .expect_err("no header");
        assert_eq!(error.to_string(), "line 1 is longer than 1 MiB");
    }

    #[test]
    fn the_longest_line_is_taken() {
        let bytes = [b"{}\n".to_vec(), vec![b'x'; MOST_BYTES], b"\nnext".to_vec()].concat();
        let mut lines = Lines::new(&bytes[..]);
        assert!(lines.read().is_ok_and(|line| line.is_some()));
        let line = lines.read().expect("readable").expect("a line");
        assert_eq!((line.text.len(), line.ended), (MOST_BYTES, true));
        assert_eq!(
            lines.read().expect("readable").expect("a line").text,
            b"next"
        );
    }
}
