//! The queues of NFQUEUE.

use serde::{Deserialize, Serialize};

use super::Process;

/// Queues that programs listen on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Queues {
    /// By number.
    pub queues: Vec<Queue>,
}

/// A queue (`/proc/net/netfilter/nfnetlink_queue`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Number.
    pub number: u16,
    /// Netlink port of the program that listens.
    pub port: u32,
    /// That program, where the port's socket could be found.
    pub holder: Option<Process>,
    /// Packets that wait.
    pub waiting: u32,
    /// Packets that found it full.
    pub dropped: u64,
    /// Packets that the program's socket had no room for.
    pub user_dropped: u64,
}
