//! The drop anchor: every packet that the kernel frees as dropped.
//!
//! `kfree_skb` tracepoint, include/trace/events/skb.h:
//! 5.10 `(skb, location)`, 5.17 adds `reason`, 6.11 adds `rx_sk`.

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{
            bpf_get_current_comm, bpf_get_smp_processor_id, bpf_get_stack, bpf_ktime_get_ns,
        },
    },
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use dropwatch_common::{
    config::word,
    counters::{self, DropKey},
    fields::Field,
    header::kind,
    record::{
        Section,
        skb_drop::{SkbDrop, flags},
        stack::Stack,
    },
};

use super::{ct_insert, nfqueue, rp_filter};
use crate::{
    call::Call,
    emit::{self, WithEvidence},
    filter,
    kread::{Mem, Ptr},
    maps::{self, config},
    parse,
    skb::{self, Skb},
    tally,
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
    /// Cookie of the namespace where that is the socket's; 0 when there is a device.
    cookie: u64,
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

    /// Cookie of the namespace, 0 when it is unknown. `skb->sk` is not asked again: each instruction that follows a pointer
    /// out of an skb costs the verifier searches of all types, in each state that it gets there with.
    #[inline(always)]
    fn cookie(&self) -> u64 {
        if self.ifindex == 0 {
            return self.cookie;
        }
        self.dev
            .follow(Field::net_device_nd_net)
            .get(Field::net_cookie)
    }
}

#[inline(always)]
fn dropped<C: Call + EbpfContext>(ctx: &C) {
    let Some(counters) = maps::counters() else {
        return;
    };
    counters.add(counters::SEEN);
    counters.add(handle(ctx));
}

/// Does everything; returns the counter that says what became of the drop.
#[inline(always)]
fn handle<C: Call + EbpfContext>(ctx: &C) -> u32 {
    let Some(drop) = look(ctx) else {
        return counters::NOT_PACKET;
    };
    if !filter::wanted(drop.netns, || drop.name()) {
        return counters::FILTERED;
    }
    let key = DropKey {
        location: drop.location,
        reason: drop.reason,
        ifindex: drop.ifindex,
        netns: drop.netns,
        evidence: evidence(&drop.skb, drop.reason).kind(),
    };
    if !tally::count(&key, &drop.skb) {
        return counters::SUPPRESSED;
    }
    // Looked for once more, with the reason read anew: the verifier would go through all of the tally once for each thing
    // that may have been found, and few drops get here.
    let evidence = evidence(&drop.skb, reason(ctx));
    let sent = if evidence.is_none() {
        send(&drop)
    } else {
        send_with(ctx, &drop, &evidence)
    };
    if sent {
        counters::SUBMITTED
    } else {
        counters::RING_FULL
    }
}

/// What other hooks, or the packet itself, show about the drop. Plain words: an enum's unused parts would be
/// registers that nobody wrote, which verifiers refuse.
struct Evidence {
    /// A source-address check refused it.
    refused: bool,
    /// Netfilter dropped it, or may have.
    netfilter: bool,
    entry: ct_insert::Entry,
    trip: nfqueue::Trip,
}

impl Evidence {
    #[inline(always)]
    fn is_none(&self) -> bool {
        !self.refused && !self.netfilter
    }

    /// What tells this kind of drop from more usual ones at the same place.
    #[inline(always)]
    fn kind(&self) -> u32 {
        if self.refused {
            kind::RP_FILTER.into()
        } else if self.trip != nfqueue::NO_TRIP {
            kind::NFQUEUE.into()
        } else if self.entry.not_inserted() {
            kind::CT_INSERT.into()
        } else {
            0
        }
    }
}

#[inline(always)]
fn evidence<M: Mem>(skb: &Skb<M>, reason: u32) -> Evidence {
    let mut evidence = Evidence {
        refused: rp_filter::refused(skb, reason),
        netfilter: false,
        entry: ct_insert::Entry::NONE,
        trip: nfqueue::NO_TRIP,
    };
    // What a queue program sends to its death has no reason of its own, nor has anything before 5.17.
    if !evidence.refused
        && (reason == config(word::REASON_NETFILTER_DROP)
            || reason == config(word::REASON_NOT_SPECIFIED)
            || reason == 0)
    {
        evidence.netfilter = true;
        evidence.entry = ct_insert::entry(skb);
        evidence.trip = nfqueue::trip(skb);
    }
    evidence
}

/// The drop reason, 0 where the kernel gives none.
#[inline(always)]
fn reason<C: Call>(ctx: &C) -> u32 {
    if config(word::KFREE_SKB_ARGS) >= 3 {
        ctx.arg(2) as u32
    } else {
        0
    }
}

/// Reads what identifies the drop; `None` when it is no network packet.
#[inline(always)]
fn look<C: Call>(ctx: &C) -> Option<Drop<C>> {
    let args = config(word::KFREE_SKB_ARGS);
    let skb = Skb::<C::Mem>(Ptr::new(ctx.arg(0)));
    let location = ctx.arg(1);
    let reason = reason(ctx);
    let dev = skb.dev();
    let mut netns = skb::netns(dev.follow(Field::net_device_nd_net));
    let mut ifindex = 0;
    let mut flags = 0;
    let mut cookie = 0;
    if netns == 0 {
        // No device any more, or another thing in its place. A socket knows the namespace too.
        if skb.ethertype() == 0 {
            return None;
        }
        flags = flags::NETNS_OF_SOCKET;
        (netns, cookie) = of_socket(skb.sk());
        if netns == 0 && args >= 4 {
            (netns, cookie) = of_socket(Ptr::<C::Mem>::new(ctx.arg(3)));
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
        cookie,
    })
}

/// Inode number and cookie of a socket's namespace; 0 when unknown.
#[inline(always)]
fn of_socket<M: Mem>(sk: Ptr<M>) -> (u32, u64) {
    let Some(net) = skb::socket_net(sk) else {
        return (0, 0);
    };
    match skb::netns(net) {
        0 => (0, 0),
        inum => (inum, net.get(Field::net_cookie)),
    }
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
fn send_with<C: Call + EbpfContext>(ctx: &C, drop: &Drop<C>, evidence: &Evidence) -> bool {
    let Some(mut place) = emit::reserve::<WithEvidence>() else {
        return false;
    };
    let record = place.record();
    fill(&mut record.anchor, drop);
    let flow = &record.anchor.flow;
    let dev = (drop.ifindex != 0).then_some(drop.dev);
    rp_filter::fill(
        &mut record.rp_filter,
        &drop.skb,
        evidence.refused,
        dev,
        flow,
    );
    ct_insert::fill(&mut record.ct_insert, &evidence.entry);
    ct_insert::fill_clash(&mut record.ct_clash, &evidence.entry);
    nfqueue::fill(&mut record.nfqueue, &drop.skb, evidence.trip, flow);
    fill_stack(&mut record.stack, ctx, evidence.netfilter);
    place.submit();
    true
}

/// Fills a zeroed record. The headers are parsed in its own memory, which the verifier does not follow byte by byte:
/// on the stack every way through the parser would be another state to it.
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
    record.netns_cookie = drop.cookie();
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

/// Fills a zeroed record with the call chain, if it is wanted.
#[inline(always)]
fn fill_stack<C: EbpfContext>(record: &mut Stack, ctx: &C, wanted: bool) {
    if !wanted {
        record.header = Stack::absent();
        return;
    }
    record.header = Stack::header();
    // SAFETY: the context is this program's own; the helper writes at most the length given, which is the
    // field's.
    unsafe {
        bpf_get_stack(
            ctx.as_ptr(),
            (&raw mut record.frames).cast(),
            size_of_val(&record.frames) as u32,
            0,
        )
    };
}
