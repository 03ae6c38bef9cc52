//! Yes, no or maybe.

use std::ops::Not;

/// An answer where not everything is known. The least of several is that of all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// For sure not.
    No,
    /// It cannot be told.
    Maybe,
    /// For sure.
    Yes,
}

impl Answer {
    /// Yes if true, maybe if unknown.
    #[must_use]
    pub fn of(known: Option<bool>) -> Self {
        match known {
            Some(true) => Self::Yes,
            Some(false) => Self::No,
            None => Self::Maybe,
        }
    }
}

impl Not for Answer {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }
}
