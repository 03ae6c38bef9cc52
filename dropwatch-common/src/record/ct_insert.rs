//! The conntrack entry that hung on a dropped packet; of a new connection often one that was never inserted.

use super::Section;
use crate::header::{SectionHeader, kind};

/// What hung on the packet when it was freed (include/net/netfilter/nf_conntrack.h, 5.10 to 7.2).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtInsert {
    /// Kind [`kind::CT_INSERT`].
    pub header: SectionHeader,
    /// `IPS_*` bits of the entry (include/uapi/linux/netfilter/nf_conntrack_common.h).
    pub status: u32,
    /// Conntrack zone.
    pub zone: u16,
    /// `enum ip_conntrack_info`: what the packet is to the connection (same file).
    pub info: u16,
    /// `struct nf_conntrack_tuple` of the original direction: see [`mod@tuple`].
    pub original: [u8; tuple::SIZE],
    /// The same of the reply direction.
    pub reply: [u8; tuple::SIZE],
}

impl Section for CtInsert {
    const KIND: u16 = kind::CT_INSERT;
    const VERSION: u16 = 2;
}

/// Places in `struct nf_conntrack_tuple` (include/net/netfilter/nf_conntrack_tuple.h): the same from 5.10
/// to 7.2. Addresses and ports are in network byte order.
pub mod tuple {
    /// Its size.
    pub const SIZE: usize = 40;
    /// Source address, 16 bytes, IPv4 in the first four.
    pub const SRC: usize = 0;
    /// Source port or ICMP identifier, 2 bytes.
    pub const SRC_PORT: usize = 16;
    /// Address family, 2 bytes, host byte order.
    pub const FAMILY: usize = 18;
    /// Destination address.
    pub const DST: usize = 20;
    /// Destination port; ICMP type and code.
    pub const DST_PORT: usize = 36;
    /// IP protocol.
    pub const PROTO: usize = 38;
    /// Distance from one direction's `struct nf_conntrack_tuple_hash` to the next.
    pub const STRIDE: u32 = 56;
}

/// Bits of [`CtInsert::status`].
pub mod status {
    /// Traffic was seen both ways.
    pub const SEEN_REPLY: u32 = 1 << 1;
    /// In the table.
    pub const CONFIRMED: u32 = 1 << 3;
    /// The source is translated.
    pub const SRC_NAT: u32 = 1 << 4;
    /// The destination is translated.
    pub const DST_NAT: u32 = 1 << 5;
    /// Source translation was decided: the packet had passed the last hook that rules drop in.
    pub const SRC_NAT_DONE: u32 = 1 << 7;
    /// Traffic was seen both ways, for long enough.
    pub const ASSURED: u32 = 1 << 2;
}

const _: () = assert!(size_of::<CtInsert>() == 96);
