//! The drop anchor: every packet that the kernel frees as dropped.
//!
//! `kfree_skb` tracepoint, include/trace/events/skb.h:
//! 5.10 `(skb, location)`, 5.17 adds `reason`, 6.11 adds `rx_sk`.

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_current_comm, bpf_get_smp_processor_id, bpf_ktime_get_ns},
    },
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use dropwatch_common::{
    config::{live, word},
    counters::{self, DropKey, tally},
    fields::Field,
    flow::Flow,
    header::kind,
    record::{
        Section,
        ct_insert::CtInsert,
        rp_filter::RpFilter,
        skb_drop::{SkbDrop, flags},
    },
};

use super::{ct_insert, rp_filter};
use crate::{
    call::Call,
    emit::{self, Joined, Record},
    filter,
    kread::Ptr,
    maps::{self, config, count},
    parse,
    skb::{self, Skb},
};

/// BTF tracepoint: plain loads.
#[btf_tracepoint(function = "kfree_skb")]
pub fn skb_drop_btf(ctx: BtfTracePointContext) -> i32 {
    dropped(&ctx);
    0
}

/// Raw tracepoint, where BTF tracepoints are refused: reads by helper.
#[raw_tracepoint(tracepoint = "kfree_skb")]
pub fn skb_drop_raw(ctx: RawTracePointContext) -> i32 {
    dropped(&ctx);
    0
}

/// What is known of the drop before it is decided whether detail is sent.
struct Drop<C: Call> {
    skb: Skb<C::Mem>,
    /// Only a device when `ifindex` is not 0.
    dev: Ptr<C::Mem>,
    location: u64,
    reason: u32,
    netns: u32,
    ifindex: u32,
    flags: u32,
}

impl<C: Call> Drop<C> {
    /// Device name, zeroes when there is none.
    #[inline(always)]
    fn name(&self) -> [u64; 2] {
        if self.ifindex == 0 {
            return [0; 2];
        }
        self.dev.name(Field::net_device_name)
    }
}

#[inline(always)]
fn dropped<C: Call>(ctx: &C) {
    let Some(counters) = maps::counters() else {
        return;
    };
    counters[counters::SEEN as usize] += 1;
    counters[handle(ctx) as usize] += 1;
}

/// Does everything; returns the counter that says what became of the drop.
#[inline(always)]
fn handle<C: Call>(ctx: &C) -> u32 {
    let Some(drop) = look(ctx) else {
        return counters::NOT_PACKET;
    };
    if !filter::wanted(drop.netns, || drop.name()) {
        return counters::FILTERED;
    }
    let evidence = evidence(&drop);
    let key = DropKey {
        location: drop.location,
        reason: drop.reason,
        ifindex: drop.ifindex,
        netns: drop.netns,
        evidence: match evidence {
            Evidence::None => 0,
            Evidence::Refusal(_) => kind::RP_FILTER.into(),
            Evidence::NotInserted(_) => kind::CT_INSERT.into(),
        },
    };
    if !tally(&key) {
        return counters::SUPPRESSED;
    }
    let sent = match evidence {
        Evidence::None => send::<C>(&drop),
        Evidence::Refusal(refusal) => send_joined::<C, RpFilter>(&drop, |record, flow| {
            let dev = (drop.ifindex != 0).then_some(drop.dev);
            rp_filter::fill(record, &refusal, dev, flow);
        }),
        Evidence::NotInserted(entry) => send_joined::<C, CtInsert>(&drop, |record, _| {
            ct_insert::fill(record, &entry);
        }),
    };
    if sent {
        counters::SUBMITTED
    } else {
        counters::RING_FULL
    }
}

/// What other hooks, or the packet itself, show about the drop.
enum Evidence {
    None,
    Refusal(rp_filter::Seen),
    NotInserted(ct_insert::Entry),
}

#[inline(always)]
fn evidence<C: Call>(drop: &Drop<C>) -> Evidence {
    if let Some(refusal) = rp_filter::refusal(&drop.skb, drop.reason) {
        return Evidence::Refusal(refusal);
    }
    match ct_insert::entry(&drop.skb, drop.reason) {
        Some(entry) => Evidence::NotInserted(entry),
        None => Evidence::None,
    }
}

/// Reads what identifies the drop; `None` when it is no network packet.
#[inline(always)]
fn look<C: Call>(ctx: &C) -> Option<Drop<C>> {
    let args = config(word::KFREE_SKB_ARGS);
    let skb = Skb::<C::Mem>(Ptr::new(ctx.arg(0)));
    let location = ctx.arg(1);
    let reason = if args >= 3 { ctx.arg(2) as u32 } else { 0 };
    let dev = skb.dev();
    let mut netns = skb::device_netns(dev);
    let mut ifindex = 0;
    let mut flags = 0;
    if netns == 0 {
        // No device any more, or another thing in its place. A socket knows the namespace too.
        if skb.ethertype() == 0 {
            return None;
        }
        flags = flags::NETNS_OF_SOCKET;
        netns = skb::socket_netns(skb.sk());
        if netns == 0 && args >= 4 {
            netns = skb::socket_netns(Ptr::<C::Mem>::new(ctx.arg(3)));
        }
    } else {
        ifindex = dev.get(Field::net_device_ifindex);
    }
    Some(Drop {
        skb,
        dev,
        location,
        reason,
        netns,
        ifindex,
        flags,
    })
}

/// Counts the drop under its key; whether the key's budget allows detail.
#[inline(always)]
fn tally(key: &DropKey) -> bool {
    let words = key.words();
    let slot = maps::DROPS.get_ptr_mut(words).or_else(|| {
        // Lost races with another insert do not matter: the look-up after it decides.
        let _ = maps::DROPS.insert(words, [0; 3], 0);
        maps::DROPS.get_ptr_mut(words)
    });
    let Some(slot) = slot else {
        // Detail rather than nothing: an unknown key has no budget that it could exceed.
        count(counters::KEYS_FULL);
        return true;
    };
    // SAFETY: a valid slot of this CPU's own part of the map.
    let value = unsafe { &mut *slot };
    value[tally::COUNT] += 1;
    let budget = config(word::BUDGET);
    if budget == 0 {
        return true;
    }
    let epoch = maps::live(live::EPOCH);
    let mut left = value[tally::BUDGET] as u32;
    if (value[tally::BUDGET] >> 32) as u32 != epoch || value[tally::COUNT] == 1 {
        left = budget;
    }
    if left == 0 {
        value[tally::SUPPRESSED] += 1;
        return false;
    }
    value[tally::BUDGET] = u64::from(epoch) << 32 | u64::from(left - 1);
    true
}

#[inline(always)]
fn send<C: Call>(drop: &Drop<C>) -> bool {
    let Some(mut place) = emit::reserve::<SkbDrop>() else {
        return false;
    };
    fill(place.record(), drop);
    place.submit();
    true
}

#[inline(always)]
fn send_joined<C: Call, E: 'static>(
    drop: &Drop<C>,
    fill_evidence: impl FnOnce(&mut E, &Flow),
) -> bool
where
    Joined<SkbDrop, E>: Record,
{
    let Some(mut place) = emit::reserve::<Joined<SkbDrop, E>>() else {
        return false;
    };
    let record = place.record();
    fill(&mut record.anchor, drop);
    fill_evidence(&mut record.evidence, &record.anchor.flow);
    place.submit();
    true
}

/// Fills a zeroed record.
#[inline(always)]
fn fill<C: Call>(record: &mut SkbDrop, drop: &Drop<C>) {
    record.header = SkbDrop::header();
    record.location = drop.location;
    record.skb = drop.skb.0.id();
    record.netns = drop.netns;
    record.ifindex = drop.ifindex;
    record.iif = drop.skb.iif();
    record.reason = drop.reason;
    record.mark = drop.skb.mark();
    record.skb_len = drop.skb.len();
    record.ethertype = drop.skb.ethertype();
    record.tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: helpers without preconditions; the last one writes at most the 16 bytes given.
    unsafe {
        record.time_ns = bpf_ktime_get_ns();
        record.cpu = bpf_get_smp_processor_id();
        bpf_get_current_comm((&raw mut record.comm).cast(), 16);
    }
    let name = drop.name();
    record.dev[..8].copy_from_slice(&name[0].to_ne_bytes());
    record.dev[8..].copy_from_slice(&name[1].to_ne_bytes());
    record.flags = drop.flags
        | parse::flow(
            record.ethertype,
            drop.skb.network_header(),
            &mut record.flow,
        );
}
