//! Exit codes: a contract with scripts, documented in README and docs/usage.md.

use std::{fmt, io};

use nix::errno::Errno;

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

/// What a failure is, by the first number of the system in its chain: EPERM is about privileges, others about what this
/// process or machine has used up, and what is left is `otherwise`.
#[must_use]
pub fn class(error: &anyhow::Error, otherwise: Failure) -> Failure {
    let number = error
        .chain()
        .find_map(|e| match e.downcast_ref::<io::Error>() {
            Some(e) => e.raw_os_error().map(Errno::from_raw),
            None => e.downcast_ref::<Errno>().copied(),
        });
    match number {
        Some(Errno::EPERM) => Failure::Permission,
        Some(
            Errno::EMFILE
            | Errno::ENFILE
            | Errno::ENOMEM
            | Errno::ENOSPC
            | Errno::EAGAIN
            | Errno::EINTR
            | Errno::EIO,
        ) => Failure::Runtime,
        _ => otherwise,
    }
}

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

    #[test]
    fn numbers_and_not_words_decide_what_a_failure_is() {
        let of = |number: Errno| {
            let error =
                anyhow::Error::new(io::Error::from(number)).context("not permitted: EMFILE");
            class(&error, Failure::Unsupported)
        };
        assert_eq!(of(Errno::EPERM), Failure::Permission);
        assert_eq!(of(Errno::EMFILE), Failure::Runtime);
        assert_eq!(of(Errno::ENOMEM), Failure::Runtime);
        // EACCES is the verifier's word, EINVAL that of an older kernel.
        assert_eq!(of(Errno::EACCES), Failure::Unsupported);
        assert_eq!(of(Errno::EINVAL), Failure::Unsupported);
        let words = anyhow::anyhow!("Operation not permitted (os error 1)");
        assert_eq!(class(&words, Failure::Unsupported), Failure::Unsupported);
    }
}
