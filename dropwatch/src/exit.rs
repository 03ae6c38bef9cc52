//! Exit codes: a contract with scripts, documented in README and docs/usage.md.

use std::fmt;

use crate::output::sanitize;

/// Why dropwatch ends with an error; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Something went wrong while running.
    Runtime = 1,
    /// The command line is wrong (clap's own code, too).
    Usage = 2,
    /// Not permitted: capabilities are missing.
    Permission = 3,
    /// This kernel does not offer what is needed.
    Unsupported = 4,
    /// A capture file cannot be read.
    Capture = 5,
    /// `doctor` only: some cause cannot be judged here.
    Limited = 6,
}

/// A failure with its one-line message.
#[derive(Debug)]
pub struct Error {
    kind: Failure,
    message: String,
}

impl Failure {
    /// An error of this kind.
    #[must_use]
    pub fn because(self, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Error {
            kind: self,
            message: message.into(),
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Exit code for an error.
#[must_use]
pub fn code(error: &anyhow::Error) -> u8 {
    let kind = error
        .downcast_ref::<Error>()
        .map_or(Failure::Runtime, |e| e.kind);
    kind as u8
}

/// The error and its causes on one line, without anything that a terminal would act on.
#[must_use]
pub fn one_line(error: &anyhow::Error) -> String {
    sanitize::one_line(&format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_kind_survives_added_context() {
        let error = Err::<(), _>(Failure::Permission.because("no\nCAP_BPF")).context("attaching");
        let error = error.expect_err("an error");
        assert_eq!(code(&error), 3);
        assert_eq!(one_line(&error), "attaching: no CAP_BPF");
        assert_eq!(code(&anyhow::anyhow!("other")), 1);
    }
}
