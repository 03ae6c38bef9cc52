//! Readings of the conntrack tables' counters: what a case's counters are compared with. Other facts are
//! forgotten after a while; the last reading before a case stays worth having.

use std::collections::{HashMap, VecDeque};

use crate::facts::ConntrackStats;

/// Most tables.
const MOST_TABLES: usize = 256;

/// Most readings of a table. More than one is needed: others may be taken while a case waits.
const MOST_READINGS: usize = 8;

/// Readings by network namespace.
#[derive(Debug, Default)]
pub struct Readings {
    tables: HashMap<u32, VecDeque<(u64, ConntrackStats)>>,
}

impl Readings {
    /// Keeps a reading of `time_ns`.
    pub fn keep(&mut self, netns: u32, stats: &ConntrackStats, time_ns: u64) {
        if self.tables.len() >= MOST_TABLES && !self.tables.contains_key(&netns) {
            let latest =
                |(netns, read): (&u32, &VecDeque<(u64, _)>)| (read.back().map(|r| r.0), *netns);
            if let Some((_, oldest)) = self.tables.iter().map(latest).min() {
                self.tables.remove(&oldest);
            }
        }
        let readings = self.tables.entry(netns).or_default();
        if readings.len() == MOST_READINGS {
            readings.pop_front();
        }
        readings.push_back((time_ns, stats.clone()));
    }

    /// Forgets a namespace.
    pub fn forget(&mut self, netns: u32) {
        self.tables.remove(&netns);
    }

    /// The last reading before a time, and when it was taken.
    #[must_use]
    pub fn before(&self, netns: u32, time_ns: u64) -> Option<&(u64, ConntrackStats)> {
        let mut readings = self.tables.get(&netns)?.iter().rev();
        readings.find(|(read, _)| *read < time_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(insert_failed: u64) -> ConntrackStats {
        ConntrackStats {
            insert_failed,
            ..ConntrackStats::default()
        }
    }

    #[test]
    fn before_is_the_last_one_earlier_than_the_drop() {
        let mut readings = Readings::default();
        readings.keep(1, &stats(3), 10);
        readings.keep(1, &stats(4), 20);
        let before = |time| readings.before(1, time).map(|(_, s)| s.insert_failed);
        assert_eq!(
            [before(10), before(11), before(20), before(99)],
            [None, Some(3), Some(3), Some(4)]
        );
        assert!(readings.before(2, 99).is_none());
    }

    #[test]
    fn memory_is_bounded_and_the_tables_read_last_stay() {
        let mut readings = Readings::default();
        for n in 0..10_000_u32 {
            readings.keep(n, &stats(0), n.into());
            readings.keep(n, &stats(0), n.into());
        }
        assert_eq!(readings.tables.len(), MOST_TABLES);
        assert!(readings.before(9_999, u64::MAX).is_some());
        for n in 0..100 {
            readings.keep(9_999, &stats(n), n);
        }
        assert_eq!(readings.tables[&9_999].len(), MOST_READINGS);
    }
}
