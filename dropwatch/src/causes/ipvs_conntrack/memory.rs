//! What happened just before: events that later ones belong to. Bounded, and forgotten after a while.

use std::collections::VecDeque;

use crate::model::{
    anchor::Drop,
    ipvs::{Endpoint, IpvsConnection, IpvsReply, IpvsReset},
    proto::Proto,
    tcp_flags::TcpFlags,
};

/// Most events of a kind that are remembered.
const MOST: usize = 4096;

/// How long an event is remembered.
const MEMORY_NS: u64 = 10_000_000_000;

/// How long after a wrong reply a drop can be that reply's or its reset's: both follow at once.
const LINK_WITHIN_NS: u64 = 1_000_000_000;

/// The last events.
#[derive(Debug, Default)]
pub struct Memory {
    replies: VecDeque<IpvsReply>,
    resets: VecDeque<IpvsReset>,
    /// Drops that belong to a reply.
    linked: VecDeque<Drop>,
    /// Writes of `net.ipv4.vs.conntrack`: namespace, time, whether it was switched on. Never too old.
    switches: VecDeque<(u32, u64, bool)>,
}

impl Memory {
    /// Remembers a reply that left IPVS from the wrong place.
    pub fn replied(&mut self, reply: IpvsReply) {
        push(&mut self.replies, reply);
    }

    /// Remembers a client's reset.
    pub fn reset(&mut self, reset: IpvsReset) {
        push(&mut self.resets, reset);
    }

    /// Remembers a drop, if it belongs to a reply.
    pub fn dropped(&mut self, drop: &Drop) {
        if !self.replies.is_empty() && self.reply_of(drop).is_some() {
            push(&mut self.linked, drop.clone());
        }
    }

    /// Remembers that IPVS's use of conntrack was switched.
    pub fn switched(&mut self, netns: u32, time_ns: u64, on: bool) {
        push(&mut self.switches, (netns, time_ns, on));
    }

    /// Whether it was switched on before a time, as far as that was seen.
    pub fn was_set(&self, netns: u32, time_ns: u64) -> bool {
        let mut before = self.switches.iter().rev();
        before
            .find(|(of, at, _)| *of == netns && *at <= time_ns)
            .is_some_and(|(.., on)| *on)
    }

    /// The wrong reply that a drop belongs to: the reply itself on its way to the client, or the client's reset on
    /// its way to the real server. The latest one.
    pub fn reply_of(&self, drop: &Drop) -> Option<&IpvsReply> {
        let packet = drop.packet.as_ref()?;
        let goes = |from: Endpoint, to: Endpoint| {
            (packet.src, packet.dst) == (from.addr, to.addr)
                && (packet.sport, packet.dport) == (Some(from.port), Some(to.port))
        };
        let reset = packet
            .tcp_flags
            .is_some_and(|flags| flags.has(TcpFlags::RST));
        self.replies.iter().rev().find(|reply| {
            let c = &reply.connection;
            (reply.time_ns..reply.time_ns.saturating_add(LINK_WITHIN_NS)).contains(&drop.time_ns)
                && packet.proto == Proto(c.proto)
                && (goes(c.service, c.client) || reset && goes(c.client, c.real_server))
        })
    }

    /// The client's reset of a connection, after a time.
    pub fn reset_of(&self, connection: &IpvsConnection, from_ns: u64) -> Option<&IpvsReset> {
        self.resets.iter().find(|reset| {
            let c = &reset.connection;
            reset.time_ns >= from_ns
                && (c.client, c.service, c.proto)
                    == (connection.client, connection.service, connection.proto)
        })
    }

    /// The drop of a connection's reply at its client, the first one.
    pub fn drop_at_client(&self, connection: &IpvsConnection) -> Option<&Drop> {
        self.linked.iter().find(|drop| {
            drop.packet.as_ref().is_some_and(|p| {
                (p.dst, p.dport) == (connection.client.addr, Some(connection.client.port))
            })
        })
    }

    /// Forgets what is too old to be followed by anything.
    pub fn expire(&mut self, now_ns: u64) {
        let old = |time_ns: u64| time_ns.saturating_add(MEMORY_NS) < now_ns;
        self.replies.retain(|r| !old(r.time_ns));
        self.resets.retain(|r| !old(r.time_ns));
        self.linked.retain(|d| !old(d.time_ns));
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == MOST {
        queue.pop_front();
    }
    queue.push_back(item);
}
