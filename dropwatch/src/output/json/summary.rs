//! The last line of a session.

use serde::Serialize;

use crate::{
    correlate::{case::Tally, cases::Closed},
    model::counts::Counted,
    output::{
        Summary,
        clock::{Clock, Time},
    },
    stats::Ledger,
};

/// Once, at the end.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SummaryLine<'a> {
    /// The end.
    time: Time,
    /// How long the session took, in seconds; 0 in a replay of a capture that was cut short.
    #[cfg_attr(test, schemars(range(min = 0)))]
    seconds: f64,
    /// null in a replay of a capture that was cut short.
    ledger: Option<&'a Ledger>,
    /// All cases told of; empty without --explain.
    cases: &'a [Tally],
    /// Cases that were quiet for long or made room for others, and are not among `cases`.
    closed: Closed,
    /// The kernel's exact counts, the largest first; empty in a replay of a capture before version 3.
    drops: &'a [Counted],
}

impl<'a> SummaryLine<'a> {
    /// Of a session's end.
    pub(super) fn new(summary: &'a Summary, clock: Clock) -> Self {
        Self {
            time: clock.rfc3339(summary.time_ns),
            seconds: summary.seconds,
            ledger: summary.ledger.as_ref(),
            cases: &summary.cases,
            closed: summary.closed,
            drops: &summary.drops,
        }
    }
}
