//! What is said of a case: when it is seen first, when there is more of it, when it is known what became of it.

use serde::Serialize;
use serde_json::Value;

use super::{anomaly::AnomalyObject, drop::DropObject};
use crate::{
    correlate::{
        case::{Repeat, Report},
        follow::Update,
    },
    model::{
        anchor::Anchor,
        explanation::{Fix, Line},
    },
    output::{
        Names,
        clock::{Clock, Time},
    },
};

/// With --explain, a case that is seen for the first time.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VerdictLine<'a> {
    /// When the first drop or anomaly of the case happened.
    time: Time,
    /// Number of the case, from 1.
    #[cfg_attr(test, schemars(range(min = 1)))]
    case: u32,
    /// Stem of the cause; null when none claims the drop.
    #[cfg_attr(test, schemars(regex(pattern = "^[a-z_]+$")))]
    cause: Option<&'a str>,
    /// A fragment that reads well after a count.
    title: &'a str,
    /// A sentence or two about this instance.
    summary: &'a str,
    /// The first drop of the case; null when the case is about an anomaly.
    drop: Option<DropObject<'a>>,
    /// The first anomaly of the case; null when the case is about a drop.
    anomaly: Option<AnomalyObject<'a>>,
    /// Structured facts; which ones depends on the cause.
    #[cfg_attr(test, schemars(with = "serde_json::Map<String, Value>"))]
    facts: &'a Value,
    /// Lines of proof.
    evidence: &'a [Line],
    /// The first choice first.
    fixes: &'a [Fix],
    /// What could not be read, and why.
    unknown: &'a [String],
    /// Causes that this run cannot judge, and why, as `cause: why`; empty if there is a cause.
    blind: &'a [String],
}

/// With --explain, more drops of a case, with growing pauses (1 s to 60 s) and at the end.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RepeatLine<'a> {
    /// When it was counted.
    pub(super) time: Time,
    #[serde(flatten)]
    pub(super) repeat: &'a Repeat,
}

/// With --explain, what became of the first connection of a case that lost a packet.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UpdateLine<'a> {
    /// When it was learnt.
    pub(super) time: Time,
    #[serde(flatten)]
    pub(super) update: &'a Update,
}

impl<'a> VerdictLine<'a> {
    /// Of a report; the clock gives its time, the names those of namespaces.
    pub(super) fn new(report: &'a Report, clock: Clock, names: &'a Names) -> Self {
        let (drop, anomaly) = match &report.anchor {
            Anchor::Drop(drop) => (Some(DropObject::new(drop, clock, names)), None),
            Anchor::IpvsReply(reply) => (None, Some(AnomalyObject::new(reply, clock, names))),
        };
        let e = &report.explanation;
        Self {
            time: clock.rfc3339(report.anchor.time_ns()),
            case: report.case,
            cause: report.cause,
            title: &e.title,
            summary: &e.summary,
            drop,
            anomaly,
            facts: &e.facts,
            evidence: &e.evidence,
            fixes: &e.fixes,
            unknown: &e.unknown,
            blind: &report.blind,
        }
    }
}
