//! Lines that wait for the names of their namespaces.

use std::collections::{HashSet, VecDeque};

use crate::{
    facts::FactKey,
    model::{anchor::Drop, evidence::SysctlWrite},
    output::Names,
};

/// How long a line waits for the name of its namespace.
const PATIENCE_NS: u64 = 200_000_000;

/// Most lines that wait.
const MOST_HELD: usize = 4096;

/// A line that waits.
#[derive(Clone, Debug)]
pub enum Held {
    /// Of a drop.
    Drop(Box<Drop>),
    /// Of a written sysctl.
    Write {
        /// The write.
        write: SysctlWrite,
        /// Whether the name that is known may be that of an earlier owner of the namespace's number.
        unsure: bool,
    },
}

impl Held {
    fn netns(&self) -> u32 {
        match self {
            Self::Drop(drop) => drop.netns,
            Self::Write { write, .. } => write.netns,
        }
    }

    fn time_ns(&self) -> u64 {
        match self {
            Self::Drop(drop) => drop.time_ns,
            Self::Write { write, .. } => write.time_ns,
        }
    }
}

/// Names, and who waits for them.
#[derive(Default)]
pub struct Naming {
    names: Names,
    /// Namespaces whose names were asked and not told yet.
    asked: HashSet<u32>,
    /// Whether what is asked again is not answered again.
    answers_once: bool,
    /// Oldest first.
    held: VecDeque<Held>,
}

impl Naming {
    /// What is known.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Every namespace's name is answered once only: a capture of version 2.
    pub fn answers_once(&mut self) {
        self.answers_once = true;
    }

    /// An answer.
    pub fn learn(&mut self, netns: u32, name: Option<String>) {
        self.names.learn(netns, name);
        self.asked.remove(&netns);
    }

    /// The number has another owner.
    pub fn forget(&mut self, netns: u32) {
        self.names.forget(netns);
    }

    /// Takes a drop, whose record says by a cookie when a number has another owner; returns what is to be asked.
    pub fn hold_drop(&mut self, drop: &Drop) -> Option<FactKey> {
        let netns = drop.netns;
        let known = netns == 0 || self.names.is_known(netns);
        let ask = !known && self.asked.insert(netns);
        self.held.push_back(Held::Drop(Box::new(drop.clone())));
        ask.then_some(FactKey::Netns { netns })
    }

    /// Takes a write, whose record has no cookie: whether the number still belongs to the name that is known must be asked.
    pub fn hold_write(&mut self, write: &SysctlWrite) -> Option<FactKey> {
        let netns = write.netns;
        let ask = netns != 0 && self.asked.insert(netns);
        self.held.push_back(Held::Write {
            write: write.clone(),
            unsure: false,
        });
        ask.then_some(FactKey::Netns { netns })
    }

    /// The next line whose namespace's name is known, or was not known in time.
    pub fn next(&mut self, now_ns: u64) -> Option<Held> {
        let first = self.held.front()?;
        let netns = first.netns();
        let late =
            first.time_ns().saturating_add(PATIENCE_NS) <= now_ns || self.held.len() > MOST_HELD;
        if !late && self.asked.contains(&netns) {
            return None;
        }
        // Nobody waits for it a second time.
        let unanswered = late && self.asked.remove(&netns) && !self.answers_once;
        if late && !self.names.is_known(netns) {
            self.names.learn(netns, None);
        }
        let mut next = self.held.pop_front();
        if let Some(Held::Write { unsure, .. }) = &mut next {
            *unsure = unanswered;
        }
        next
    }
}
