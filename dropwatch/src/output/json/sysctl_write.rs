//! A write to a watched sysctl.

use serde::Serialize;

use super::netns::Netns;
use crate::{
    model::{anchor::Task, evidence::SysctlWrite},
    output::{
        Names,
        clock::{Clock, Time},
    },
};

/// A process wrote a watched sysctl; the value may be the old one.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SysctlWriteLine<'a> {
    /// When it was written.
    time: Time,
    /// Namespace whose sysctl it is.
    netns: Netns<'a>,
    /// Sysctl in dot notation: `net.ipv4.conf.eth0.rp_filter`.
    key: &'a str,
    /// Value before, at most 15 bytes.
    old: &'a str,
    /// Value written, at most 15 bytes.
    new: &'a str,
    /// Who wrote it.
    process: &'a Task,
}

impl<'a> SysctlWriteLine<'a> {
    /// Of a write; the clock gives its time, the names that of its namespace.
    pub(super) fn new(write: &'a SysctlWrite, clock: Clock, names: &'a Names) -> Self {
        Self {
            time: clock.rfc3339(write.time_ns),
            netns: Netns::new(write.netns, names),
            key: &write.key,
            old: &write.old,
            new: &write.new,
            process: &write.process,
        }
    }
}
