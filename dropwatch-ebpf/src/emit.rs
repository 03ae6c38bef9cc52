//! Puts records into the ring buffer, without a copy.

use aya_ebpf::maps::ring_buf::RingBufEntry;
use dropwatch_common::record::{
    ct_insert::CtInsert, rp_filter::RpFilter, skb_drop::SkbDrop, sysctl_write::SysctlWrite,
};

use crate::maps::EVENTS;

/// A record that may stand in the ring buffer: one section or several behind each other.
///
/// # Safety
///
/// Any bytes, zeroes included, must be a valid value, and there must be no implicit padding.
pub unsafe trait Record: 'static {}

/// A record with evidence behind it.
#[repr(C)]
pub struct Joined<A, B> {
    /// What the entry is about.
    pub anchor: A,
    /// What was joined to it.
    pub evidence: B,
}

// SAFETY: integers only; sizes and alignments are asserted where the types are defined.
unsafe impl Record for SkbDrop {}
// SAFETY: as above.
unsafe impl Record for SysctlWrite {}
// SAFETY: as above; no gap between the two, as both sizes are divisible by eight.
unsafe impl Record for Joined<SkbDrop, RpFilter> {}
// SAFETY: as above.
unsafe impl Record for Joined<SkbDrop, CtInsert> {}

/// A reserved, zeroed place in the ring buffer.
pub struct Place<T: Record>(RingBufEntry<T>);

/// Reserves room for a record; `None` when the ring buffer is full.
#[inline(always)]
pub fn reserve<T: Record>() -> Option<Place<T>> {
    let mut entry = EVENTS.reserve::<T>(0)?;
    // SAFETY: the reserved memory has the size of a `T`, for which zeroes are a valid value.
    unsafe { entry.as_mut_ptr().write_bytes(0, 1) };
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
