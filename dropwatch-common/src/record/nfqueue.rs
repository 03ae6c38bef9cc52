//! A packet's way through a queue program (NFQUEUE), joined to its drop.

use super::Section;
use crate::header::{SectionHeader, kind};

/// What the kernel knew when it queued the packet and when it took it back
/// (net/netfilter/nf_queue.c and nfnetlink_queue.c, 5.10 to 7.2).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nfqueue {
    /// Kind [`kind::NFQUEUE`].
    pub header: SectionHeader,
    /// `CLOCK_MONOTONIC` at queueing, nanoseconds; with [`ran::QUEUED`].
    pub queued_ns: u64,
    /// The same at re-injection; with [`ran::REINJECTED`].
    pub reinjected_ns: u64,
    /// Which groups of fields were written: see [`ran`].
    pub ran: u32,
    /// Queue number; with [`ran::QUEUED`].
    pub queue: u32,
    /// Packet mark at queueing, host byte order; with [`ran::QUEUED`].
    pub mark_before: u32,
    /// Packet mark at re-injection, the program's verdict applied; with [`ran::REINJECTED`].
    pub mark_after: u32,
    /// Verdict, `NF_*` (include/uapi/linux/netfilter.h); with [`ran::REINJECTED`].
    pub verdict: u32,
    /// `enum nf_inet_hooks` that the packet was queued at.
    pub hook: u32,
    /// `NFPROTO_*` of that hook.
    pub pf: u32,
    /// Process id (init pid namespace) that gave the verdict; with [`ran::REINJECTED`].
    pub tgid: u32,
    /// Its name, NUL padded.
    pub comm: [u8; 16],
}

impl Section for Nfqueue {
    const KIND: u16 = kind::NFQUEUE;
    const VERSION: u16 = 1;
}

/// Groups of [`Nfqueue`] fields, "written" as opposed to "zero".
pub mod ran {
    /// `nf_queue` was called for this packet (or for the one that it is a segment of).
    pub const QUEUED: u32 = 1;
    /// A verdict came for it.
    pub const REINJECTED: u32 = 2;
}

const _: () = assert!(size_of::<Nfqueue>() == 72 && align_of::<Nfqueue>() == 8);
