//! Connections that lost a packet, followed until a later one gets through. Bounded; what is not followed is
//! counted.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::case::Case;
use crate::{
    facts::{FactKey, Followed},
    model::tuple::Tuple,
};

/// Most connections that are followed at a time.
pub const MOST: usize = 64;

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Network namespace of the loss.
    pub netns: u32,
    /// Its original direction.
    pub tuple: Tuple,
    /// Conntrack zone.
    pub zone: u16,
}

/// A loss whose connection is to be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The cause that may be to blame: only if it is does anybody care.
    pub cause: &'static str,
    /// The connection.
    pub flow: Flow,
    /// When: `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
}

/// What became of a case's connections.
#[derive(Debug, Default)]
pub struct Fates {
    followed: u64,
    through: u64,
    never: u64,
    not_followed: u64,
    /// How often which delay was seen; a delay is at most the follower's patience, which bounds this.
    delays: BTreeMap<u64, u64>,
}

/// What became of a case's connections that lost a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Outcomes {
    /// Connections that were followed.
    pub followed: u64,
    /// Those of which a later packet got through.
    pub through: u64,
    /// Those of which none did in the 10 s that they were followed.
    pub never: u64,
    /// Those that were still being followed at the end.
    pub open: u64,
    /// Losses whose connections could not be followed, or were too many: more than 64 at a time.
    pub not_followed: u64,
    /// Shortest delay, in milliseconds.
    pub min_ms: Option<u64>,
    /// Delay that half of them did not exceed, in milliseconds.
    pub median_ms: Option<u64>,
    /// Longest delay, in milliseconds.
    pub max_ms: Option<u64>,
}

/// What became of one connection, told at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Update {
    /// Number of the case, from 1.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub case: u32,
    /// Stem of the cause.
    #[cfg_attr(test, schemars(regex(pattern = "^[a-z_]+$")))]
    pub cause: Option<&'static str>,
    /// In words.
    pub text: String,
    /// The same as data.
    pub facts: UpdateFacts,
}

/// What is known of the connection.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UpdateFacts {
    /// The connection.
    pub followed: FollowedConnection,
}

/// A connection that lost a packet, followed for 10 s.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FollowedConnection {
    /// Its original direction.
    pub tuple: Tuple,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Followed,
}

impl Fates {
    /// For the summary.
    #[must_use]
    pub fn outcomes(&self) -> Outcomes {
        let half = self.through.div_ceil(2);
        let mut so_far = 0;
        let median = self.delays.iter().find(|(_, count)| {
            so_far += *count;
            so_far >= half
        });
        Outcomes {
            followed: self.followed,
            through: self.through,
            never: self.never,
            open: self.followed - self.through - self.never,
            not_followed: self.not_followed,
            min_ms: self.delays.keys().next().copied(),
            median_ms: median.map(|(delay, _)| *delay),
            max_ms: self.delays.keys().next_back().copied(),
        }
    }

    /// Losses that could not be followed.
    pub fn not_followed(&mut self, count: u64) {
        self.not_followed += count;
    }

    /// The following of one ended; `None` when nothing could be found out.
    pub fn ended(&mut self, outcome: Option<&Followed>) {
        let Some(outcome) = outcome else {
            self.followed -= 1;
            self.not_followed += 1;
            return;
        };
        if outcome.through {
            self.through += 1;
            *self.delays.entry(outcome.after_ms).or_default() += 1;
        } else {
            self.never += 1;
        }
    }
}

/// The connections that are followed, with the case that each belongs to and whether it was that case's first.
#[derive(Debug, Default)]
pub struct Following {
    open: HashMap<Flow, (u32, bool)>,
}

impl Following {
    /// Takes a loss of an explained case; returns the question to ask, if it is to be followed now.
    pub fn lost(&mut self, case: &mut Case, loss: Loss) -> Option<FactKey> {
        if case.cause != Some(loss.cause) || self.open.contains_key(&loss.flow) {
            // Another cause was to blame, or the later packet was lost too.
            return None;
        }
        let fates = &mut case.fates;
        if self.open.len() >= MOST {
            fates.not_followed += 1;
            return None;
        }
        let flow = loss.flow;
        self.open.insert(flow, (case.number, fates.followed == 0));
        fates.followed += 1;
        Some(FactKey::Followed {
            netns: flow.netns,
            tuple: flow.tuple,
            zone: flow.zone,
            from_ns: loss.time_ns,
        })
    }

    /// Takes an answer; returns the connection, its case and whether its fate is to be told.
    pub fn answered(&mut self, key: &FactKey) -> Option<(u32, Tuple, bool)> {
        let FactKey::Followed {
            netns, tuple, zone, ..
        } = *key
        else {
            return None;
        };
        let (case, first) = self.open.remove(&Flow { netns, tuple, zone })?;
        Some((case, tuple, first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(through: bool, after_ms: u64) -> Followed {
        Followed {
            through,
            after_ms,
            resolution_ms: 100,
            state: None,
            answered: through,
        }
    }

    #[test]
    fn the_summary_has_the_median_and_what_is_open() {
        let mut fates = Fates {
            followed: 6,
            ..Fates::default()
        };
        for delay in [1000, 3000, 1000, 200] {
            fates.ended(Some(&outcome(true, delay)));
        }
        fates.ended(Some(&outcome(false, 10_000)));
        let outcomes = fates.outcomes();
        assert_eq!((outcomes.through, outcomes.never, outcomes.open), (4, 1, 1));
        assert_eq!(
            [outcomes.min_ms, outcomes.median_ms, outcomes.max_ms],
            [Some(200), Some(1000), Some(3000)]
        );
        assert_eq!(Fates::default().outcomes(), Outcomes::default());
    }
}
