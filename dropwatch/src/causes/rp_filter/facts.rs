//! The facts as data (docs/events.md).

use serde::Serialize;

use super::{
    case::{Effective, Kind, Way},
    reverse::{Origin, ReverseRoute},
};
use crate::facts::{FileLine, Process, SetBy};

/// Facts of cause `rp_filter`.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "RpFilterFacts"))]
pub(in crate::causes) struct Facts<'a> {
    /// Which rule of the filter refused.
    pub(super) kind: Kind,
    /// Where the packet was going; null where that is not known.
    pub(super) path: Option<Way>,
    /// Whether it came from outside although its route leads inside: forged, or on an asymmetric path.
    pub(super) spoof_suspected: bool,
    /// What speaks for a forged source or against it; asked when it is suspected.
    pub(super) origin: &'a Origin,
    /// VRF in whose table the route was looked up.
    pub(super) vrf: Option<&'a str>,
    /// null when the values at the drop are not known.
    pub(super) effective: Option<&'a Effective>,
    /// The device that the packet came in by.
    pub(super) device: Device<'a>,
    /// The other end of the device, if it has one.
    pub(super) peer: Option<&'a PeerEnd>,
    /// The route back to the source; null where there is none, or it is not known.
    pub(super) reverse_route: Option<&'a ReverseRoute>,
    /// The sysctl.d lines that set the values in effect.
    pub(super) set_by: &'a [&'a SetBy],
    /// The udev rule that applies sysctl.d to new devices.
    pub(super) udev: Option<&'a FileLine>,
    /// The last write that was seen before the drop.
    pub(super) written_by: Option<&'a Writer>,
}

/// The device that the packet came in by.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::causes) struct Device<'a> {
    /// Name at the drop.
    pub(super) name: &'a str,
    /// Device index in its namespace.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub(super) ifindex: u32,
    /// `veth`, `bridge`, …; null for hardware.
    pub(super) kind: Option<&'a str>,
    /// Whether it had an IPv4 address at the drop.
    pub(super) has_ipv4: Option<bool>,
    /// Addresses with prefix length; null if they could not be read.
    #[cfg_attr(test, schemars(inner(regex(pattern = "^[0-9.]+/[0-9]+$"))))]
    pub(super) ipv4: Option<&'a [String]>,
}

/// The other end of the device.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct PeerEnd {
    /// Its name, if it could be asked.
    pub(super) name: Option<String>,
    /// Device index in its own namespace.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub(super) ifindex: u32,
    /// The namespace that it is in.
    pub(super) netns: PeerNetns,
    /// Some of the processes there, lowest pid first.
    pub(super) processes: Vec<Process>,
    /// Name of the Kubernetes pod.
    pub(super) pod: Option<String>,
}

/// The namespace of the other end.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct PeerNetns {
    /// Inode number; null = unknown.
    pub(super) inum: Option<u32>,
    /// If it has one and it could be asked.
    pub(super) name: Option<String>,
}

/// A process that wrote the value.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Writer {
    /// Process id in the initial pid namespace.
    pub(super) pid: u32,
    /// Its name.
    pub(super) comm: String,
    /// Sysctl in dot notation: `net.ipv4.conf.eth0.rp_filter`.
    pub(super) key: String,
    /// Value before.
    pub(super) old: String,
    /// Value written.
    pub(super) new: String,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub(super) time_ns: u64,
    /// How long before the drop, in milliseconds.
    pub(super) before_ms: u64,
}
