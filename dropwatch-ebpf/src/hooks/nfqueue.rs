//! Evidence of a packet's way through a queue program (NFQUEUE).
//!
//! `nf_queue` (net/netfilter/nf_queue.c) runs only for packets that a rule queues: mark, queue number and
//! hook are read there and kept until it returns. Within it `nf_queue_entry_get_refs` tells the entry that
//! the packet waits in; it is also called for each segment of a GSO packet, while the entry still names the
//! whole one. `nf_reinject` (net/netfilter/nf_queue.c, up to 6.9; then inlined in `nfqnl_reinject`,
//! net/netfilter/nfnetlink_queue.c) gets that entry back with the verdict, in the queue program's own context;
//! what follows, the drop included, happens inside it.

use core::mem::MaybeUninit;

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_current_comm, bpf_ktime_get_ns},
    },
    macros::{fentry, fexit, kprobe, kretprobe},
    programs::{FEntryContext, FExitContext, ProbeContext, RetProbeContext},
};
use dropwatch_common::{
    config::live,
    counters,
    fields::Field,
    flow::Flow,
    record::{
        Section,
        nfqueue::{Nfqueue, ran},
    },
};

use crate::{
    call::Call,
    kread::{self, Mem, Ptr},
    maps::{
        self, JOIN_WITHIN_NS, LAST_QUEUED, QUEUE_ENTRIES, QUEUED, Queued, REINJECTED, Reinjected,
        count,
    },
    parse,
    skb::Skb,
};

/// Bits of a verdict that hold the queue number: `NF_VERDICT_QBITS` (include/uapi/linux/netfilter.h).
const QUEUE_SHIFT: u32 = 16;

/// `nf_queue(skb, state, index, verdict)`, 5.10 to 7.2.
#[fentry(function = "nf_queue")]
pub fn nfqueue_queue_fentry(ctx: FEntryContext) -> i32 {
    queued(&ctx);
    0
}

/// The same where trampolines are refused.
#[kprobe(function = "nf_queue")]
pub fn nfqueue_queue_kprobe(ctx: ProbeContext) -> u32 {
    queued(&ctx);
    0
}

/// Its return: the packet waits, goes on without having waited, or is gone.
#[fexit(function = "nf_queue")]
pub fn nfqueue_queue_fexit(ctx: FExitContext) -> i32 {
    let skb: u64 = Call::arg(&ctx, 0);
    let _ = QUEUED.remove(skb);
    0
}

/// The same where trampolines are refused. What interrupts `nf_queue` and queues a packet too leaves the outer one's
/// behind: that is forgotten when the packet comes back, or by its age.
#[kretprobe(function = "nf_queue")]
pub fn nfqueue_queue_kretprobe(_ctx: RetProbeContext) -> u32 {
    let _ = QUEUED.remove(maps::take(&LAST_QUEUED));
    0
}

/// `nf_queue_entry_get_refs(entry)`, 5.10 to 7.2.
#[fentry(function = "nf_queue_entry_get_refs")]
pub fn nfqueue_entry_fentry(ctx: FEntryContext) -> i32 {
    entered(&ctx);
    0
}

/// The same where trampolines are refused.
#[kprobe(function = "nf_queue_entry_get_refs")]
pub fn nfqueue_entry_kprobe(ctx: ProbeContext) -> u32 {
    entered(&ctx);
    0
}

/// `nf_reinject(entry, verdict)` up to 6.9, or `nfqnl_reinject(entry, verdict)`, 5.10 to 7.2: whichever the loader
/// names.
#[fentry(function = "nfqnl_reinject")]
pub fn nfqueue_reinject_fentry(ctx: FEntryContext) -> i32 {
    reinjected(&ctx);
    0
}

/// The same where trampolines are refused.
#[kprobe(function = "nfqnl_reinject")]
pub fn nfqueue_reinject_kprobe(ctx: ProbeContext) -> u32 {
    reinjected(&ctx);
    0
}

#[inline(always)]
fn queued<C: Call>(ctx: &C) {
    count(counters::QUEUE_SEEN);
    let skb = Skb::<C::Mem>(Ptr::new(ctx.arg(0)));
    let state = Ptr::<C::Mem>::new(ctx.arg(1));
    let queued = Queued {
        // SAFETY: a helper without preconditions.
        time_ns: unsafe { bpf_ktime_get_ns() },
        mark: skb.mark(),
        queue: ctx.arg(3) as u32 >> QUEUE_SHIFT,
        hook: state.get::<u8>(Field::nf_hook_state_hook).into(),
        pf: state.get::<u8>(Field::nf_hook_state_pf).into(),
    };
    if QUEUED.insert(skb.0.id(), &queued, 0).is_err() {
        count(counters::QUEUE_STASH_FAILED);
        return;
    }
    maps::keep(&LAST_QUEUED, skb.0.id());
    maps::set_live(live::QUEUES, 1);
}

#[inline(always)]
fn entered<C: Call>(ctx: &C) {
    let entry = Ptr::<C::Mem>::new(ctx.arg(0));
    let skb: u64 = entry.get(Field::nf_queue_entry_skb);
    // SAFETY: copied at once; it belongs to the call that this one is made in.
    let Some(queued) = (unsafe { QUEUED.get(skb) }).copied() else {
        return;
    };
    if QUEUE_ENTRIES.insert(entry.id(), &queued, 0).is_err() {
        count(counters::QUEUE_STASH_FAILED);
    }
}

#[inline(always)]
fn reinjected<C: Call>(ctx: &C) {
    count(counters::QUEUE_REINJECTED);
    let entry = Ptr::<C::Mem>::new(ctx.arg(0));
    let skb = Skb::<C::Mem>(entry.follow(Field::nf_queue_entry_skb));
    let mut place = MaybeUninit::<Reinjected>::uninit();
    let kept = kread::zero(&mut place);
    // SAFETY: a helper without preconditions.
    kept.time_ns = unsafe { bpf_ktime_get_ns() };
    kept.mark = skb.mark();
    kept.verdict = ctx.arg(1) as u32;
    kept.ran = ran::REINJECTED;
    kept.tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    kept.queued.hook = entry.get::<u8>(Field::nf_queue_entry_hook).into();
    kept.queued.pf = entry.get::<u8>(Field::nf_queue_entry_pf).into();
    // SAFETY: the helper writes at most the 16 bytes given.
    unsafe { bpf_get_current_comm((&raw mut kept.comm).cast(), 16) };
    // SAFETY: copied at once; the entry is ours until the function that is entered here frees it.
    if let Some(queued) = unsafe { QUEUE_ENTRIES.get(entry.id()) } {
        kread::copy_words(queued, &mut kept.queued);
        kept.ran |= ran::QUEUED;
    }
    let _ = QUEUE_ENTRIES.remove(entry.id());
    let _ = QUEUED.remove(skb.0.id());
    parse::flow(skb.ethertype(), skb.network_header(), &mut kept.flow);
    if REINJECTED.insert(skb.0.id(), &*kept, 0).is_err() {
        count(counters::QUEUE_STASH_FAILED);
    }
    maps::set_live(live::QUEUES, 1);
}

/// A packet's way through a queue, as far as it is known.
pub type Trip = u32;
/// It was in no queue.
pub const NO_TRIP: Trip = 0;
/// It could not be queued.
const REFUSED: Trip = 1;
/// It came back.
const BACK: Trip = 2;

/// Whether this packet was to wait in a queue or came from one just now.
#[inline(always)]
pub fn trip<M: Mem>(skb: &Skb<M>) -> Trip {
    if maps::live(live::QUEUES) == 0 {
        return NO_TRIP;
    }
    let id = skb.0.id();
    // First what is going on now: a packet that came back from one queue may be refused by the next.
    // SAFETY: read at once; it is there while `nf_queue` runs for this very packet, and one that was forgotten
    // there is too old.
    if let Some(queued) = unsafe { QUEUED.get(id) }
        && fresh(queued.time_ns)
    {
        return REFUSED;
    }
    // SAFETY: read at once; see `fill` for what excludes another packet's.
    if let Some(kept) = unsafe { REINJECTED.get(id) }
        && fresh(kept.time_ns)
    {
        return BACK;
    }
    NO_TRIP
}

#[inline(always)]
fn fresh(time_ns: u64) -> bool {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_ktime_get_ns() }.wrapping_sub(time_ns) <= JOIN_WITHIN_NS
}

/// Fills a zeroed record.
#[inline(always)]
pub fn fill<M: Mem>(record: &mut Nfqueue, skb: &Skb<M>, trip: Trip, flow: &Flow) {
    record.header = Nfqueue::absent();
    let id = skb.0.id();
    if trip == REFUSED {
        // SAFETY: copied field by field at once.
        if let Some(queued) = unsafe { QUEUED.get(id) } {
            record.header = Nfqueue::header();
            record.ran = ran::QUEUED;
            place(record, queued);
        }
    } else if trip == BACK {
        // SAFETY: copied field by field at once; that it is this packet's is checked.
        if let Some(kept) = unsafe { REINJECTED.get(id) }
            && same(&kept.flow, flow)
        {
            record.header = Nfqueue::header();
            record.ran = kept.ran;
            record.reinjected_ns = kept.time_ns;
            record.mark_after = kept.mark;
            record.verdict = kept.verdict;
            record.tgid = kept.tgid;
            kread::copy(&kept.comm, &mut record.comm);
            place(record, &kept.queued);
        }
        let _ = REINJECTED.remove(id);
    }
}

#[inline(always)]
fn place(record: &mut Nfqueue, queued: &Queued) {
    record.queued_ns = queued.time_ns;
    record.mark_before = queued.mark;
    record.queue = queued.queue;
    record.hook = queued.hook;
    record.pf = queued.pf;
}

/// Whether both are of one packet: addresses of sk_buffs are used again. Translation in between may have
/// changed one end of it.
#[inline(always)]
fn same(before: &Flow, now: &Flow) -> bool {
    let source = before.src == now.src && before.sport == now.sport;
    let destination = before.dst == now.dst && before.dport == now.dport;
    before.l3 == now.l3
        && before.l4 == now.l4
        && before.ip_id == now.ip_id
        && before.tcp_seq == now.tcp_seq
        && (source || destination)
}
