//! Puts records into the ring buffer, without a copy.

use aya_ebpf::maps::ring_buf::RingBufEntry;
use dropwatch_common::record::{
    ct_clash::CtClash, ct_insert::CtInsert, ipvs::Ipvs, nfqueue::Nfqueue, rp_filter::RpFilter,
    skb_drop::SkbDrop, stack::Stack, sysctl_write::SysctlWrite,
};

use crate::maps::EVENTS;

/// A record that may stand in the ring buffer: one section or several behind each other.
///
/// # Safety
///
/// Any bytes, zeroes included, must be a valid value, there must be no implicit padding, and the size must be
/// divisible by eight.
pub unsafe trait Record: 'static {}

/// A drop with all that can be known about it. Sections that have nothing to say are left empty.
#[repr(C)]
pub struct WithEvidence {
    /// What the entry is about.
    pub anchor: SkbDrop,
    /// The check that refused its source.
    pub rp_filter: RpFilter,
    /// The packet's conntrack entry.
    pub ct_insert: CtInsert,
    /// The entry that was in its way.
    pub ct_clash: CtClash,
    /// Its way through a queue program.
    pub nfqueue: Nfqueue,
    /// The call chain.
    pub stack: Stack,
}

// SAFETY: integers only; sizes and alignments are asserted where the types are defined.
unsafe impl Record for SkbDrop {}
// SAFETY: as above.
unsafe impl Record for SysctlWrite {}
// SAFETY: as above; no gaps between the sections, as all their sizes are divisible by eight.
unsafe impl Record for WithEvidence {}
// SAFETY: as above.
unsafe impl Record for Ipvs {}

/// A reserved, zeroed place in the ring buffer.
pub struct Place<T: Record>(RingBufEntry<T>);

/// Reserves room for a record; `None` when the ring buffer is full.
#[inline(always)]
pub fn reserve<T: Record>() -> Option<Place<T>> {
    let mut entry = EVENTS.reserve::<T>(0)?;
    let words = entry.as_mut_ptr().cast::<u64>();
    for at in 0..size_of::<T>() / 8 {
        // SAFETY: the reserved memory has the size of a `T`, is aligned to eight bytes, and zeroes are a valid
        // value. Volatile, so that it does not become a call that writes byte by byte.
        unsafe { words.add(at).write_volatile(0) };
    }
    Some(Place(entry))
}

impl<T: Record> Place<T> {
    /// The record, for writing.
    #[inline(always)]
    pub fn record(&mut self) -> &mut T {
        // SAFETY: zeroed by `reserve`, and exclusively ours until it is submitted.
        unsafe { &mut *self.0.as_mut_ptr() }
    }

    /// Hands it to the reader.
    #[inline(always)]
    pub fn submit(self) {
        self.0.submit(0);
    }
}
