//! IPVS detaches the conntrack entry that a destination translation before it needs.
//!
//! `ip_vs_nat_xmit` (net/netfilter/ipvs/ip_vs_xmit.c, 5.10 to 7.2) sends a client's packet on to the real server.
//! Unless the connection has IP_VS_CONN_F_NFCT, the packet's conntrack entry is put there; if that entry
//! holds a destination translation (DNAT, REDIRECT), the way back is lost. `handle_response` (ip_vs_core.c)
//! then writes the service's address into the real server's reply, and not what the client had asked for:
//! the mistake itself. The client's reset comes by `ip_vs_nat_xmit` again, for the service's own port.
//! Both run for every packet of masquerading IPVS, and do next to nothing for connections in order.

use core::mem::MaybeUninit;

use aya_ebpf::{
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns},
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use dropwatch_common::{
    config::{live, word},
    counters,
    fields::Field,
    flow::Flow,
    record::{
        Section,
        ct_insert::status,
        ipvs::{Ipvs, event, flag},
    },
};

use super::ct_insert;
use crate::{
    call::Call,
    emit,
    kread::{self, Mem, Probe, Ptr},
    maps::{self, DETACHED, Detached, config, count},
    parse,
    skb::{self, Skb},
};

const TCP: u8 = 6;
/// TCP's RST.
const RST: u8 = 0x04;
/// `NF_INET_LOCAL_IN`: where IPVS takes packets, as of 5.10 to 7.2 but for local clients.
const LOCAL_IN: u32 = 1;

/// `ip_vs_nat_xmit(skb, cp, pp, ipvsh)`, 5.10 to 7.2.
#[fentry(function = "ip_vs_nat_xmit")]
pub fn ipvs_xmit_fentry(ctx: FEntryContext) -> i32 {
    sent_on(&ctx);
    0
}

/// The same where trampolines are refused, or modules have no BTF (5.10).
#[kprobe(function = "ip_vs_nat_xmit")]
pub fn ipvs_xmit_kprobe(ctx: ProbeContext) -> u32 {
    sent_on(&ctx);
    0
}

/// `ip_vs_nat_xmit_v6`: the same for IPv6.
#[fentry(function = "ip_vs_nat_xmit_v6")]
pub fn ipvs_xmit6_fentry(ctx: FEntryContext) -> i32 {
    sent_on(&ctx);
    0
}

/// As above.
#[kprobe(function = "ip_vs_nat_xmit_v6")]
pub fn ipvs_xmit6_kprobe(ctx: ProbeContext) -> u32 {
    sent_on(&ctx);
    0
}

/// `handle_response(af, skb, pd, cp, iph, hooknum)`, 5.10 to 7.2.
#[fentry(function = "handle_response")]
pub fn ipvs_response_fentry(ctx: FEntryContext) -> i32 {
    replied(&ctx);
    0
}

/// As above.
#[kprobe(function = "handle_response")]
pub fn ipvs_response_kprobe(ctx: ProbeContext) -> u32 {
    replied(&ctx);
    0
}

/// A client's packet is sent to the real server.
#[inline(always)]
fn sent_on<C: Call>(ctx: &C) {
    let cp = Ptr::<C::Mem>::new(ctx.arg(1));
    let flags: u32 = cp.get(Field::ip_vs_conn_flags);
    if flags & flag::NFCT != 0 {
        return;
    }
    let skb = Skb::<C::Mem>(Ptr::new(ctx.arg(0)));
    let entry = ct_insert::entry(&skb);
    if entry.status() & status::DST_NAT != 0 {
        detached(cp, &entry);
    } else if maps::live(live::DETACHED) == 1 {
        reset(&skb, cp);
    }
}

/// Remembers what the client had asked for.
#[inline(always)]
fn detached<M: Mem>(cp: Ptr<M>, entry: &ct_insert::Entry) {
    let ports = ports(cp);
    if let Some(slot) = DETACHED.get_ptr_mut(cp.id()) {
        // SAFETY: a live slot; a race with another CPU at worst sends an event twice.
        if unsafe { (*slot).ports } == ports {
            return;
        }
    }
    let mut place = MaybeUninit::<Detached>::uninit();
    let known = kread::zero(&mut place);
    known.ports = ports;
    known.status = entry.status();
    entry.original(&mut known.asked);
    if DETACHED.insert(cp.id(), &*known, 0).is_err() {
        count(counters::IPVS_STASH_FAILED);
        return;
    }
    maps::set_live(live::DETACHED, 1);
}

/// Ports and the client's first address bytes: connections that get a recycled address differ in them.
#[inline(always)]
fn ports<M: Mem>(cp: Ptr<M>) -> [u32; 3] {
    let port = |field| u32::from(cp.get::<u16>(field));
    [
        port(Field::ip_vs_conn_cport) << 16 | port(Field::ip_vs_conn_vport),
        port(Field::ip_vs_conn_dport),
        cp.get(Field::ip_vs_conn_caddr),
    ]
}

/// A client's packet for the service's own port, of a connection that was answered wrongly.
#[inline(always)]
fn reset<M: Mem>(skb: &Skb<M>, cp: Ptr<M>) {
    let Some(slot) = DETACHED.get_ptr_mut(cp.id()) else {
        return;
    };
    let mut place = MaybeUninit::<Parsed>::uninit();
    let flow = parse(skb, &mut place);
    if flow.l4 != TCP || flow.tcp_flags & RST == 0 {
        return;
    }
    tell(slot, event::RESET, skb, cp, LOCAL_IN, flow);
}

/// Headers, in whole words.
#[repr(C, align(8))]
struct Parsed(Flow);

// SAFETY: integers only, without padding, as the assertion says.
unsafe impl kread::Words for Parsed {}
const _: () = assert!(size_of::<Parsed>() == size_of::<Flow>());

#[inline(always)]
fn parse<'a, M: Mem>(skb: &Skb<M>, place: &'a mut MaybeUninit<Parsed>) -> &'a Flow {
    let Parsed(flow) = kread::zero(place);
    parse::flow(skb.ethertype(), skb.network_header(), flow);
    flow
}

/// A real server's reply is given the service's address.
#[inline(always)]
fn replied<C: Call>(ctx: &C) {
    if maps::live(live::DETACHED) != 1 {
        return;
    }
    let cp = Ptr::<C::Mem>::new(ctx.arg(3));
    let Some(slot) = DETACHED.get_ptr_mut(cp.id()) else {
        return;
    };
    let flags: u32 = cp.get(Field::ip_vs_conn_flags);
    if flags & flag::NFCT != 0 {
        return;
    }
    let skb = Skb::<C::Mem>(Ptr::new(ctx.arg(1)));
    let mut place = MaybeUninit::<Parsed>::uninit();
    let flow = parse(&skb, &mut place);
    tell(slot, event::REPLY, &skb, cp, ctx.arg(5) as u32, flow);
}

/// Namespace of the connection: what it says itself, or what the packet's device does where the structure is not
/// known (5.10).
#[inline(always)]
fn netns<M: Mem>(skb: &Skb<M>, cp: Ptr<M>) -> u32 {
    let own = skb::netns(
        cp.follow(Field::ip_vs_conn_ipvs)
            .follow(Field::netns_ipvs_net),
    );
    match own {
        0 => match skb::netns(skb.dev().follow(Field::net_device_nd_net)) {
            0 => skb::socket_net(skb.sk()).map_or(0, skb::netns),
            netns => netns,
        },
        netns => netns,
    }
}

/// Counts every one; sends on the first of its kind of each connection.
#[inline(always)]
fn tell<M: Mem>(slot: *mut Detached, event: u32, skb: &Skb<M>, cp: Ptr<M>, hook: u32, flow: &Flow) {
    // SAFETY: a live slot of the map, whose words are read and written whole; two CPUs at once can at worst send
    // an event twice.
    let known = unsafe { &mut *slot };
    if known.ports != ports(cp) {
        return;
    }
    let netns = netns(skb, cp);
    let wanted = config(word::NETNS);
    if wanted != 0 && wanted != netns {
        return;
    }
    count(counters::IPVS_SEEN);
    if known.told & event != 0 {
        return;
    }
    // Without room the next one of the connection is told.
    let Some(mut place) = emit::reserve::<Ipvs>() else {
        count(counters::IPVS_RING_FULL);
        return;
    };
    known.told |= event;
    let record = place.record();
    record.header = Ipvs::header();
    // SAFETY: helpers without preconditions.
    unsafe {
        record.time_ns = bpf_ktime_get_ns();
        record.cpu = bpf_get_smp_processor_id();
    }
    record.netns = netns;
    record.event = event;
    record.flags = cp.get(Field::ip_vs_conn_flags);
    record.fwmark = cp.get(Field::ip_vs_conn_fwmark);
    record.hook = hook;
    record.af = cp.get::<u8>(Field::ip_vs_conn_af).into();
    record.protocol = cp.get::<u8>(Field::ip_vs_conn_protocol).into();
    record.cport = u16::from_be(cp.get(Field::ip_vs_conn_cport));
    record.vport = u16::from_be(cp.get(Field::ip_vs_conn_vport));
    record.dport = u16::from_be(cp.get(Field::ip_vs_conn_dport));
    for (field, to) in [
        (Field::ip_vs_conn_caddr, &mut record.caddr),
        (Field::ip_vs_conn_vaddr, &mut record.vaddr),
        (Field::ip_vs_conn_daddr, &mut record.daddr),
    ] {
        if let Some(from) = Ptr::<Probe>::new(cp.id()).address(field, 0) {
            kread::probe(from.raw(), to.as_mut_ptr(), 16);
        }
    }
    kread::copy(&known.asked, &mut record.asked);
    record.status = known.status;
    record.mark = skb.mark();
    record.flow = *flow;
    place.submit();
    count(counters::IPVS_SUBMITTED);
}
