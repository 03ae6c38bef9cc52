//! The facts known so far, and the sysctl writes: what a [`super::View`] looks into.

use std::collections::{HashMap, VecDeque};

use super::readings::Readings;
use crate::{
    facts::{ConntrackStats, Fact, FactKey},
    model::evidence::SysctlWrite,
};

/// A fact stays usable for judgements that begin this long after it was read.
const FRESH_NS: u64 = 1_000_000_000;

/// A rule set stays usable for this many times as long as reading it took: a large one is not read all the time.
const RULESET_SHARE: u64 = 20;

/// And at most this long.
const RULESET_FRESH_NS: u64 = 60_000_000_000;

/// Facts that no judgement can use any more are forgotten after this time.
const KEEP_NS: u64 = 10_000_000_000;

/// Most sysctl writes remembered.
const MOST_WRITES: usize = 256;

/// Most facts.
const MOST_FACTS: usize = 16_384;

/// A fact and its times: `CLOCK_MONOTONIC`, nanoseconds.
#[derive(Debug)]
struct Known {
    fact: Fact,
    read_ns: u64,
    /// Until when it may be used.
    fresh_ns: u64,
}

/// Facts and writes, with the time they were read.
#[derive(Debug, Default)]
pub struct Store {
    facts: HashMap<FactKey, Known>,
    /// When what is not answered yet was asked.
    asked: HashMap<FactKey, u64>,
    writes: VecDeque<SysctlWrite>,
    readings: Readings,
}

impl Store {
    /// A question was asked at `time_ns`.
    pub fn asked(&mut self, key: &FactKey, time_ns: u64) {
        self.asked.entry(key.clone()).or_insert(time_ns);
    }

    /// Whether an answer to it is on its way.
    #[must_use]
    pub fn is_asked(&self, key: &FactKey) -> bool {
        self.asked.contains_key(key)
    }

    /// Keeps a fact that was read at `time_ns`.
    pub fn insert(&mut self, key: FactKey, fact: Fact, time_ns: u64) {
        if let (FactKey::ConntrackStats { netns }, Fact::ConntrackStats(stats)) = (&key, &fact) {
            self.readings.keep(*netns, stats, time_ns);
        }
        let took_ns = self
            .asked
            .remove(&key)
            .map_or(0, |asked| time_ns.saturating_sub(asked));
        let usable_ns = match (&key, &fact) {
            // Conntrack changes with every packet.
            (FactKey::Conntrack { .. } | FactKey::ConntrackStats { .. }, _) => 0,
            (FactKey::Ruleset { .. }, Fact::Ruleset(_)) => took_ns
                .saturating_mul(RULESET_SHARE)
                .clamp(FRESH_NS, RULESET_FRESH_NS),
            _ => FRESH_NS,
        };
        if self.facts.len() >= MOST_FACTS && !self.facts.contains_key(&key) {
            self.forget_oldest();
        }
        let known = Known {
            fact,
            read_ns: time_ns,
            fresh_ns: time_ns.saturating_add(usable_ns),
        };
        self.facts.insert(key, known);
    }

    /// A quarter at once: so that it is not done for every new fact.
    fn forget_oldest(&mut self) {
        let mut times: Vec<u64> = self.facts.values().map(|known| known.read_ns).collect();
        times.sort_unstable();
        let oldest = times.get(times.len() / 4).copied().unwrap_or(0);
        self.facts.retain(|_, known| known.read_ns > oldest);
    }

    /// A fact that a judgement which began at `opened_ns` may use, and when it was read.
    #[must_use]
    pub fn get(&self, key: &FactKey, opened_ns: u64) -> Option<(&Fact, u64)> {
        let known = self.facts.get(key)?;
        (known.fresh_ns > opened_ns).then_some((&known.fact, known.read_ns))
    }

    /// Keeps a sysctl write.
    pub fn wrote(&mut self, write: SysctlWrite) {
        if self.writes.len() == MOST_WRITES {
            self.writes.pop_front();
        }
        self.writes.push_back(write);
    }

    /// The last write to one of these keys in a namespace before a time.
    #[must_use]
    pub fn last_write(&self, netns: u32, keys: &[&str], before_ns: u64) -> Option<&SysctlWrite> {
        self.writes
            .iter()
            .rev()
            .find(|w| w.netns == netns && w.time_ns <= before_ns && keys.contains(&w.key.as_str()))
    }

    /// The conntrack counters of a namespace as last read before a time, and when that was.
    #[must_use]
    pub fn conntrack_stats_before(
        &self,
        netns: u32,
        time_ns: u64,
    ) -> Option<&(u64, ConntrackStats)> {
        self.readings.before(netns, time_ns)
    }

    /// Forgets everything about a namespace: its number has another owner now.
    pub fn forget_netns(&mut self, netns: u32) {
        self.facts.retain(|key, _| key.netns() != Some(netns));
        self.asked.retain(|key, _| key.netns() != Some(netns));
        self.writes.retain(|write| write.netns != netns);
        self.readings.forget(netns);
    }

    /// Forgets facts that no judgement can use any more.
    pub fn expire(&mut self, now_ns: u64) {
        self.facts
            .retain(|_, known| known.fresh_ns.saturating_add(KEEP_NS) > now_ns);
        self.asked
            .retain(|_, asked| asked.saturating_add(RULESET_FRESH_NS) > now_ns);
    }
}
