//! A case: drops that have one explanation.

use std::collections::HashSet;

use serde::Serialize;

use crate::{
    causes::Subject,
    facts::FactKey,
    model::{anchor::Drop, explanation::Explanation},
};

/// What tells cases apart: the first cause that claims the drop (none for plain ones), and its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CaseKey {
    /// Index in the list of causes; the list's length for plain drops.
    pub cause: usize,
    /// The cause's own numbers.
    pub subject: Subject,
}

/// A case in the making or told.
#[derive(Debug)]
pub struct Case {
    /// Number, from 1, in the order of first drops.
    pub number: u32,
    /// The first drop.
    pub first: Box<Drop>,
    /// Drops so far.
    pub total: u64,
    /// Drops that the user has been told of.
    pub told: u64,
    /// Whether it was explained.
    pub state: State,
}

/// How far a case is.
#[derive(Debug)]
pub enum State {
    /// Facts are being read.
    Waiting {
        /// Judged with what is there then.
        until_ns: u64,
        /// Questions asked so far.
        asked: HashSet<FactKey>,
    },
    /// Explained.
    Told {
        /// The cause.
        cause: Option<&'static str>,
        /// Title of the explanation.
        title: String,
        /// When the last line about it was due.
        line_ns: u64,
        /// Pause before the next line.
        pause_ns: u64,
    },
}

/// An explained case.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Case number.
    pub case: u32,
    /// The cause; `None` for a plain drop.
    pub cause: Option<&'static str>,
    /// The first drop.
    pub drop: Box<Drop>,
    /// Name of the drop's namespace.
    pub netns_name: Option<String>,
    /// The explanation.
    pub explanation: Explanation,
    /// Causes that could not be judged, and why (plain drops only).
    pub blind: Vec<String>,
}

/// More drops of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Repeat {
    /// Case number.
    pub case: u32,
    /// The cause.
    pub cause: Option<&'static str>,
    /// Title of the explanation.
    #[serde(skip)]
    pub title: String,
    /// New ones.
    pub count: u64,
    /// All so far.
    pub total: u64,
}

/// A line of the summary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tally {
    /// Case number.
    pub case: u32,
    /// The cause.
    pub cause: Option<&'static str>,
    /// Title of the explanation.
    pub title: String,
    /// All drops of it.
    pub total: u64,
}
