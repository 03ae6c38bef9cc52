//! Facts: what the live configuration says, read without changing anything.
//!
//! Causes ask for facts by [`FactKey`]; [`reader`] answers with a [`Fact`] from the packet's own network
//! namespace. Keys and answers are plain data: they go into captures, and a replay answers from there.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::model::{ipvs::Endpoint, tuple::Tuple};
pub use error::FactError;
use ipvs::IpvsState;
use queues::Queues;
use ruleset::Ruleset;

pub mod error;
pub mod ipvs;
pub mod queues;
pub mod reader;
pub mod ruleset;
pub mod sysctl_d;
pub mod sysctl_files;

/// A question about the configuration. `netns` is always the namespace's inode number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum FactKey {
    /// Who and what a network namespace is.
    Netns {
        /// The namespace.
        netns: u32,
    },
    /// The `rp_filter` settings of all devices.
    RpFilter {
        /// The namespace.
        netns: u32,
    },
    /// A device: kind, addresses, peer.
    Link {
        /// The namespace.
        netns: u32,
        /// Device index there.
        ifindex: u32,
    },
    /// The route that the namespace's tables give now.
    Route {
        /// The namespace.
        netns: u32,
        /// Destination looked up.
        to: Ipv4Addr,
        /// Source of the look-up, for source-based rules.
        from: Option<Ipv4Addr>,
        /// Packet mark of the look-up.
        mark: u32,
        /// Index of the device that the packet came in by; 0 = made here.
        #[serde(default, skip_serializing_if = "is_zero")]
        iif: u32,
        /// Index of the device that the route must leave by, or of its VRF; 0 = any.
        #[serde(default, skip_serializing_if = "is_zero")]
        oif: u32,
    },
    /// Whose an IPv4 address is, and what else decides whether the kernel takes it for one of its own.
    Owner {
        /// The namespace.
        netns: u32,
        /// The address.
        address: Ipv4Addr,
    },
    /// The neighbour entry of an IPv4 address on a device.
    Neighbour {
        /// The namespace.
        netns: u32,
        /// Device index there.
        ifindex: u32,
        /// The address.
        address: Ipv4Addr,
    },
    /// The IPv4 multicast groups that a device takes packets of.
    Groups {
        /// The namespace.
        netns: u32,
        /// Device index there.
        ifindex: u32,
    },
    /// Devices that IPv4 default routes leave by.
    DefaultRoutes {
        /// The namespace.
        netns: u32,
    },
    /// What the sysctl.d and udev files say about a device's `rp_filter`.
    SysctlFiles {
        /// Device name.
        device: String,
    },
    /// The conntrack entry that holds a tuple, in either direction.
    Conntrack {
        /// The namespace.
        netns: u32,
        /// The tuple.
        tuple: Tuple,
        /// Conntrack zone.
        zone: u16,
    },
    /// Counters and size of the conntrack table.
    ConntrackStats {
        /// The namespace.
        netns: u32,
    },
    /// IPVS: its sysctl, its services, one of its connections.
    Ipvs {
        /// The namespace.
        netns: u32,
        /// The connection's client.
        client: Endpoint,
        /// The connection's virtual service.
        service: Endpoint,
    },
    /// The queues that programs listen on (NFQUEUE).
    Queues {
        /// The namespace.
        netns: u32,
    },
    /// The netfilter rule set.
    Ruleset {
        /// The namespace.
        netns: u32,
    },
    /// Whether a later packet of a connection gets through; the answer comes seconds later.
    Followed {
        /// The namespace.
        netns: u32,
        /// The connection's original direction.
        tuple: Tuple,
        /// Conntrack zone.
        zone: u16,
        /// When its packet was lost: `CLOCK_MONOTONIC`, nanoseconds.
        from_ns: u64,
    },
}

impl FactKey {
    /// The namespace that it is about, if it is about one.
    #[must_use]
    pub fn netns(&self) -> Option<u32> {
        match self {
            Self::Netns { netns }
            | Self::RpFilter { netns }
            | Self::Link { netns, .. }
            | Self::Route { netns, .. }
            | Self::DefaultRoutes { netns }
            | Self::Owner { netns, .. }
            | Self::Neighbour { netns, .. }
            | Self::Groups { netns, .. }
            | Self::Conntrack { netns, .. }
            | Self::ConntrackStats { netns }
            | Self::Ipvs { netns, .. }
            | Self::Queues { netns }
            | Self::Ruleset { netns }
            | Self::Followed { netns, .. } => Some(*netns),
            Self::SysctlFiles { .. } => None,
        }
    }
}

/// What comes of a question; what is not known becomes [`Fact::Unknown`] for the judgement.
pub type Answer = Result<Fact, FactError>;

impl From<FactError> for Fact {
    fn from(error: FactError) -> Self {
        Self::Unknown {
            why: error.to_string(),
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a handful exist at a time")]
pub enum Fact {
    /// Answer to [`FactKey::Netns`].
    Netns(Netns),
    /// Answer to [`FactKey::RpFilter`].
    RpFilter(RpFilterSettings),
    /// Answer to [`FactKey::Link`].
    Link(Link),
    /// Answer to [`FactKey::Route`].
    Route(Route),
    /// Answer to [`FactKey::Owner`].
    Owner(Owner),
    /// Answer to [`FactKey::Neighbour`].
    Neighbour(Neighbour),
    /// Answer to [`FactKey::Groups`].
    Groups(Groups),
    /// Answer to [`FactKey::DefaultRoutes`].
    DefaultRoutes(DefaultRoutes),
    /// Answer to [`FactKey::SysctlFiles`].
    SysctlFiles(SysctlFiles),
    /// Answer to [`FactKey::Conntrack`].
    Conntrack(ConntrackEntry),
    /// Answer to [`FactKey::ConntrackStats`].
    ConntrackStats(ConntrackStats),
    /// Answer to [`FactKey::Followed`].
    Followed(Followed),
    /// Answer to [`FactKey::Ipvs`].
    Ipvs(IpvsState),
    /// Answer to [`FactKey::Queues`].
    Queues(Queues),
    /// Answer to [`FactKey::Ruleset`].
    Ruleset(Ruleset),
    /// It could not be read; why, in a few words.
    Unknown {
        /// The reason.
        why: String,
    },
}

/// A network namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Netns {
    /// Name under /run/netns (or a container runtime's folder), if it has one.
    pub name: Option<String>,
    /// Whether it is the tracer's own.
    pub own: bool,
    /// A path that opens it: `/run/netns/NAME` or `/proc/PID/ns/net`.
    pub path: Option<String>,
    /// Some of the processes in it, lowest pid first, at most [`Netns::MOST_PROCESSES`].
    pub processes: Vec<Process>,
    /// How many processes are in it.
    pub process_count: usize,
    /// Name of the Kubernetes pod, where the processes' cgroup and environment tell.
    pub pod: Option<String>,
}

impl Netns {
    /// Most processes listed.
    pub const MOST_PROCESSES: usize = 4;
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Process {
    /// Process id in the tracer's pid namespace.
    pub pid: u32,
    /// Name.
    pub comm: String,
}

/// The namespace's `net.ipv4.conf.*.rp_filter`, and what else there decides about received packets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RpFilterSettings {
    /// `all`.
    pub all: i32,
    /// `default`: what a new device starts with.
    pub default: i32,
    /// Devices by name, in name order, `lo` included.
    pub devices: Vec<(String, i32)>,
    /// Who has `src_valid_mark` on, `all` included; `None` in captures that do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_valid_mark: Option<Vec<String>>,
    /// Who has `accept_local` on, `all` included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_local: Option<Vec<String>>,
    /// Who has `forwarding` on, `all` included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<Vec<String>>,
}

impl RpFilterSettings {
    /// The device's own value.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<i32> {
        let found = self.devices.iter().find(|(device, _)| device == name);
        found.map(|(_, value)| *value)
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Whose an address is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Owner {
    /// The device of the namespace that has exactly this address; `None` when none has.
    pub device: Option<String>,
    /// Whether there are policy rules other than the kernel's own three.
    pub custom_rules: bool,
    /// Whether somebody added routes of type local, next to those that come with addresses.
    pub custom_local_routes: bool,
}

/// A neighbour entry, or that there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Whether its link-layer address is known.
    pub known: bool,
    /// Raw `NUD_*` state (include/uapi/linux/neighbour.h); `None` when there is no entry.
    pub state: Option<u16>,
}

/// Multicast groups of a device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Groups {
    /// Groups that somebody joined there.
    pub joined: Vec<Ipv4Addr>,
    /// Whether a multicast router takes all of them (`net.ipv4.conf.*.mc_forwarding`).
    pub routed: bool,
}

/// A device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Name.
    pub name: String,
    /// Index.
    pub ifindex: u32,
    /// `veth`, `dummy`, `bridge`, …; `None` for hardware.
    pub kind: Option<String>,
    /// IPv4 addresses with prefix length, as `10.0.0.1/24`.
    pub ipv4: Vec<String>,
    /// The other end of a veth (or the lower device of a macvlan and the like).
    pub peer: Option<Peer>,
    /// Name of the bridge, bond or VRF it belongs to.
    pub master: Option<String>,
    /// Index of the VRF it belongs to, or its own if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrf: Option<u32>,
    /// Devices of a VRF: name and index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lowers: Vec<(String, u32)>,
}

/// The other end of a device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peer {
    /// Index in its own namespace.
    pub ifindex: u32,
    /// Name there, if it could be asked.
    pub name: Option<String>,
    /// Its namespace's inode number, if it could be found.
    pub netns: Option<u32>,
    /// What is known of that namespace.
    pub owner: Option<Netns>,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// `unicast`, `local`, `broadcast`, `unreachable`, …; `none` when there is no route at all.
    pub kind: String,
    /// Device it leaves by.
    pub dev: Option<String>,
    /// Its index.
    pub oif: Option<u32>,
    /// Routing table.
    pub table: Option<u32>,
    /// Prefix of the matching entry: `10.0.0.0/24`, `0.0.0.0/0`.
    pub prefix: Option<String>,
    /// Gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Preferred source.
    pub source: Option<Ipv4Addr>,
    /// Devices of all ways, where there are several (ECMP).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ways: Vec<String>,
    /// Priority of the policy rule that refuses by itself, if it is known to be one and no route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<u32>,
}

/// Default routes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DefaultRoutes {
    /// Names of the devices that they leave by.
    pub devices: Vec<String>,
}

/// A conntrack entry, or that there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConntrackEntry {
    /// Whether an entry holds the tuple.
    pub found: bool,
    /// The entry's own original direction.
    pub original: Option<Tuple>,
    /// Its reply direction.
    pub reply: Option<Tuple>,
    /// Raw `IPS_*` bits (include/uapi/linux/netfilter/nf_conntrack_common.h).
    pub status: u32,
    /// Seconds until it expires.
    pub timeout_s: Option<u32>,
    /// TCP state, where it has one: `SYN_SENT`, `ESTABLISHED`, …
    pub tcp_state: Option<String>,
}

/// Counters of the conntrack table, summed over all CPUs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConntrackStats {
    /// Entries refused at insertion.
    pub insert_failed: u64,
    /// Packets dropped by conntrack, a full table included.
    pub drop: u64,
    /// Entries thrown out early because the table was full.
    pub early_drop: u64,
    /// Clashes that were settled without loss.
    pub clash_resolve: Option<u64>,
    /// Entries in the table.
    pub entries: Option<u64>,
    /// Room in the table (`net.netfilter.nf_conntrack_max`).
    pub max: Option<u64>,
    /// How long entries live without packets; `None` in captures from before it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<ConntrackTimeouts>,
}

/// How long conntrack keeps an entry without a packet, in seconds, as set in a namespace
/// (`net.netfilter.nf_conntrack_*_timeout*`, net/netfilter/nf_conntrack_standalone.c, 5.10 to 7.2). Rules may give
/// single connections others. `None` = could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConntrackTimeouts {
    /// UDP that was not answered.
    pub udp: Option<u32>,
    /// UDP seen both ways for a while.
    pub udp_stream: Option<u32>,
    /// ICMP.
    pub icmp: Option<u32>,
    /// TCP in `SYN_SENT`.
    pub tcp_syn_sent: Option<u32>,
    /// TCP in `SYN_RECV`.
    pub tcp_syn_recv: Option<u32>,
    /// TCP in `ESTABLISHED`.
    pub tcp_established: Option<u32>,
}

/// What became of a connection after one of its packets was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Followed {
    /// Whether conntrack has entered it since: a later packet got through.
    pub through: bool,
    /// From the loss until that was seen, or until the watching ended, in milliseconds.
    pub after_ms: u64,
    /// Conntrack was asked this often: that it happened up to so much earlier is possible.
    pub resolution_ms: u64,
    /// TCP state when it was seen.
    pub state: Option<String>,
    /// Whether an answer had come by then.
    pub answered: bool,
}

/// A line of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileLine {
    /// Path.
    pub file: String,
    /// Line number, from 1.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub line: u32,
    /// Text, trimmed.
    pub text: String,
}

/// A sysctl.d line that decides a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SetBy {
    /// Key in dot notation: `net.ipv4.conf.all.rp_filter`.
    pub key: String,
    /// Value it sets.
    pub value: String,
    /// Where.
    #[serde(flatten)]
    pub at: FileLine,
    /// How it comes to the key.
    pub via: SetVia,
}

/// How a line of a sysctl.d file comes to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum SetVia {
    /// It names it.
    Explicit,
    /// By a pattern.
    Glob,
    /// From `default`, when the device was made.
    Inherited,
}

/// What the files say about `rp_filter` of one device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SysctlFiles {
    /// The line that decides `all`.
    pub all: Option<SetBy>,
    /// The line that decides `default`.
    pub default: Option<SetBy>,
    /// The line that a new device of this name gets its value from, `via` tells how.
    pub device: Option<SetBy>,
    /// The udev rule that runs systemd-sysctl for new devices.
    pub udev: Option<FileLine>,
    /// Files that exist but could not be read, with the reason.
    pub unreadable: Vec<String>,
    /// What the files do not settle, because it is not known which program applied them.
    #[serde(default)]
    pub unknown: Vec<String>,
    /// A sysctl.d file that would turn the check off for this device and those of its kind.
    pub remedy: Option<Remedy>,
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// Path.
    pub path: String,
    /// Content.
    pub content: String,
    /// Command that applies the file to devices that exist already, where there is one.
    pub apply: Option<String>,
    /// What the file cannot settle.
    pub warnings: Vec<String>,
}
