//! Evidence from hooks other than the drop anchor.

use serde::{Deserialize, Serialize};

use super::{anchor::Task, tuple::Tuple};

/// What the kernel showed about a refused source address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceCheck {
    /// `ip_handle_martian_source` ran for this packet.
    pub martian_handler: bool,
    /// What `fib_validate_source` returned, decoded.
    pub returned: Option<Returned>,
    /// Settings of the device at the drop.
    pub mode: Option<Mode>,
    /// The reverse look-up that the kernel made.
    pub lookup: Option<Lookup>,
}

/// A decoded refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    /// Raw value.
    pub value: i32,
    /// Which check refused.
    pub verdict: Refused,
    /// Device index it would have been forwarded to; 0 = it was for this host.
    pub oif: u32,
}

/// Which check in `fib_validate_source` refused (net/ipv4/fib_frontend.c).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// The reverse-path filter: -EXDEV, or minus IP_RPFILTER.
    ReversePath,
    /// The source is an address of this host: minus IP_LOCAL_SOURCE.
    LocalSource,
    /// The source is no unicast address: minus IP_INVALID_SOURCE.
    InvalidSource,
    /// One of the two before: -EINVAL does not say which.
    LocalOrInvalid,
    /// A value that none of the known conventions has.
    Unrecognised,
}

/// `rp_filter` settings, as the kernel had them at the drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mode {
    /// `conf/all`.
    pub all: i32,
    /// The device's own.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// Routing table.
    pub table: u32,
    /// Device index chosen; 0 = none.
    pub oif: u32,
    /// 0 or negative errno.
    pub error: i32,
}

/// A conntrack entry that hung on the packet and was not in the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Insertion {
    /// `IPS_*` bits: [`dropwatch_common::record::ct_insert::status`].
    pub status: u32,
    /// Conntrack zone.
    pub zone: u16,
    /// The connection before translation.
    pub original: Tuple,
    /// The answers that the entry would have matched: the translated tuple turned round.
    pub reply: Tuple,
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
