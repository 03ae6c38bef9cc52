//! The loss ledger: where every drop went that the kernel showed us.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray, PerCpuHashMap},
};
use dropwatch_common::{
    config::live,
    counters::{self, DropKey, tally},
    hot, names,
};
use serde::{Deserialize, Serialize};

use crate::attach::{info::fdinfo, load::Attached};

/// Where every drop went, in drops. Every number is exact: seen = filtered + not_packet + suppressed + lost_ring_full +
/// received, and received = route_queries + undecodable + deselected + shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Ledger {
    /// All that the kernel showed: runs of the drop anchor.
    pub seen: u64,
    /// Not of the selected netns or device.
    pub filtered: u64,
    /// Freed buffers that are no network packets.
    pub not_packet: u64,
    /// Counted without detail: over the budget of their kind.
    pub suppressed: u64,
    /// Lost because the ring buffer was full.
    pub lost_ring_full: u64,
    /// Calls that the kernel did not show us because the program was running already; on top of `seen`.
    pub lost_recursion: u64,
    /// Records read.
    pub received: u64,
    /// Freed answers to route queries, which the kernel builds as packets: ours and `ip route get`.
    pub route_queries: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// Records of other things than drops that could not be decoded; on top of `received`.
    #[serde(default)]
    pub undecodable_events: u64,
    /// Records that the options left out of the output.
    pub deselected: u64,
    /// Drops told of.
    pub shown: u64,
    /// Drops counted under no key of their own in `drops` because the table was full.
    pub keys_full: u64,
    /// Records of other things than drops (sysctl writes, anomalies) that the ring buffer had no room for.
    #[serde(default)]
    pub lost_events: u64,
    /// Facts about packets on their way that could not be kept until the drop (table full).
    #[serde(default)]
    pub lost_evidence: u64,
    /// Of those received: over the budget of their kind, but of a flow not seen lately, which has a budget of its own.
    #[serde(default)]
    pub new_flows: u64,
    /// Whether it adds up.
    pub balanced: bool,
}

impl Ledger {
    /// Whether every drop that was seen came in detail.
    #[must_use]
    pub fn all_in_detail(&self) -> bool {
        [self.suppressed, self.lost_ring_full, self.keys_full] == [0; 3]
    }

    /// Does the sums: everything seen went somewhere, and everything put into the ring was read.
    pub fn close(&mut self) {
        let kernel = self.filtered + self.not_packet + self.suppressed + self.lost_ring_full;
        self.balanced = self.seen == kernel + self.received
            && self.received
                == self.undecodable + self.route_queries + self.deselected + self.shown;
    }
}

/// A line of the kernel's exact counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropCount {
    /// What was counted.
    pub key: DropKey,
    /// All.
    pub count: u64,
    /// Those without detail.
    pub suppressed: u64,
}

/// The maps that the ledger is read from; they outlive the programs.
pub struct Counters {
    counters: PerCpuArray<MapData, [u64; counters::COUNT as usize]>,
    drops: PerCpuHashMap<MapData, [u32; 6], [u64; 3]>,
    /// The kinds that came first.
    hot: PerCpuArray<MapData, [u64; hot::SIZE]>,
    live: Array<MapData, u32>,
    epoch: u32,
    lookups: u32,
    quiet: Quiet,
}

/// Kinds that make room for others in the kernel's table.
#[derive(Default)]
struct Quiet {
    /// Count of each kind when it was looked at last, and how often it was the same.
    looks: HashMap<DropKey, (u64, u32)>,
    /// Counts of those that were taken out, without namespace and device.
    retired: BTreeMap<DropKey, (u64, u64)>,
}

/// Kinds are taken out only when the table has more than this many.
const MANY_KINDS: usize = 2048;

/// Those that were found unchanged so many times in a row.
const QUIET_LOOKS: u32 = 6;

impl Counters {
    /// Takes the maps out of the loaded object.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let mut take = |name| {
            ebpf.take_map(name)
                .with_context(|| format!("no map {name}"))
        };
        Ok(Self {
            counters: PerCpuArray::try_from(take(names::COUNTERS)?)?,
            drops: PerCpuHashMap::try_from(take(names::DROPS)?)?,
            hot: PerCpuArray::try_from(take(names::HOT)?)?,
            live: Array::try_from(take(names::LIVE)?)?,
            epoch: 0,
            lookups: 0,
            quiet: Quiet::default(),
        })
    }

    /// Begins a new budget epoch.
    pub fn advance(&mut self) -> Result<()> {
        self.epoch = self.epoch.wrapping_add(1);
        self.live
            .set(live::EPOCH, self.epoch, 0)
            .context("advancing the budget epoch")
    }

    /// Begins a new generation of watched look-ups, or ends it.
    pub fn watch_lookups(&mut self, on: bool) -> Result<()> {
        if on {
            self.lookups += 1;
        }
        let generation = if on { self.lookups } else { 0 };
        self.live
            .set(live::LOOKUPS, generation, 0)
            .context("switching the watch on look-ups")
    }

    /// Takes kinds out of the kernel's table that had no drops since the last looks, if it has many: of a node's life
    /// only what happens now needs a place there. To be called at long intervals: what is dropped at the very moment of
    /// that, a minute after the last drop of its kind, may be missing from the counts by kind, not from the ledger.
    pub fn retire(&mut self) -> Result<()> {
        let mut counts = Vec::new();
        for (words, values) in self.drops.iter().flatten() {
            let sum = |at: usize| values.iter().map(|value| value[at]).sum::<u64>();
            counts.push((words, sum(tally::COUNT), sum(tally::SUPPRESSED)));
        }
        let Quiet { looks, retired } = &mut self.quiet;
        if counts.len() <= MANY_KINDS {
            looks.clear();
            return Ok(());
        }
        let mut next = HashMap::with_capacity(counts.len());
        for (words, count, suppressed) in counts {
            let key = DropKey::from_words(words);
            let same = match looks.get(&key) {
                Some((before, times)) if *before == count => times + 1,
                _ => 0,
            };
            if same < QUIET_LOOKS {
                next.insert(key, (count, same));
                continue;
            }
            self.drops
                .remove(&words)
                .context("taking a quiet kind out of the table")?;
            let place = DropKey {
                ifindex: 0,
                netns: 0,
                ..key
            };
            let sum = retired.entry(place).or_default();
            sum.0 += count;
            sum.1 += suppressed;
        }
        *looks = next;
        Ok(())
    }

    /// Sum of a counter over all CPUs.
    pub fn sum(&self, counter: u32) -> Result<u64> {
        let cpus = self.counters.get(&0, 0).context("reading counters")?;
        Ok(cpus.iter().map(|cpu| cpu[counter as usize]).sum())
    }

    /// The kernel's half of the ledger.
    pub fn ledger(&self) -> Result<Ledger> {
        Ok(Ledger {
            seen: self.sum(counters::SEEN)?,
            filtered: self.sum(counters::FILTERED)?,
            not_packet: self.sum(counters::NOT_PACKET)?,
            suppressed: self.sum(counters::SUPPRESSED)?,
            lost_ring_full: self.sum(counters::RING_FULL)?,
            keys_full: self.sum(counters::KEYS_FULL)?,
            new_flows: self.sum(counters::NEW_FLOWS)?,
            lost_events: self.sum(counters::SYSCTL_RING_FULL)?
                + self.sum(counters::IPVS_RING_FULL)?,
            lost_evidence: self.sum(counters::RP_STASH_FAILED)?
                + self.sum(counters::CLASH_STASH_FAILED)?
                + self.sum(counters::QUEUE_STASH_FAILED)?
                + self.sum(counters::IPVS_STASH_FAILED)?,
            ..Ledger::default()
        })
    }

    /// Records that were put into the ring buffer for drops.
    pub fn submitted(&self) -> Result<u64> {
        self.sum(counters::SUBMITTED)
    }

    /// Exact counts by key, the largest first.
    #[must_use]
    pub fn drops(&self) -> Vec<DropCount> {
        let mut sums = self.quiet.retired.clone();
        let mut add = |key, tally: &[u64]| {
            let sum = sums.entry(key).or_default();
            sum.0 += tally[tally::COUNT];
            sum.1 += tally[tally::SUPPRESSED];
        };
        for (words, values) in self.drops.iter().flatten() {
            for value in values.iter() {
                add(DropKey::from_words(words), value);
            }
        }
        if let Ok(cpus) = self.hot.get(&0, 0) {
            for place in cpus.iter().flat_map(|cpu| cpu.chunks_exact(hot::WORDS)) {
                if let [location, second, third, tally @ ..] = place
                    && *location != 0
                {
                    add(DropKey::from_pairs([*location, *second, *third]), tally);
                }
            }
        }
        let mut drops: Vec<_> = sums
            .into_iter()
            .map(|(key, (count, suppressed))| DropCount {
                key,
                count,
                suppressed,
            })
            .collect();
        drops.sort_by_key(|d| std::cmp::Reverse(d.count));
        drops
    }
}

/// Calls that the kernel left out because a program was running already on that CPU (5.12 and later),
/// summed over all programs.
#[must_use]
pub fn recursion_misses(attached: &Attached) -> u64 {
    attached
        .programs()
        .into_iter()
        .filter_map(|(_, fd)| fdinfo(fd, "recursion_misses"))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_notices_a_missing_drop() {
        let mut ledger = Ledger {
            seen: 10,
            filtered: 1,
            not_packet: 1,
            suppressed: 2,
            lost_ring_full: 3,
            received: 3,
            shown: 2,
            undecodable: 1,
            ..Ledger::default()
        };
        ledger.close();
        assert!(ledger.balanced);
        ledger.seen = 11;
        ledger.close();
        assert!(!ledger.balanced);
        ledger.seen = 10;
        ledger.shown = 3;
        ledger.close();
        assert!(!ledger.balanced);
    }
}
