//! IPVS lost what a destination translation needs: a reply that leaves from the wrong port, or the reset it earns.

use super::{Section, ct_insert::tuple};
use crate::{
    flow::Flow,
    header::{SectionHeader, kind},
};

/// One packet of a connection whose conntrack entry IPVS detached
/// (net/netfilter/ipvs/ip_vs_core.c and ip_vs_xmit.c, 5.10 to 7.2).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipvs {
    /// Kind [`kind::IPVS`].
    pub header: SectionHeader,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Network namespace inode number; 0 = unknown.
    pub netns: u32,
    /// CPU.
    pub cpu: u32,
    /// What was seen: see [`event`].
    pub event: u32,
    /// `IP_VS_CONN_F_*` (include/uapi/linux/ip_vs.h).
    pub flags: u32,
    /// Mark of a fwmark service; 0 = none.
    pub fwmark: u32,
    /// `enum nf_inet_hooks` that the packet was seen at.
    pub hook: u32,
    /// Address family of the client's side, `AF_INET` or `AF_INET6`.
    pub af: u16,
    /// IP protocol.
    pub protocol: u16,
    /// Client's port, host byte order.
    pub cport: u16,
    /// Service's port, host byte order.
    pub vport: u16,
    /// Real server's port, host byte order.
    pub dport: u16,
    /// Zero.
    pub pad: [u16; 3],
    /// Client's address; IPv4 in the first four bytes; network byte order.
    pub caddr: [u8; 16],
    /// Service's address, like `caddr`.
    pub vaddr: [u8; 16],
    /// Real server's address, like `caddr`.
    pub daddr: [u8; 16],
    /// What the client had sent, before translation: original tuple of the entry that was detached, see
    /// [`mod@tuple`].
    pub asked: [u8; tuple::SIZE],
    /// `IPS_*` bits of that entry.
    pub status: u32,
    /// Packet mark.
    pub mark: u32,
    /// The packet: a reply as it came from the real server, before IPVS wrote the service's address into it.
    pub flow: Flow,
}

impl Section for Ipvs {
    const KIND: u16 = kind::IPVS;
    const VERSION: u16 = 1;
}

/// Values of [`Ipvs::event`].
pub mod event {
    /// A reply is given the service's address, which is not what the client asked for.
    pub const REPLY: u32 = 1;
    /// The client resets the connection.
    pub const RESET: u32 = 2;
}

/// Bits of [`Ipvs::flags`] (include/uapi/linux/ip_vs.h).
pub mod flag {
    /// The forwarding method; 0 is masquerading.
    pub const METHOD: u32 = 7;
    /// The connection's conntrack entries are kept.
    pub const NFCT: u32 = 1 << 16;
}

const _: () = assert!(size_of::<Ipvs>() == 208 && align_of::<Ipvs>() == 8);
