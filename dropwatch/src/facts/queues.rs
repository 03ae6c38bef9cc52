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
    /// How much of a packet the program is given: 0 nothing was agreed, and no packet is taken; 1 what is known of it; 2 the
    /// packet too (`enum nfqnl_config_mode`). `None` in older captures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_mode: Option<u8>,
    /// Packets that found it full.
    pub dropped: u64,
    /// Packets that the program's socket had no room for.
    pub user_dropped: u64,
}
