//! A case: drops, or anomalies with what they lead to, that have one explanation.

use std::collections::HashSet;

use serde::Serialize;

use super::follow::{Fates, Outcomes};
use crate::{
    causes::Subject,
    facts::FactKey,
    model::{anchor::Anchor, explanation::Explanation},
};

/// What tells cases apart: the first cause that claims the anchor (none for plain ones), and its subject.
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
    /// Number, from 1, in the order of first anchors.
    pub number: u32,
    /// The first anchor.
    pub first: Anchor,
    /// Anchors of its kind so far.
    pub total: u64,
    /// Those that the user has been told of.
    pub told: u64,
    /// Dropped packets so far: all anchors, or what the anomalies led to.
    pub drops: u64,
    /// Whether it was explained.
    pub state: State,
    /// What became of the connections that lost a packet.
    pub fates: Fates,
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
        /// To be judged again at this time, should no answer come before.
        wake_ns: Option<u64>,
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
    /// The first anchor.
    pub anchor: Anchor,
    /// Name of its namespace.
    pub netns_name: Option<String>,
    /// The explanation.
    pub explanation: Explanation,
    /// Causes that could not be judged, and why (plain drops only).
    pub blind: Vec<String>,
}

/// More of a case.
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
    /// All drops of it; of an anomaly, how often it happened.
    pub total: u64,
    /// All dropped packets of it, those that an anomaly led to included.
    pub drops: u64,
    /// What became of its connections; `None` for causes that follow none.
    pub outcomes: Option<Outcomes>,
}
