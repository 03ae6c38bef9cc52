//! The conntrack entry that held the tuple which another packet's entry was to be inserted with.

use super::{Section, ct_insert::tuple};
use crate::header::{SectionHeader, kind};

/// What `nf_ct_resolve_clash` was called with for the dropped packet
/// (net/netfilter/nf_conntrack_core.c, 5.10 to 7.2): the winner, at the moment of the clash.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtClash {
    /// Kind [`kind::CT_CLASH`].
    pub header: SectionHeader,
    /// The winner's `IPS_*` bits: [`super::ct_insert::status`].
    pub status: u32,
    /// Which of the winner's tuples is in the way: 0 the original one, 1 that of the reply.
    pub direction: u32,
    /// The winner's original tuple: see [`mod@tuple`].
    pub original: [u8; tuple::SIZE],
    /// The winner's reply tuple.
    pub reply: [u8; tuple::SIZE],
}

impl Section for CtClash {
    const KIND: u16 = kind::CT_CLASH;
    const VERSION: u16 = 1;
}

const _: () = assert!(size_of::<CtClash>() == 96);
