//! The table of cases: bounded, the ones that were quiet for longest make room.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::{
    case::{Case, CaseKey, Losses, NetnsId, Repeat, Seen, Tally},
    follow::Fates,
};
use crate::judge::Key;

/// Most cases at a time.
pub const MOST: usize = 4096;

/// Most cases of one family.
pub const MOST_OF_FAMILY: usize = 32;

/// A case makes room for others only when it was quiet for as long.
const QUIET_NS: u64 = 60_000_000_000;

/// A case that was quiet for as long is closed.
const CLOSED_AFTER_NS: u64 = 600_000_000_000;

/// Pauses between counting lines of one case, in turn; the last one for ever.
const PAUSES_NS: [u64; 5] = [
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    60_000_000_000,
];

/// Cases that are closed, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Closed {
    /// How many cases.
    pub cases: u64,
    /// Their dropped packets, in detail.
    pub drops: u64,
    /// Dropped packets of those that the options left out.
    #[serde(skip)]
    pub hidden: u64,
}

/// All cases.
#[derive(Debug, Default)]
pub struct Cases {
    by_number: BTreeMap<u32, Case>,
    index: HashMap<CaseKey, u32>,
    families: HashMap<(NetnsId, Key), usize>,
    /// Which family a case counts for.
    family_of: HashMap<u32, (NetnsId, Key)>,
    closed: Closed,
    next: u32,
}

/// What a new case begins with.
pub struct New {
    /// What tells it from others.
    pub key: CaseKey,
    /// The family that it counts for.
    pub family: Option<(NetnsId, Key)>,
    /// The cause.
    pub cause: Option<&'static str>,
    /// Title.
    pub title: String,
    /// Whether its first anchor is a dropped packet.
    pub of_drops: bool,
    /// What was seen of it so far.
    pub seen: Seen,
}

impl Cases {
    /// A case by number.
    pub fn get(&mut self, number: u32) -> Option<&mut Case> {
        self.by_number.get_mut(&number)
    }

    /// A case by key.
    pub fn of_key(&mut self, key: &CaseKey) -> Option<&mut Case> {
        self.by_number.get_mut(self.index.get(key)?)
    }

    /// Whether a family has as many cases of its own as it may.
    #[must_use]
    pub fn is_large(&self, family: &(NetnsId, Key)) -> bool {
        self.families
            .get(family)
            .is_some_and(|n| *n >= MOST_OF_FAMILY)
    }

    /// Makes room for one more; `false` when all are too busy to be closed. What closes is told a last time.
    pub fn make_room(&mut self, now_ns: u64, losses: &Losses, out: &mut Vec<Repeat>) -> bool {
        if self.by_number.len() < MOST {
            return true;
        }
        let quietest = self.by_number.values().min_by_key(|case| case.last_ns);
        let Some((number, last_ns)) = quietest.map(|case| (case.number, case.last_ns)) else {
            return false;
        };
        if last_ns.saturating_add(QUIET_NS) > now_ns {
            return false;
        }
        self.close(number, losses, out);
        true
    }

    /// Opens a case; returns its number.
    pub fn open(&mut self, new: New, now_ns: u64) -> u32 {
        self.next += 1;
        let number = self.next;
        self.index.insert(new.key.clone(), number);
        if let Some(family) = new.family {
            *self.families.entry(family.clone()).or_default() += 1;
            self.family_of.insert(number, family);
        }
        let case = Case {
            number,
            key: new.key,
            cause: new.cause,
            title: new.title,
            of_drops: new.of_drops,
            seen: new.seen,
            told: 1,
            hidden: false,
            last_ns: now_ns,
            line_ns: now_ns,
            pause_ns: PAUSES_NS[0],
            fates: Fates::default(),
        };
        self.by_number.insert(number, case);
        number
    }

    fn close(&mut self, number: u32, losses: &Losses, out: &mut Vec<Repeat>) {
        let Some(mut case) = self.by_number.remove(&number) else {
            return;
        };
        out.extend(case.repeat(losses));
        self.index.remove(&case.key);
        if let Some(family) = self.family_of.remove(&number)
            && let Some(count) = self.families.get_mut(&family)
        {
            *count -= 1;
            if *count == 0 {
                self.families.remove(&family);
            }
        }
        self.closed.cases += u64::from(!case.hidden);
        if case.hidden {
            self.closed.hidden += case.seen.drops;
        } else {
            self.closed.drops += case.seen.drops;
        }
    }

    /// Lets time pass: counting lines that are due, and the last ones of cases that are closed.
    pub fn advance(&mut self, now_ns: u64, losses: &Losses, out: &mut Vec<Repeat>) {
        let mut quiet = Vec::new();
        for case in self.by_number.values_mut() {
            if case.last_ns.saturating_add(CLOSED_AFTER_NS) <= now_ns {
                quiet.push(case.number);
            } else if case.seen.total > case.told
                && case.line_ns.saturating_add(case.pause_ns) <= now_ns
            {
                case.line_ns = now_ns;
                let longer = PAUSES_NS.into_iter().find(|p| *p > case.pause_ns);
                case.pause_ns = longer.unwrap_or(case.pause_ns);
                out.extend(case.repeat(losses));
            }
        }
        for number in quiet {
            self.close(number, losses, out);
        }
    }

    /// The last counting lines.
    pub fn finish(&mut self, losses: &Losses, out: &mut Vec<Repeat>) {
        for case in self.by_number.values_mut() {
            out.extend(case.repeat(losses));
        }
    }

    /// The lines of the summary.
    pub fn tallies<'a>(
        &'a self,
        losses: &'a Losses,
        follows: impl Fn(Option<&str>) -> bool + 'a,
    ) -> impl Iterator<Item = Tally> + 'a {
        let shown = self.by_number.values().filter(|case| !case.hidden);
        shown.map(move |case| case.tally(losses, follows(case.cause)))
    }

    /// Dropped packets of all cases: of those that are shown, and of those that the options leave out.
    #[must_use]
    pub fn drops(&self) -> (u64, u64) {
        let mut sums = (self.closed.drops, self.closed.hidden);
        for case in self.by_number.values() {
            let sum = if case.hidden {
                &mut sums.1
            } else {
                &mut sums.0
            };
            *sum += case.seen.drops;
        }
        sums
    }

    /// The closed ones.
    #[must_use]
    pub fn closed(&self) -> Closed {
        self.closed
    }
}
