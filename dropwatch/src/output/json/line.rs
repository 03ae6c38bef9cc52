//! What a line can be.

use serde::Serialize;

use super::{
    anomaly::AnomalyObject,
    drop::DropObject,
    start::{HookLine, StartLine},
    summary::SummaryLine,
    sysctl_write::SysctlWriteLine,
    verdict::{RepeatLine, UpdateLine, VerdictLine},
};
use crate::doctor;

/// Output of `dropwatch -o json`: one object per line, explained in docs/events.md. Fields that are not described here may
/// appear at any time. null means unknown or not applicable. Numbers are in host byte order.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one exists at a time")]
pub enum Line<'a> {
    /// Once, after everything is attached.
    Start(StartLine<'a>),
    /// One dropped packet, without --explain: the drop object, inlined.
    Drop(DropObject<'a>),
    /// An anomaly, without --explain: the anomaly object, inlined.
    Anomaly(AnomalyObject<'a>),
    /// With --explain, a case that is seen for the first time.
    Verdict(VerdictLine<'a>),
    /// With --explain, more drops of a case, with growing pauses (1 s to 60 s) and at the end.
    Repeat(RepeatLine<'a>),
    /// With --explain, what became of the first connection of a case that lost a packet.
    Update(UpdateLine<'a>),
    /// A process wrote a watched sysctl; the value may be the old one.
    SysctlWrite(SysctlWriteLine<'a>),
    /// A probe was attached after the start, because its module was loaded, or could not be.
    Hook(HookLine<'a>),
    /// Once, at the end.
    Summary(SummaryLine<'a>),
    /// The only line of `dropwatch doctor -o json`.
    Doctor(&'a doctor::Report),
}
