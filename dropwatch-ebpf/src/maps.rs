//! Maps and globals shared with the loader.

use core::{arch::asm, ptr};

use aya_ebpf::{
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf},
};
use dropwatch_common::{
    config::{ABSENT, DEV_WORDS, SYSCTLS as SYSCTL_NAMES, live, word},
    counters,
    fields::FIELD_COUNT,
    flow::Flow,
    flows, hot,
    record::ct_insert::tuple,
};

use crate::kread::Words;

/// What a hook keeps about a packet and the packet's drop lie in one call chain; more time between them
/// means that the skb's address was used again. Generous, since a virtual CPU may be stopped in between.
pub const JOIN_WITHIN_NS: u64 = 1_000_000_000;

/// See [`dropwatch_common::names::OFFSETS`].
#[unsafe(no_mangle)]
pub static OFFSETS: [u32; FIELD_COUNT] = [ABSENT; FIELD_COUNT];

/// See [`dropwatch_common::names::CONFIG`].
#[unsafe(no_mangle)]
pub static CONFIG: [u32; word::COUNT] = [ABSENT; word::COUNT];

/// See [`dropwatch_common::names::DEV_FILTER`].
#[unsafe(no_mangle)]
pub static DEV_FILTER: [u64; DEV_WORDS] = [0; DEV_WORDS];

/// See [`dropwatch_common::names::SYSCTLS`].
#[unsafe(no_mangle)]
pub static SYSCTLS: [[u64; 2]; SYSCTL_NAMES] = [[0; 2]; SYSCTL_NAMES];

/// All records. The loader sets the size.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Per-CPU counters, all in one value: one look-up serves several of them.
#[map]
static COUNTERS: PerCpuArray<[u64; counters::COUNT as usize]> = PerCpuArray::with_max_entries(1, 0);

/// Exact counts and detail budget by key.
#[map]
pub static DROPS: PerCpuHashMap<[u32; 6], [u64; 3]> = PerCpuHashMap::with_max_entries(4096, 0);

/// Exact counts and detail budget of the kinds that come first, looked up directly.
#[map]
pub static HOT: PerCpuArray<[u64; hot::SIZE]> = PerCpuArray::with_max_entries(1, 0);

/// The detail budget of all drops that found no room in [`DROPS`].
#[map]
pub static KEYLESS: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Flow classes seen lately, by a part of their hash: the rest of it, and when.
#[map]
pub static FLOWS: PerCpuArray<[u64; flows::SEEN]> = PerCpuArray::with_max_entries(1, 0);

/// Detail budgets of flow classes that were not seen lately, by where they go.
#[map]
pub static FLOW_BUDGETS: PerCpuArray<[u64; flows::SHARDS]> = PerCpuArray::with_max_entries(1, 0);

/// What the loader changes while the programs run. The budget epoch is advanced from there, so that the
/// hot path needs no clock, and a loader that cannot keep up gives out no further budget.
#[map]
static LIVE: Array<u32> = Array::with_max_entries(live::COUNT, 0);

/// Refusals on their way to the drop of the same skb.
#[map]
pub static REFUSALS: LruHashMap<u64, Refusal> = LruHashMap::with_max_entries(1024, 0);

/// The packet that each CPU refused last (its skb), until the routing of it returns: returns by kretprobe do not
/// tell whose they are. Routing of received packets runs with softirqs off, so nothing gets between.
#[map]
pub static LAST_REFUSED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The packet that each CPU sends to a queue (its skb), for the same reason.
#[map]
pub static LAST_QUEUED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Entries that were in the way of an skb's own one, on their way to the drop of that skb.
#[map]
pub static CLASHES: LruHashMap<u64, Clash> = LruHashMap::with_max_entries(1024, 0);

/// Packets inside `nf_queue`, by skb.
#[map]
pub static QUEUED: LruHashMap<u64, Queued> = LruHashMap::with_max_entries(1024, 0);

/// Packets that wait for a queue program's verdict, by the address of their queue entry. Room for several
/// queues of the usual length (1024) and for segments.
#[map]
pub static QUEUE_ENTRIES: LruHashMap<u64, Queued> = LruHashMap::with_max_entries(16384, 0);

/// Packets that came back from a queue program, by skb.
#[map]
pub static REINJECTED: LruHashMap<u64, Reinjected> = LruHashMap::with_max_entries(4096, 0);

/// IPVS connections whose conntrack entry was detached although a translation needs it, by address.
#[map]
pub static DETACHED: LruHashMap<u64, Detached> = LruHashMap::with_max_entries(8192, 0);

/// The last IPv4 route look-up of each CPU.
#[map]
pub static LAST_LOOKUP: PerCpuArray<Lookup> = PerCpuArray::with_max_entries(1, 0);

/// What a source-check function said about an skb. Only the programs see this.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Refusal {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Source and destination address, network byte order.
    pub saddr: u32,
    pub daddr: u32,
    /// Bits of [`dropwatch_common::record::rp_filter::ran`].
    pub ran: u32,
    /// Return value of `ip_route_input_noref`.
    pub ret: i32,
}

/// The entry that `nf_ct_resolve_clash` found in the way. Only the programs see this.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Clash {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// `IPS_*` bits.
    pub status: u32,
    /// Which of its tuples was found.
    pub direction: u32,
    pub original: [u8; tuple::SIZE],
    pub reply: [u8; tuple::SIZE],
}

/// A packet at the moment it was queued. Only the programs see this.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Queued {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    pub mark: u32,
    pub queue: u32,
    /// `enum nf_inet_hooks` and `NFPROTO_*`.
    pub hook: u32,
    pub pf: u32,
}

/// A packet at the moment it came back. Only the programs see this.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Reinjected {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    pub mark: u32,
    /// `NF_*`.
    pub verdict: u32,
    /// Bits of [`dropwatch_common::record::nfqueue::ran`].
    pub ran: u32,
    /// Who gave the verdict.
    pub tgid: u32,
    /// Hook and family always; the rest if it was seen.
    pub queued: Queued,
    pub comm: [u8; 16],
    /// Its headers, to know it again by.
    pub flow: Flow,
}

/// What a client of a detached connection had asked for. Only the programs see this.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct Detached {
    /// To know the connection again by.
    pub ports: [u32; 3],
    /// `IPS_*` bits of the entry.
    pub status: u32,
    /// Bits of [`dropwatch_common::record::ipvs::event`] that were sent on.
    pub told: u32,
    pub pad: u32,
    pub asked: [u8; tuple::SIZE],
}

/// One call of the `fib_table_lookup` tracepoint. Only the programs see this.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Lookup {
    /// Destination and source looked up, network byte order.
    pub daddr: u32,
    pub saddr: u32,
    /// Table.
    pub table: u32,
    /// Device chosen, 0 = none.
    pub oif: u32,
    /// 0 or negative errno.
    pub err: i32,
    /// Generation of the watch that saw it: see [`live::LOOKUPS`].
    pub generation: u32,
}

// SAFETY: integers of a struct without padding, as the sizes say: eight bytes are the largest alignment.
unsafe impl Words for Clash {}
// SAFETY: as above.
unsafe impl Words for Queued {}
// SAFETY: as above.
unsafe impl Words for Reinjected {}
// SAFETY: as above.
unsafe impl Words for Detached {}

const _: () = {
    assert!(size_of::<Clash>() == 16 + 2 * tuple::SIZE && align_of::<Clash>() == 8);
    assert!(size_of::<Queued>() == 24 && align_of::<Queued>() == 8);
    assert!(size_of::<Reinjected>() == 24 + 24 + 16 + size_of::<Flow>());
    assert!(size_of::<Detached>() == 24 + tuple::SIZE && align_of::<Detached>() == 8);
};

/// A drop key's value before its first drop.
pub static NO_TALLY: [u64; 3] = [0; 3];

/// One of the loader's settings.
#[inline(always)]
pub fn config(word: usize) -> u32 {
    // SAFETY: `word` is a constant below the array's length at every caller; volatile, since the loader
    // changes the value.
    unsafe { ptr::read_volatile((&raw const CONFIG).cast::<u32>().add(word)) }
}

/// One word of the device filter.
#[inline(always)]
pub fn dev_filter(word: usize) -> u64 {
    // SAFETY: as for `config`.
    unsafe { ptr::read_volatile((&raw const DEV_FILTER).cast::<u64>().add(word)) }
}

/// One of the names of sysctls that are watched.
#[inline(always)]
pub fn sysctl_name(at: usize) -> [u64; 2] {
    // SAFETY: as for `config`.
    unsafe { ptr::read_volatile((&raw const SYSCTLS).cast::<[u64; 2]>().add(at)) }
}

/// The counters of this CPU.
#[derive(Clone, Copy)]
pub struct Counters(*mut u64);

/// Looks them up.
#[inline(always)]
pub fn counters() -> Option<Counters> {
    Some(Counters(COUNTERS.get_ptr_mut(0)?.cast()))
}

impl Counters {
    /// Adds one to a counter that only the drop anchor writes.
    #[inline(always)]
    pub fn add(self, counter: u32) {
        if counter < counters::COUNT {
            // SAFETY: a valid slot of this CPU's own array, which lives as long as the program, and an index inside it.
            unsafe { increment(self.0.add(counter as usize)) };
        }
    }
}

/// Adds one to a word that only the drop anchor writes: in one instruction only where that can interrupt itself.
///
/// # Safety
///
/// `slot` points to map memory, aligned to eight bytes.
#[inline(always)]
pub unsafe fn increment(slot: *mut u64) {
    if config(word::NESTS) == 1 {
        // SAFETY: by the contract above.
        unsafe { add_at_once(slot) };
    } else {
        // SAFETY: by the contract above; nothing that writes there comes between.
        unsafe { slot.write_volatile(slot.read_volatile() + 1) };
    }
}

/// Adds one in one instruction. The standard library has no such method for this target, which can add but not compare and
/// swap.
///
/// # Safety
///
/// `slot` points to map memory, aligned to eight bytes.
#[inline(always)]
unsafe fn add_at_once(slot: *mut u64) {
    // SAFETY: by the contract above; all that it is shared with is other such additions and the loader's reads.
    unsafe { asm!("lock *(u64 *)({} + 0) += {}", in(reg) slot, in(reg) 1_u64, options(nostack)) };
}

/// Keeps an skb's address for a return on the same CPU.
#[inline(always)]
pub fn keep(last: &PerCpuArray<u64>, skb: u64) {
    if let Some(slot) = last.get_ptr_mut(0) {
        // SAFETY: a valid slot of this CPU's own array.
        unsafe { *slot = skb };
    }
}

/// Takes it away again; 0 when there is none.
#[inline(always)]
pub fn take(last: &PerCpuArray<u64>) -> u64 {
    let Some(slot) = last.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: as in `keep`.
    let slot = unsafe { &mut *slot };
    core::mem::take(slot)
}

/// Adds one to a counter of this CPU, whichever programs write it.
#[inline(always)]
pub fn count(counter: u32) {
    if let Some(Counters(first)) = counters()
        && counter < counters::COUNT
    {
        // SAFETY: a valid slot of this CPU's own array, and an index inside it.
        unsafe { add_at_once(first.add(counter as usize)) };
    }
}

/// One of the words that change while the programs run.
#[inline(always)]
pub fn live(word: u32) -> u32 {
    LIVE.get(word).copied().unwrap_or(0)
}

/// Sets one of those that the programs themselves write.
#[inline(always)]
pub fn set_live(word: u32, value: u32) {
    if let Some(slot) = LIVE.get_ptr_mut(word) {
        // SAFETY: a valid slot of the array; all writers write the same value.
        unsafe { *slot = value };
    }
}
