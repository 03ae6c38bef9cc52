//! A dropped packet.

use serde::Serialize;

use super::netns::Netns;
use crate::{
    model::{
        anchor::{Dev, Drop, Location, Reason, Task},
        evidence::{Clash, Insertion, QueueTrip, SourceCheck},
        packet::Packet,
    },
    output::{
        Names,
        clock::{Clock, Time},
    },
};

/// A dropped packet.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DropObject<'a> {
    /// When it was dropped.
    time: Time,
    /// CPU.
    cpu: u32,
    /// Namespace that it was dropped in.
    netns: Netns<'a>,
    /// Cookie of the namespace, which no other gets (5.12 and later); null = unknown.
    netns_cookie: Option<u64>,
    /// Device at the drop.
    dev: Option<&'a Dev>,
    /// Index of the device that it came in by; 0 = made on this machine.
    iif: u32,
    /// Why, as the kernel calls it.
    reason: &'a Reason,
    /// Where it was freed.
    location: &'a Location,
    /// Packet mark, host byte order.
    mark: u32,
    /// Length in bytes at the drop.
    len: u32,
    /// EtherType, host byte order: 2048 = IPv4.
    ethertype: u16,
    /// null when no IP header could be read.
    packet: Option<&'a Packet>,
    /// Whoever was on the CPU: for received packets usually a bystander.
    task: &'a Task,
    /// What the kernel showed about a refused source address; null if it showed nothing.
    source_check: Option<&'a SourceCheck>,
    /// The packet's conntrack entry, of drops that netfilter made or may have made.
    insertion: Option<&'a Insertion>,
    /// The entry that was in the way when the packet's own one was to be inserted, if the kernel showed it.
    clash: Option<&'a Clash>,
    /// The packet's way through a queue program, if the kernel showed it.
    queue: Option<&'a QueueTrip>,
    /// Functions down to the one that freed it, innermost first; empty where they were not asked for.
    stack: &'a [String],
}

impl<'a> DropObject<'a> {
    /// Of a drop; the clock gives its time, the names that of its namespace.
    pub(super) fn new(drop: &'a Drop, clock: Clock, names: &'a Names) -> Self {
        Self {
            time: clock.rfc3339(drop.time_ns),
            cpu: drop.cpu,
            netns: Netns::new(drop.netns, names),
            netns_cookie: (drop.netns_cookie != 0).then_some(drop.netns_cookie),
            dev: drop.dev.as_ref(),
            iif: drop.iif,
            reason: &drop.reason,
            location: &drop.location,
            mark: drop.mark,
            len: drop.len,
            ethertype: drop.ethertype,
            packet: drop.packet.as_ref(),
            task: &drop.task,
            source_check: drop.source_check.as_ref(),
            insertion: drop.insertion.as_ref(),
            clash: drop.clash.as_ref(),
            queue: drop.queue.as_ref(),
            stack: &drop.stack,
        }
    }
}
