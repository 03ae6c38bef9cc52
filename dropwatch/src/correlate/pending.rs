//! Judgements that wait for facts, by class.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{
    case::Seen,
    class::Class,
    follow::{self, Loss},
};
use crate::{facts::FactKey, model::anchor::Anchor};

/// Most judgements at a time.
pub const MOST: usize = 1024;

/// A judgement that waits.
#[derive(Debug)]
pub struct Pending {
    /// What is judged.
    pub class: Class,
    /// The first anchor of the class.
    pub anchor: Anchor,
    /// Judged with what is there then.
    pub until_ns: u64,
    /// Questions asked so far.
    pub asked: HashSet<FactKey>,
    /// To be judged again at this time, should no answer come before.
    pub wake_ns: Option<u64>,
    /// Everything of the class that came meanwhile, the first one included.
    pub seen: Seen,
    /// Connections that lost a packet.
    pub losses: Vec<Loss>,
    /// Those for which there was no room.
    pub not_followed: u64,
    /// The case that an earlier judgement of the class led to.
    pub previous: Option<u32>,
}

impl Pending {
    /// A judgement that begins with an anchor.
    #[must_use]
    pub fn new(class: Class, anchor: Anchor, patience_ns: u64, previous: Option<u32>) -> Self {
        let mut seen = Seen::default();
        seen.add(&anchor, true);
        Self {
            class,
            until_ns: anchor.time_ns().saturating_add(patience_ns),
            anchor,
            asked: HashSet::new(),
            wake_ns: None,
            seen,
            losses: Vec::new(),
            not_followed: 0,
            previous,
        }
    }

    /// One more of the class.
    pub fn add(&mut self, anchor: &Anchor) {
        let of_sort = anchor.drop().is_some() == self.anchor.drop().is_some();
        self.seen.add(anchor, of_sort);
    }

    /// A connection lost a packet.
    pub fn lost(&mut self, loss: Loss) {
        if self.losses.len() < follow::MOST {
            self.losses.push(loss);
        } else {
            self.not_followed += 1;
        }
    }

    /// When it is to be judged whatever comes.
    fn due_ns(&self) -> u64 {
        self.wake_ns
            .map_or(self.until_ns, |at| at.min(self.until_ns))
    }
}

/// All of them, in the order in which they began.
#[derive(Debug, Default)]
pub struct Waiting {
    by_number: BTreeMap<u64, Pending>,
    by_class: HashMap<Class, u64>,
    next: u64,
    /// No one is due before.
    due_ns: u64,
}

impl Waiting {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }

    /// The one of a class.
    pub fn of_class(&mut self, class: &Class) -> Option<&mut Pending> {
        self.by_number.get_mut(self.by_class.get(class)?)
    }

    /// By number.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<&Pending> {
        self.by_number.get(&number)
    }

    /// Adds one; returns its number.
    pub fn insert(&mut self, pending: Pending) -> u64 {
        let number = self.next;
        self.next += 1;
        self.due_ns = self.due_ns.min(pending.due_ns());
        self.by_class.insert(pending.class.clone(), number);
        self.by_number.insert(number, pending);
        number
    }

    /// It asked further questions and waits.
    pub fn waits(&mut self, number: u64, asked: Vec<FactKey>, wake_ns: Option<u64>) {
        if let Some(pending) = self.by_number.get_mut(&number) {
            pending.asked.extend(asked);
            pending.wake_ns = wake_ns;
            self.due_ns = self.due_ns.min(pending.due_ns());
        }
    }

    /// Takes one out: it was judged.
    pub fn remove(&mut self, number: u64) -> Option<Pending> {
        let pending = self.by_number.remove(&number)?;
        self.by_class.remove(&pending.class);
        Some(pending)
    }

    /// Those that asked for a fact.
    #[must_use]
    pub fn asking(&self, key: &FactKey) -> Vec<u64> {
        self.which(|pending| pending.asked.contains(key))
    }

    /// Those that wait for something to happen.
    #[must_use]
    pub fn curious(&self) -> Vec<u64> {
        self.which(|pending| pending.wake_ns.is_some())
    }

    /// Those that are due.
    pub fn due(&mut self, now_ns: u64) -> Vec<u64> {
        if now_ns < self.due_ns {
            return Vec::new();
        }
        let due = self.which(|pending| pending.due_ns() <= now_ns);
        let later = self.by_number.values().map(Pending::due_ns);
        self.due_ns = later.filter(|at| *at > now_ns).min().unwrap_or(u64::MAX);
        due
    }

    /// All.
    #[must_use]
    pub fn all(&self) -> Vec<u64> {
        self.which(|_| true)
    }

    fn which(&self, wanted: impl Fn(&Pending) -> bool) -> Vec<u64> {
        let all = self.by_number.iter();
        let wanted = all.filter(|(_, pending)| wanted(pending));
        wanted.map(|(number, _)| *number).collect()
    }
}
