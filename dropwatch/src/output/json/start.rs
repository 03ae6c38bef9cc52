//! The first line of a session, and what comes of a probe later.

use serde::Serialize;

use super::SCHEMA;
use crate::{
    model::coverage::ProbeStatus,
    output::{
        Start,
        clock::{Clock, Time},
    },
};

/// Once, after everything is attached.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StartLine<'a> {
    /// When everything was attached.
    time: Time,
    /// Version of the schema.
    #[cfg_attr(test, schemars(extend("const" = SCHEMA)))]
    schema: u32,
    /// Version of dropwatch.
    version: &'static str,
    /// Kernel release.
    kernel: &'a str,
    /// Inode number of the tracer's own network namespace.
    netns: u32,
    /// What became of the probes.
    hooks: &'a [ProbeStatus],
    /// What this run can judge.
    causes: Vec<Judged<'a>>,
}

/// Whether this run can judge a cause.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Judged<'a> {
    /// Stem of the cause.
    cause: &'a str,
    /// Whether it can.
    judged: bool,
    /// Why it cannot be judged.
    why: Option<&'a str>,
}

/// A probe was attached after the start, because its module was loaded, or could not be.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HookLine<'a> {
    /// When it was, or could not be.
    pub(super) time: Time,
    #[serde(flatten)]
    pub(super) status: &'a ProbeStatus,
}

impl<'a> StartLine<'a> {
    /// Of a session's start.
    pub(super) fn new(start: &'a Start, clock: Clock) -> Self {
        Self {
            time: clock.rfc3339(start.time_ns),
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            kernel: &start.kernel,
            netns: start.netns,
            hooks: &start.coverage.probes,
            causes: start
                .causes
                .iter()
                .map(|(cause, why)| Judged {
                    cause,
                    judged: why.is_none(),
                    why: why.as_deref(),
                })
                .collect(),
        }
    }
}
