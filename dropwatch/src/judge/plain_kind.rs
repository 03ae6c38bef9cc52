//! What drops are that no cause claims, where the kernel's reason does not tell.

use serde::Serialize;

/// `facts.kind` of a drop that no cause claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PlainKind {
    /// Conntrack refused it: after a translation of its destination its answers look like another connection's.
    DnatClash,
    /// Conntrack refused it: the same packet, or another first one of its connection, was entered before.
    Duplicate,
    /// Conntrack refused it: other connections hold every port that the NAT rule leaves.
    Exhausted,
    /// Conntrack refused it: another connection holds its translated port; whether by a race is not known.
    NatClash,
    /// It was dropped before conntrack had entered its connection; why is not known.
    NotInserted,
    /// The conntrack table was full.
    TableFull,
    /// The verdict of a queue program.
    QueueDrop,
    /// Nobody listens on the queue.
    QueueNoListener,
    /// The queue was full.
    QueueFull,
    /// The socket of the queue program was full.
    QueueSocketFull,
    /// The queue program set no copy mode.
    QueueNoCopyMode,
    /// It waited in a queue whose program went away.
    QueueGone,
    /// It waited in a queue when a device went down.
    QueueDeviceDown,
    /// IPVS has no usable real server for it.
    IpvsNoDestination,
}
