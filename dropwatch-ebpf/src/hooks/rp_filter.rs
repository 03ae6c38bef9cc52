//! Evidence for a refused source address.
//!
//! `ip_handle_martian_source` (net/ipv4/route.c, 5.10 to 7.2) runs only when a source was refused, so it
//! costs other traffic nothing; it does not say which check refused. The drop reason does; before 5.17, when
//! there was none, the return value of `ip_route_input_noref` around it does, which runs for every routed packet:
//! the planner takes it only there. The reverse route is the last look-up that the `fib_table_lookup` tracepoint
//! saw on this CPU for the packet's addresses turned round; as that tracepoint runs for every routed packet,
//! the loader attaches it only while sources are refused.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_ktime_get_ns,
    macros::{btf_tracepoint, fentry, fexit, kprobe, kretprobe, raw_tracepoint},
    programs::{
        BtfTracePointContext, FEntryContext, FExitContext, ProbeContext, RawTracePointContext,
        RetProbeContext,
    },
};
use aya_log_ebpf::warn;
use dropwatch_common::{
    config::{live, word},
    counters,
    fields::Field,
    flow::Flow,
    record::{
        Section,
        rp_filter::{RpFilter, ran},
    },
};

use crate::{
    call::Call,
    kread::{Mem, Ptr},
    maps::{
        self, JOIN_WITHIN_NS, LAST_LOOKUP, LAST_REFUSED, Lookup, REFUSALS, Refusal, config, count,
    },
    skb::{self, Skb},
};

/// `ip_handle_martian_source(dev, in_dev, skb, daddr, saddr)`, 5.10 to 7.2.
#[fentry(function = "ip_handle_martian_source")]
pub fn rp_filter_martian_fentry(ctx: FEntryContext) -> i32 {
    refuse(&ctx);
    0
}

/// The same where trampolines are refused.
#[kprobe(function = "ip_handle_martian_source")]
pub fn rp_filter_martian_kprobe(ctx: ProbeContext) -> u32 {
    refuse(&ctx);
    0
}

/// `ip_route_input_noref(skb, dst, src, tos, dev)`, as of 5.10 to 5.16; the return value stands behind the five
/// arguments. Negative = refused, with an errno.
#[fexit(function = "ip_route_input_noref")]
pub fn rp_filter_route_fexit(ctx: FExitContext) -> i32 {
    let ret: i32 = ctx.arg(5);
    if ret < 0 {
        returned(ctx.arg(0), ret);
    }
    0
}

/// The same where trampolines are refused.
#[kretprobe(function = "ip_route_input_noref")]
pub fn rp_filter_route_kretprobe(ctx: RetProbeContext) -> u32 {
    let ret: i32 = ctx.ret();
    if ret < 0 {
        returned(maps::take(&LAST_REFUSED), ret);
    }
    0
}

/// `fib_table_lookup(tb_id, flp, nhc, err)`, include/trace/events/fib.h, 5.10 to 7.2.
#[btf_tracepoint(function = "fib_table_lookup")]
pub fn rp_filter_lookup_btf(ctx: BtfTracePointContext) -> i32 {
    looked_up(&ctx);
    0
}

/// The same where BTF tracepoints are refused.
#[raw_tracepoint(tracepoint = "fib_table_lookup")]
pub fn rp_filter_lookup_raw(ctx: RawTracePointContext) -> i32 {
    looked_up(&ctx);
    0
}

/// Keeps a refusal for the drop of the same skb.
#[inline(always)]
fn refuse<C: Call + EbpfContext>(ctx: &C) {
    let skb = ctx.arg(2);
    let refusal = Refusal {
        // SAFETY: a helper without preconditions.
        time_ns: unsafe { bpf_ktime_get_ns() },
        saddr: ctx.arg(4) as u32,
        daddr: ctx.arg(3) as u32,
        ran: ran::MARTIAN,
        ret: 0,
    };
    match REFUSALS.insert(skb, &refusal, 0) {
        Ok(()) => count(counters::RP_STASHED),
        Err(error) => {
            count(counters::RP_STASH_FAILED);
            warn!(
                ctx,
                "a refusal could not be kept for its drop: error {}", error
            );
        }
    }
    maps::keep(&LAST_REFUSED, skb);
}

/// The routing of a refused packet returned. Other failures of routing were not kept.
#[inline(always)]
fn returned(skb: u64, ret: i32) {
    if let Some(slot) = REFUSALS.get_ptr_mut(skb) {
        // SAFETY: a live slot; the packet belongs to this CPU until it is freed.
        let refusal = unsafe { &mut *slot };
        // One that has its answer already is of an earlier packet at the same address.
        if refusal.ran & ran::RETURN == 0 {
            refusal.ran |= ran::RETURN;
            refusal.ret = ret;
        }
    }
}

#[inline(always)]
fn looked_up<C: Call>(ctx: &C) {
    let Some(slot) = LAST_LOOKUP.get_ptr_mut(0) else {
        return;
    };
    let flow = Ptr::<C::Mem>::new(ctx.arg(1));
    let nhc = Ptr::<C::Mem>::new(ctx.arg(2));
    // NULL when nothing was found; the verifier insists on the question (6.12 and later).
    let oif = if nhc.is_null() {
        0
    } else {
        nhc.follow(Field::fib_nh_common_nhc_dev)
            .get(Field::net_device_ifindex)
    };
    // SAFETY: a valid slot of this CPU's own array.
    let lookup = unsafe { &mut *slot };
    *lookup = Lookup {
        daddr: flow.get(Field::flowi4_daddr),
        saddr: flow.get(Field::flowi4_saddr),
        table: ctx.arg(0) as u32,
        oif,
        err: ctx.arg(3) as i32,
        generation: maps::live(live::LOOKUPS),
    };
}

/// Whether this drop is about a refused source, by its reason or by a hook's word.
#[inline(always)]
pub fn refused<M: Mem>(skb: &Skb<M>, reason: u32) -> bool {
    if reason == config(word::REASON_RPFILTER)
        || reason == config(word::REASON_LOCAL_SOURCE)
        || reason == config(word::REASON_INVALID_SOURCE)
    {
        return true;
    }
    // Without a name for it (martians up to 6.12, everything on 5.10) only a hook can tell.
    let unnamed = reason == 0 || reason == config(word::REASON_NOT_SPECIFIED);
    unnamed && kept(skb).is_some()
}

/// What a hook kept of this very packet.
#[inline(always)]
fn kept<M: Mem>(skb: &Skb<M>) -> Option<&'static Refusal> {
    if config(word::STASH) != 1 {
        return None;
    }
    // SAFETY: read at once; an entry recycled meanwhile by the LRU fails the checks below.
    let kept = unsafe { REFUSALS.get(skb.0.id()) }?;
    // SAFETY: a helper without preconditions.
    let age = unsafe { bpf_ktime_get_ns() }.wrapping_sub(kept.time_ns);
    (age <= JOIN_WITHIN_NS && skb.ipv4_addresses() == Some([kept.saddr, kept.daddr]))
        .then_some(kept)
}

/// Fills a zeroed record.
#[inline(always)]
pub fn fill<M: Mem>(
    record: &mut RpFilter,
    skb: &Skb<M>,
    refused: bool,
    dev: Option<Ptr<M>>,
    flow: &Flow,
) {
    if !refused {
        record.header = RpFilter::absent();
        return;
    }
    record.header = RpFilter::header();
    if let Some(kept) = kept(skb) {
        count(counters::RP_JOINED);
        record.ran |= kept.ran;
        record.ret = kept.ret;
        let _ = REFUSALS.remove(skb.0.id());
    }
    if let Some(mode) = dev.and_then(skb::rp_filter_mode) {
        record.ran |= ran::MODE;
        record.mode_all = mode.all;
        record.mode_device = mode.device;
        record.has_address = mode.has_address.into();
    }
    let generation = maps::live(live::LOOKUPS);
    if generation == 0 || flow.l3 != 4 {
        return;
    }
    let Some(lookup) = LAST_LOOKUP.get(0) else {
        return;
    };
    let source = u32::from_ne_bytes([flow.src[0], flow.src[1], flow.src[2], flow.src[3]]);
    let destination = u32::from_ne_bytes([flow.dst[0], flow.dst[1], flow.dst[2], flow.dst[3]]);
    if lookup.generation == generation && lookup.daddr == source && lookup.saddr == destination {
        record.ran |= ran::LOOKUP;
        record.lookup_table = lookup.table;
        record.lookup_oif = lookup.oif;
        record.lookup_err = lookup.err;
    }
}
