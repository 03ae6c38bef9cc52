//! Why there is no answer to a question about the system.

use std::{fmt::Display, io};

use thiserror::Error;

/// Why something is not known: its kind, for whoever decides by it, and its words, which a capture and an explanation keep.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FactError {
    /// It is not there, or not any more.
    #[error("{0}")]
    Gone(String),
    /// The system does not let this process look.
    #[error("{0}")]
    NotPermitted(String),
    /// The answer did not come in time: another question may have one.
    #[error("{0}")]
    TimedOut(String),
    /// What was read is not what is known of its form.
    #[error("{0}")]
    Malformed(String),
    /// A program that would have to be asked.
    #[error("{0} is not installed")]
    NoProgram(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl FactError {
    /// What the system said of `what`.
    #[must_use]
    pub fn io(what: impl Display, error: &io::Error) -> Self {
        let words = format!("{what}: {error}");
        match error.kind() {
            io::ErrorKind::NotFound => Self::Gone(words),
            io::ErrorKind::PermissionDenied => Self::NotPermitted(words),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::TimedOut(words),
            io::ErrorKind::InvalidData => Self::Malformed(words),
            _ => Self::Other(words),
        }
    }

    /// The same with words before it.
    #[must_use]
    pub fn of(self, what: impl Display) -> Self {
        match self {
            Self::Gone(why) => Self::Gone(format!("{what}: {why}")),
            Self::NotPermitted(why) => Self::NotPermitted(format!("{what}: {why}")),
            Self::TimedOut(why) => Self::TimedOut(format!("{what}: {why}")),
            Self::Malformed(why) => Self::Malformed(format!("{what}: {why}")),
            Self::Other(why) => Self::Other(format!("{what}: {why}")),
            no_program @ Self::NoProgram(_) => Self::Other(format!("{what}: {no_program}")),
        }
    }

    /// Whether the same question may have an answer a moment later.
    #[must_use]
    pub fn is_for_want_of_time(&self) -> bool {
        matches!(self, Self::TimedOut(_))
    }
}

impl From<String> for FactError {
    fn from(why: String) -> Self {
        Self::Other(why)
    }
}

impl From<&str> for FactError {
    fn from(why: &str) -> Self {
        Self::Other(why.to_owned())
    }
}

impl From<FactError> for String {
    fn from(error: FactError) -> Self {
        error.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_stays_and_the_words_grow() {
        let late = FactError::io("netlink", &io::ErrorKind::WouldBlock.into());
        assert!(late.is_for_want_of_time());
        let late = late.of("table ip nat");
        assert!(late.is_for_want_of_time());
        assert!(late.to_string().starts_with("table ip nat: netlink: "));
        let gone = FactError::io("x", &io::ErrorKind::NotFound.into());
        assert!(matches!(gone, FactError::Gone(_)) && !gone.is_for_want_of_time());
        let program = FactError::NoProgram("nft".into());
        assert_eq!(program.to_string(), "nft is not installed");
        assert_eq!(
            program.of("table").to_string(),
            "table: nft is not installed"
        );
    }
}
