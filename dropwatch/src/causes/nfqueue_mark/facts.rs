//! The facts as data (docs/events.md).

use serde::Serialize;

use crate::{model::hook::Hook, netfilter::RuleFacts};

/// Facts of cause `nfqueue_mark`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "NfqueueMarkFacts")
)]
pub struct Facts {
    /// What it is a case of.
    pub(super) kind: Kind,
    /// Queue number.
    pub(super) queue: u16,
    /// Where it was queued; null for a hook that this version does not know.
    pub(super) hook: Option<Hook>,
    /// Family of that hook.
    pub(super) family: Option<IpFamily>,
    /// The packet's mark on its way.
    pub(super) mark: MarkHistory,
    /// The program's verdict: `accept`, `repeat`, …
    pub(super) verdict: String,
    /// The program.
    pub(super) holder: Holder,
    /// How long it had the packet, milliseconds.
    #[cfg_attr(test, schemars(range(min = 0)))]
    pub(super) held_ms: f64,
    /// The rule that dropped it.
    pub(super) rule: Option<MarkedRule>,
    /// The rule that sent it to the queue.
    pub(super) queue_rule: Option<RuleFacts>,
    /// Bits of the mark that the loaded rules use.
    pub(super) used_mask: u32,
    /// As many bits as the program changed, none of them in use; null when all are.
    pub(super) free_mask: Option<u32>,
}

/// What it is a case of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The program changed bits of the mark that a later rule drops by.
    MarkSetByQueue,
}

/// Family of a hook of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum IpFamily {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

/// The packet's mark on its way, host byte order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MarkHistory {
    /// When it was queued.
    pub(super) queued: u32,
    /// When it came back.
    pub(super) reinjected: u32,
    /// When it was dropped.
    pub(super) at_drop: u32,
    /// Bits that the program changed.
    pub(super) changed: u32,
}

/// A queue program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Holder {
    /// Process id in the initial pid namespace.
    pub(super) pid: u32,
    /// Its name.
    pub(super) comm: String,
    /// How it is known.
    pub(super) from: Informant,
}

/// How a program is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum Informant {
    /// Seen giving the verdict.
    Kernel,
}

/// A rule that drops by a mark.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct MarkedRule {
    #[serde(flatten)]
    pub(super) rule: RuleFacts,
    /// Value in the test of the mark that decided, in the rule or on its path.
    pub(super) value: Option<u32>,
    /// Mask in that test.
    pub(super) mask: Option<u32>,
    /// Rules that jump to it, the first one first.
    pub(super) path: Vec<String>,
}
