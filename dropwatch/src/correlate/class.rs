//! What a judgement depends on in a drop or anomaly: what has the same class is judged once, and counted for a while
//! where that judgement led.

use std::net::IpAddr;

use dropwatch_common::record::ct_insert::status;

use crate::{
    judge::Key,
    model::{
        anchor::{Anchor, Dev, Drop},
        evidence::{Clash, CtState, Insertion, SourceCheck},
        hook::Hook,
        packet::Packet,
        proto::Proto,
        tcp_flags::TcpFlags,
        tuple::Tuple,
    },
};

/// Longer than a packet on the usual wire: a GSO packet that stands for several.
const WIRE: u32 = 1514;

/// A class of anchors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// As a cause sees it: its index, and its own key.
    Of {
        /// Network namespace inode number.
        netns: u32,
        /// Index of the cause.
        cause: usize,
        /// The cause's key.
        key: Key,
    },
    /// Everything that a drop shows but what differs from packet to packet of a flow.
    Drop(Box<DropClass>),
}

impl Class {
    /// The namespace that it is about.
    #[must_use]
    pub fn netns(&self) -> u32 {
        match self {
            Self::Of { netns, .. } => *netns,
            Self::Drop(class) => class.netns,
        }
    }
}

/// [`Class::Drop`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DropClass {
    netns: u32,
    location: u64,
    reason: u32,
    dev: Option<Dev>,
    iif: u32,
    ethertype: u16,
    mark: u32,
    /// Longer than a packet on the wire.
    gso: bool,
    packet: Option<PacketClass>,
    source_check: Option<SourceCheck>,
    entry: Option<EntryClass>,
    clash: Option<Clash>,
    queue: Option<QueueClass>,
    stack: Vec<String>,
}

/// The headers that rules and sockets look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct PacketClass {
    l3: u8,
    proto: Proto,
    src: IpAddr,
    dst: IpAddr,
    /// `None` where no rule asks for it, too: every connection has another one.
    sport: Option<u16>,
    dport: Option<u16>,
    tcp_flags: Option<TcpFlags>,
    icmp: Option<(u8, u8)>,
    /// It had nowhere to go any more.
    expired: bool,
}

/// The packet's conntrack entry: with its tuples only where something is translated or it was not entered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct EntryClass {
    state: CtState,
    status: u32,
    zone: u16,
    tuples: Option<(Tuple, Tuple)>,
}

/// The way through a queue program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct QueueClass {
    hook: Option<Hook>,
    l3: u8,
    /// Queue and mark.
    queued: Option<(u16, u32)>,
    /// Mark, verdict and the program's process.
    back: Option<(u32, u32, u32)>,
    /// The task at the drop, which is the queue program's.
    task: u32,
}

impl DropClass {
    /// Of a drop; `ports` says whether source ports matter here.
    #[must_use]
    pub fn of(drop: &Drop, ports: bool) -> Self {
        let back = drop.queue.as_ref().and_then(|trip| trip.back.as_ref());
        Self {
            netns: drop.netns,
            location: drop.location.address,
            reason: drop.reason.number,
            dev: drop.dev.clone(),
            iif: drop.iif,
            ethertype: drop.ethertype,
            mark: drop.mark,
            gso: drop.len > WIRE,
            packet: drop.packet.as_ref().map(|packet| headers(packet, ports)),
            source_check: drop.source_check.clone(),
            entry: drop.insertion.as_ref().map(entry),
            clash: drop.clash.clone(),
            queue: drop.queue.as_ref().map(|trip| QueueClass {
                hook: trip.hook,
                l3: trip.l3,
                queued: trip.queued.as_ref().map(|q| (q.queue, q.mark)),
                back: back.map(|b| (b.mark, b.verdict, b.process.pid)),
                task: drop.task.pid,
            }),
            stack: drop.stack.clone(),
        }
    }
}

fn headers(packet: &Packet, ports: bool) -> PacketClass {
    let icmp = packet.icmp_type.zip(packet.icmp_code);
    // What stands in for the ports of an ICMP echo are none.
    let has_ports = icmp.is_none();
    PacketClass {
        l3: packet.l3,
        proto: packet.proto,
        src: packet.src,
        dst: packet.dst,
        sport: packet.sport.filter(|_| ports && has_ports),
        dport: packet.dport.filter(|_| has_ports),
        tcp_flags: packet.tcp_flags,
        icmp,
        expired: packet.ttl <= 1,
    }
}

fn entry(insertion: &Insertion) -> EntryClass {
    let translated = status::SRC_NAT | status::DST_NAT | status::SRC_NAT_DONE;
    let entered = insertion.status & status::CONFIRMED != 0;
    let plain = insertion.status & translated == 0 || entered;
    EntryClass {
        state: insertion.state,
        status: insertion.status,
        zone: insertion.zone,
        tuples: (!plain).then_some((insertion.original, insertion.reply)),
    }
}

/// The namespace of an anchor's class, and the class, unless a cause knows better.
#[must_use]
pub fn of_anchor(anchor: &Anchor, by_cause: Option<(usize, (u32, Key))>, ports: bool) -> Class {
    match (by_cause, anchor) {
        (Some((cause, (netns, key))), _) => Class::Of { netns, cause, key },
        (None, Anchor::Drop(drop)) => Class::Drop(Box::new(DropClass::of(drop, ports))),
        // No cause wants it: one class for all of a namespace.
        (None, Anchor::IpvsReply(_)) => Class::Of {
            netns: anchor.netns(),
            cause: usize::MAX,
            key: Key::of(()),
        },
    }
}
