//! `nfqueue_mark`: a queue program's verdict carried a mark that a later rule drops.
//!
//! A program that takes packets by NFQUEUE may give them another mark with its verdict (`NFQA_MARK`,
//! net/netfilter/nfnetlink_queue.c, 5.10 to 7.2). Firewalls use marks as well: Kubernetes' KUBE-FIREWALL drops what
//! has bit 0x8000. If the two mean different things by one bit, everything that goes through the queue is dropped.
//!
//! Mine is only a packet that was seen to come back with another mark than it was queued with, and that a rule
//! dropped which asks for just those bits: with the mark it was queued with, no rule would have dropped it.

use crate::{
    attach::spec::{self, Probe},
    judge::{Answer, Cause, Judgement, View},
    model::{anchor::Anchor, coverage::Coverage},
};

mod case;
pub(super) mod facts;
mod fixes;
mod render;
mod text;

/// The cause.
pub struct NfqueueMark;

impl Cause for NfqueueMark {
    fn id(&self) -> &'static str {
        "nfqueue_mark"
    }

    fn probes(&self) -> &'static [&'static Probe] {
        &[&spec::QUEUE, &spec::QUEUE_ENTRY, &spec::REINJECT]
    }

    fn blind(&self, coverage: &Coverage) -> Option<String> {
        let mut needed = self.probes().iter();
        let Some(missing) = needed.find(|p| !coverage.will_see(p.name)) else {
            return coverage.no_places();
        };
        let why = coverage.status(missing.name).and_then(|p| p.why.as_ref());
        Some(format!(
            "what a queue program does to a packet's mark cannot be seen here ({})",
            why.map_or("unknown", String::as_str)
        ))
    }

    fn judge(&self, anchor: &Anchor, view: &View<'_>) -> Judgement {
        let case = anchor.drop().and_then(|drop| case::Case::read(drop, view));
        if view.pending() {
            return Judgement::Wait;
        }
        match case {
            Some(case) => Judgement::Mine(Box::new(Answer {
                key: case.key(),
                explanation: case.explain(view.unknown()),
                counted: None,
                family: None,
            })),
            None => Judgement::NotMine,
        }
    }
}
