//! What the kernel counts drops by, and its exact counts.

use dropwatch_common::header::kind;
use serde::{Deserialize, Serialize};

use super::{anchor::Drop, evidence::CtState};

/// What the kernel's exact counters tell apart: see `dropwatch_common::counters::DropKey`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Kind {
    /// Address of the code that freed the packet.
    pub location: u64,
    /// This kernel's number of the drop reason.
    pub reason: u32,
    /// Device index; 0 = unknown.
    pub ifindex: u32,
    /// Network namespace inode number; 0 = unknown.
    pub netns: u32,
    /// Section kind of the evidence that was joined; 0 = none.
    pub evidence: u32,
}

impl Kind {
    /// The kind that a drop was counted under: the kernel side decides as `dropwatch-ebpf/src/hooks/skb_drop.rs` does.
    #[must_use]
    pub fn of(drop: &Drop) -> Self {
        use dropwatch_common::record::ct_insert::status;
        let decided = status::SRC_NAT | status::SRC_NAT_DONE;
        let not_inserted = drop.insertion.as_ref().is_some_and(|i| {
            i.state == CtState::New && i.status & status::CONFIRMED == 0 && i.status & decided != 0
        });
        let evidence = if drop.source_check.is_some() {
            kind::RP_FILTER
        } else if drop.queue.is_some() {
            kind::NFQUEUE
        } else if not_inserted {
            kind::CT_INSERT
        } else {
            kind::ABSENT
        };
        Self {
            location: drop.location.address,
            reason: drop.reason.number,
            ifindex: drop.dev.as_ref().map_or(0, |dev| dev.ifindex),
            netns: drop.netns,
            evidence: evidence.into(),
        }
    }
}

/// An exact count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCount {
    /// Of what.
    #[serde(flatten)]
    pub kind: Kind,
    /// All drops.
    pub count: u64,
    /// Those of which no detail was sent.
    pub suppressed: u64,
}

/// A line of the kernel's exact counts, with names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Counted {
    /// Drop reason: its name, `reason N`, or `no reason given`.
    pub reason: String,
    /// Place: `function+0x1d`, or the address.
    pub location: String,
    /// Namespace inode number; 0 = unknown.
    pub netns: u32,
    /// Device index; 0 = no device.
    pub ifindex: u32,
    /// All drops.
    pub count: u64,
    /// Those of which no detail was sent.
    pub suppressed: u64,
}
