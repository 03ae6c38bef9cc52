//! Evidence from hooks other than the drop anchor.

use serde::{Deserialize, Serialize};

use super::{anchor::Task, hook::Hook, tuple::Tuple};

/// What the kernel showed about a refused source address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SourceCheck {
    /// Whether `ip_handle_martian_source` was called for the packet.
    pub martian_handler: bool,
    /// What `ip_route_input_noref` returned, decoded; only seen on kernels before 5.18.
    pub returned: Option<Returned>,
    /// `rp_filter` settings, as the kernel had them at the drop.
    pub mode: Option<Mode>,
    /// The last step of the reverse look-up that the kernel made.
    pub lookup: Option<Lookup>,
}

/// A decoded refusal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Returned {
    /// As it is: minus an errno.
    pub value: i32,
    /// Which check refused.
    pub verdict: Refused,
}

/// Which check of the source refused (net/ipv4/route.c, net/ipv4/fib_frontend.c, v5.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// The reverse-path filter: -EXDEV.
    ReversePath,
    /// The source is an address of this host or no unicast address: -EINVAL.
    LocalOrInvalid,
    /// Another value.
    Unrecognised,
}

/// `rp_filter` settings, as the kernel had them at the drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Mode {
    /// Value of `conf/all`.
    pub all: i32,
    /// The device's own value.
    pub device: i32,
    /// Whether the device had an IPv4 address.
    pub has_address: bool,
}

impl Mode {
    /// The value in effect: `IN_DEV_RPFILTER` is the larger one (include/linux/inetdevice.h).
    #[must_use]
    pub fn effective(&self) -> i32 {
        self.all.max(self.device)
    }
}

/// The last step of a route look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Lookup {
    /// Routing table.
    pub table: u32,
    /// Index of the device chosen; 0 = none.
    pub oif: u32,
    /// 0 or minus an errno.
    pub error: i32,
}

/// The conntrack entry that hung on the packet; one that is not confirmed was not in the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Insertion {
    /// What the packet is to the connection.
    pub state: CtState,
    // Named in `dropwatch_common::record::ct_insert::status`.
    /// `IPS_*` bits of the entry; 8 = confirmed.
    pub status: u32,
    /// Conntrack zone.
    pub zone: u16,
    /// The connection before translation.
    pub original: Tuple,
    /// The answers that the entry would have matched: the translated tuple turned round.
    pub reply: Tuple,
}

/// What a packet is to its connection: `enum ip_conntrack_info`
/// (include/uapi/linux/netfilter/nf_conntrack_common.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum CtState {
    /// The first one.
    New,
    /// One of a connection that was seen in both directions.
    Established,
    /// The first one of a connection that another one expects, or an ICMP error about one.
    Related,
    /// A value that this version does not know.
    Other,
}

/// The entry that was in the way when the packet's own one was to be inserted: seen by the kernel's own clash
/// path, at that moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Clash {
    /// `IPS_*` bits of the entry.
    pub status: u32,
    /// Whether the tuple in the way is that of its replies.
    pub reply_side: bool,
    /// Its original direction.
    pub original: Tuple,
    /// Its reply direction.
    pub reply: Tuple,
    /// How much of its time-out was left at that moment, in milliseconds; `None` where it was not read.
    #[serde(default)]
    pub timeout_ms: Option<u64>,
    /// Its TCP state at that moment, as `conntrack -L` prints it; `None` where it has none or it was not read.
    #[serde(default)]
    pub tcp_state: Option<String>,
}

/// A packet's way through a queue program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct QueueTrip {
    /// Hook that it was queued at; `None` for one that this version does not know.
    pub hook: Option<Hook>,
    /// IP version of that hook: 4, 6, or 0 for others.
    #[cfg_attr(test, schemars(extend("enum" = [4, 6, 0])))]
    pub l3: u8,
    /// What was seen when it was queued; `None` when that was not seen: before the start, or forgotten for want of room.
    pub queued: Option<Queued>,
    /// What was seen when it came back; `None` when it did not.
    pub back: Option<Reinjected>,
}

/// A packet when it was queued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Queued {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Queue number.
    pub queue: u16,
    /// Packet mark then, host byte order.
    pub mark: u32,
}

/// A packet when it came back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Reinjected {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Packet mark, the verdict applied, host byte order.
    pub mark: u32,
    /// `NF_*` (include/uapi/linux/netfilter.h): 0 DROP, 1 ACCEPT, 3 QUEUE, 4 REPEAT, 5 STOP.
    pub verdict: u32,
    /// Who gave the verdict.
    pub process: Task,
}

impl Reinjected {
    /// The verdict without what rides in its upper bits (`NF_VERDICT_MASK`, include/uapi/linux/netfilter.h).
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.verdict & 0xff
    }

    /// The verdict's name.
    #[must_use]
    pub fn name(&self) -> String {
        const NAMES: [&str; 6] = ["DROP", "ACCEPT", "STOLEN", "QUEUE", "REPEAT", "STOP"];
        let kind = self.kind();
        let name = usize::try_from(kind).ok().and_then(|kind| NAMES.get(kind));
        name.map_or_else(|| kind.to_string(), |name| (*name).to_owned())
    }

    /// Whether the program itself wanted the packet dropped: `NF_DROP`.
    #[must_use]
    pub fn is_drop(&self) -> bool {
        self.kind() == 0
    }
}

/// A process wrote a watched sysctl.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SysctlWrite {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Network namespace whose sysctl it is; 0 = unknown.
    pub netns: u32,
    /// Key in dot notation: `net.ipv4.conf.eth0.rp_filter`.
    pub key: String,
    /// Value before.
    pub old: String,
    /// Value written.
    pub new: String,
    /// Who did it.
    pub process: Task,
}
