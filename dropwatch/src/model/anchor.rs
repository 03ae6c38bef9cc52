//! What a verdict is about: a dropped packet, with the evidence that the kernel side joined to it, or an
//! anomaly.

use serde::{Deserialize, Serialize};

use super::{
    evidence::{Clash, Insertion, QueueTrip, SourceCheck},
    ipvs::IpvsReply,
    packet::Packet,
};

/// What a verdict is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Anchor {
    /// A dropped packet.
    Drop(Box<Drop>),
    /// A reply that leaves IPVS from where the client did not ask.
    IpvsReply(Box<IpvsReply>),
}

impl Anchor {
    /// When it happened: `CLOCK_MONOTONIC`, nanoseconds.
    #[must_use]
    pub fn time_ns(&self) -> u64 {
        match self {
            Self::Drop(drop) => drop.time_ns,
            Self::IpvsReply(reply) => reply.time_ns,
        }
    }

    /// Network namespace inode number; 0 = unknown.
    #[must_use]
    pub fn netns(&self) -> u32 {
        match self {
            Self::Drop(drop) => drop.netns,
            Self::IpvsReply(reply) => reply.netns,
        }
    }

    /// The cookie of that namespace; 0 = unknown.
    #[must_use]
    pub fn netns_cookie(&self) -> u64 {
        match self {
            Self::Drop(drop) => drop.netns_cookie,
            Self::IpvsReply(_) => 0,
        }
    }

    /// The dropped packet, if it is one.
    #[must_use]
    pub fn drop(&self) -> Option<&Drop> {
        match self {
            Self::Drop(drop) => Some(drop),
            Self::IpvsReply(_) => None,
        }
    }
}

/// A dropped packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drop {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// CPU.
    pub cpu: u32,
    /// Network namespace inode number; 0 = unknown.
    pub netns: u32,
    /// Cookie of that namespace, which no other ever gets (5.12 and later); 0 = unknown.
    #[serde(default)]
    pub netns_cookie: u64,
    /// Device at the drop.
    pub dev: Option<Dev>,
    /// Index of the device that it came in by; 0 = made on this machine.
    pub iif: u32,
    /// Drop reason.
    pub reason: Reason,
    /// Where it was freed.
    pub location: Location,
    /// Packet mark.
    pub mark: u32,
    /// Length in bytes of the buffer where it was dropped: headers may be taken off by then, or that of the frame be put before.
    pub len: u32,
    /// Length in bytes that the IP header gives, the same wherever it is dropped; `None` in captures from before it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_len: Option<u16>,
    /// EtherType.
    pub ethertype: u16,
    /// IP headers, if it has any.
    pub packet: Option<Packet>,
    /// The task that was running.
    pub task: Task,
    /// Evidence of the source-address check.
    pub source_check: Option<SourceCheck>,
    /// The packet's conntrack entry, of drops that netfilter made or may have made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub insertion: Option<Insertion>,
    /// The entry that was in the way of the packet's own one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clash: Option<Clash>,
    /// The packet's way through a queue program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueTrip>,
    /// The functions that called each other down to the one that freed it, innermost first; empty where it was
    /// not asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<String>,
}

impl Drop {
    /// Whether it is no packet of anyone's but the form in which the kernel answers a route query
    /// (`ip route get`, and our own questions): net/ipv4/route.c and net/ipv6/route.c, 5.10 to 7.2.
    #[must_use]
    pub fn is_route_query(&self) -> bool {
        let symbol = self.location.symbol.as_deref().unwrap_or_default();
        // A compiler may have cut it into parts (`.part.0`, `.cold`).
        let function = symbol.split('.').next().unwrap_or_default();
        matches!(function, "inet_rtm_getroute" | "inet6_rtm_getroute")
    }
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Dev {
    /// Name at the drop.
    pub name: String,
    /// Device index in its namespace.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub ifindex: u32,
}

/// A drop reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Reason {
    /// Name without `SKB_DROP_REASON_`; `None` where the kernel has no name for it.
    pub name: Option<String>,
    /// This kernel's number; 0 = none given.
    pub number: u32,
}

impl Reason {
    /// Whether the kernel says nothing with it.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.number == 0 || self.name.as_deref() == Some("NOT_SPECIFIED")
    }

    /// Name, or number where there is none.
    #[must_use]
    pub fn text(&self) -> String {
        match (&self.name, self.number) {
            (Some(name), _) => name.clone(),
            (None, 0) => "no reason given".into(),
            (None, number) => format!("reason {number}"),
        }
    }
}

/// A place in the kernel's code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Location {
    /// Function, where symbols could be read.
    pub symbol: Option<String>,
    /// Bytes from its start; 0 without one.
    pub offset: u64,
    /// Kernel address: above 2^53, so a reader of JSON needs 64-bit integers.
    pub address: u64,
}

impl Location {
    /// `function+0x1d`, or the address.
    #[must_use]
    pub fn text(&self) -> String {
        match &self.symbol {
            Some(symbol) => format!("{symbol}+{:#x}", self.offset),
            None => format!("{:#x}", self.address),
        }
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Task {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Name, at most 15 bytes.
    pub comm: String,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A drop of which nothing is known.
    #[must_use]
    pub fn drop() -> Drop {
        Drop {
            time_ns: 0,
            cpu: 0,
            netns: 0,
            netns_cookie: 0,
            dev: None,
            iif: 0,
            reason: Reason {
                name: None,
                number: 0,
            },
            location: Location {
                symbol: None,
                offset: 0,
                address: 0,
            },
            mark: 0,
            len: 0,
            ip_len: None,
            ethertype: 0,
            packet: None,
            task: Task {
                pid: 0,
                comm: String::new(),
            },
            source_check: None,
            insertion: None,
            clash: None,
            queue: None,
            stack: Vec::new(),
        }
    }
}
