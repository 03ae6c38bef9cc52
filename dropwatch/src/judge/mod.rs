//! Neutral ground between the engine and the causes: what a cause is asked, what it may look at, what it answers.
//! Names no cause.

use crate::{
    attach::spec::Probe,
    event::Event,
    facts::Followed,
    model::{
        anchor::{Anchor, Drop},
        coverage::Coverage,
        explanation::Explanation,
        tuple::Tuple,
    },
};

pub mod key;
mod plain_kind;
pub mod readings;
pub mod store;
pub mod view;

pub use key::Key;
pub use plain_kind::PlainKind;
pub use view::View;

/// The id of what is no root cause: the plain explanation, which comes last.
pub const PLAIN: &str = "none";

/// What is said of an anchor, and what else it is said of.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The explanation.
    pub explanation: Explanation,
    /// Anchors whose answers have the same key are one case: the same explanation is true of all of them, but for the
    /// devices and flows that it touches.
    pub key: Key,
    /// Title for counting lines and the summary, where that of the explanation names what not all of a case have in
    /// common.
    pub counted: Option<String>,
    /// What it is one of many of, if there may be very many of its kind (one for each port of a scan): only the first
    /// of them are cases of their own.
    pub family: Option<Family>,
}

/// A kind of answers of which there may be very many.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// What they have in common.
    pub key: Key,
    /// Title of the case that has all but the first ones.
    pub title: String,
}

/// A cause's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Something else dropped it.
    NotMine,
    /// Facts are still being read: ask again when they are here.
    Wait,
    /// This is it.
    Mine(Box<Answer>),
}

/// What a cause knows of a drop that looks like its own and is not.
#[derive(Clone, Debug, PartialEq)]
pub struct Words {
    /// `facts.kind`.
    pub kind: PlainKind,
    /// What happened.
    pub what: String,
    /// Where to look and what to change.
    pub look: String,
    /// What it would take to say more.
    pub unknown: Vec<String>,
    /// What tells it from others of its kind.
    pub key: Key,
}

/// A root cause, with its memory. The last one in the list of causes is the plain explanation, which answers for
/// everything.
pub trait Cause: Send {
    /// Stem: the id in JSON and on the command line, and the name of its folder, scenario and page.
    fn id(&self) -> &'static str;

    /// The probes that give it facts, the drop anchor aside.
    fn probes(&self) -> &'static [&'static Probe] {
        &[]
    }

    /// Last parts of the names of sysctls whose writes it wants to see, 15 bytes at most.
    fn sysctls(&self) -> &'static [&'static str] {
        &[]
    }

    /// Why this run cannot judge it; `None` when it can.
    fn blind(&self, _coverage: &Coverage) -> Option<String> {
        None
    }

    /// Takes everything that happens, before anything is judged by it: for what later events belong to.
    fn observe(&mut self, _event: &Event) {}

    /// Forgets what is too old to matter.
    fn expire(&mut self, _now_ns: u64) {}

    /// What the judgement of an anchor depends on, where the cause knows that better than the engine, which takes all
    /// that the anchor shows: a key, and the namespace of what it is about, which need not be the anchor's. What has the
    /// same class is judged once.
    fn class(&self, _anchor: &Anchor) -> Option<(u32, Key)> {
        None
    }

    /// Judges an anchor.
    fn judge(&self, anchor: &Anchor, view: &View<'_>) -> Judgement;

    /// What it knows of a drop that no cause claims; `None` for nothing, or while facts are missing.
    fn words(&self, _drop: &Drop, _view: &View<'_>) -> Option<Words> {
        None
    }

    /// Whether it wants connections followed.
    fn follows(&self) -> bool {
        false
    }

    /// The connection (original direction and conntrack zone) that lost a packet, to be followed until a later
    /// one gets through.
    fn follow(&self, _drop: &Drop) -> Option<(Tuple, u16)> {
        None
    }

    /// What a followed connection's fate means to its user, in words.
    fn followed(&self, _tuple: &Tuple, _outcome: &Followed) -> Option<String> {
        None
    }
}
