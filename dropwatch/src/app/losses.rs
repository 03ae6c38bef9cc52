//! Which kinds of drops lost detail, and how many there were in truth: told once a second while that grows.

use std::time::{Duration, Instant};

use anyhow::Result;
use dropwatch_common::counters;

use crate::{
    clock::monotonic_ns,
    event::Event,
    model::counts::{Kind, KindCount},
    stats::Counters,
};

/// Reading all kinds takes some milliseconds at most.
const PAUSE: Duration = Duration::from_secs(1);

/// What was told so far.
#[derive(Default)]
pub(super) struct Losses {
    without_detail: u64,
    read: Option<Instant>,
}

impl Losses {
    /// The exact counts, if more drops went without detail since they were told last.
    pub(super) fn tick(&mut self, counters: &Counters) -> Result<Option<Event>> {
        if self.read.is_some_and(|read| read.elapsed() < PAUSE) {
            return Ok(None);
        }
        self.last(counters)
    }

    /// The same without waiting for its time.
    pub(super) fn last(&mut self, counters: &Counters) -> Result<Option<Event>> {
        let ring_full = counters.sum(counters::RING_FULL)?;
        let now = counters.sum(counters::SUPPRESSED)? + ring_full;
        if now == self.without_detail {
            return Ok(None);
        }
        self.without_detail = now;
        self.read = Some(Instant::now());
        let all = counters.drops().into_iter();
        // What found no room in the ring buffer is not counted by kind: any kind may have lost some.
        let lossy = all.filter(|one| one.suppressed > 0 || ring_full > 0);
        let counted = lossy.map(|one| KindCount {
            kind: Kind {
                location: one.key.location,
                reason: one.key.reason,
                ifindex: one.key.ifindex,
                netns: one.key.netns,
                evidence: one.key.evidence,
            },
            count: one.count,
            suppressed: one.suppressed,
        });
        Ok(Some(Event::Tick {
            time_ns: monotonic_ns(),
            counted: counted.collect(),
            keyless: counters.sum(counters::KEYS_FULL)? > 0,
        }))
    }
}
