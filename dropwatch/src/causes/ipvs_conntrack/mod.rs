//! `ipvs_conntrack`: IPVS threw away the conntrack entry that a translation before it needs.
//!
//! DNAT or REDIRECT changes what the client asked for into the address of an IPVS service. With
//! `net.ipv4.vs.conntrack = 0`, the default, IPVS detaches the packet's conntrack entry (`ip_vs_notrack`,
//! net/netfilter/ipvs/ip_vs_xmit.c, 5.10 to 7.2), and with it the way back: the reply leaves with the service's
//! address, the client knows no such connection and answers with a reset.
//!
//! Nothing is dropped where the mistake is made, so the anchor is the reply itself. Mine is only a reply of a
//! connection whose entry was seen with a destination translation on it when it was detached. The drop that the
//! reply meets, at a client on the same machine, belongs to it.

use std::net::IpAddr;

use self::memory::Memory;
use crate::{
    attach::spec::{self, Probe},
    event::Event,
    judge::{Answer, Cause, Judgement, Key, View},
    model::{
        anchor::Anchor,
        coverage::Coverage,
        ipvs::{Endpoint, IpvsReply},
    },
};

mod case;
pub(super) mod facts;
mod fixes;
mod memory;
mod text;

/// The sysctl that decides.
pub const SYSCTL: &str = "net.ipv4.vs.conntrack";

/// The cause.
#[derive(Default)]
pub struct IpvsConntrack {
    memory: Memory,
}

impl Cause for IpvsConntrack {
    fn id(&self) -> &'static str {
        "ipvs_conntrack"
    }

    fn probes(&self) -> &'static [&'static Probe] {
        &[&spec::IPVS_XMIT, &spec::IPVS_RESPONSE]
    }

    fn sysctls(&self) -> &'static [&'static str] {
        // Of [`SYSCTL`].
        &["conntrack"]
    }

    fn blind(&self, coverage: &Coverage) -> Option<String> {
        let mut needed = self.probes().iter();
        let missing = needed.find(|p| !coverage.will_see(p.name))?;
        let why = coverage.status(missing.name).and_then(|p| p.why.as_ref());
        Some(format!(
            "IPVS cannot be watched here ({})",
            why.map_or("unknown", String::as_str)
        ))
    }

    fn observe(&mut self, event: &Event) {
        match event {
            Event::IpvsReply(reply) => self.memory.replied((**reply).clone()),
            Event::IpvsReset(reset) => self.memory.reset(reset.clone()),
            Event::Drop(drop) => self.memory.dropped(drop),
            Event::SysctlWrite(write) if write.key == SYSCTL => {
                let on = write.new != "0";
                self.memory.switched(write.netns, write.time_ns, on);
            }
            _ => {}
        }
    }

    fn expire(&mut self, now_ns: u64) {
        self.memory.expire(now_ns);
    }

    fn class(&self, anchor: &Anchor) -> Option<(u32, Key)> {
        let reply = match anchor {
            Anchor::IpvsReply(reply) => reply,
            Anchor::Drop(drop) => self.memory.reply_of(drop)?,
        };
        Some((reply.netns, Key::of(self.same(reply))))
    }

    fn judge(&self, anchor: &Anchor, view: &View<'_>) -> Judgement {
        let Anchor::IpvsReply(reply) = anchor else {
            // A drop that belongs to a reply has that reply's class, and with it its case.
            return Judgement::NotMine;
        };
        let case = case::Case::read(reply, &self.memory, view);
        if view.pending() {
            return Judgement::Wait;
        }
        Judgement::Mine(Box::new(Answer {
            key: Key::of((self.same(reply), case.older_entry())),
            explanation: case.explain(view.unknown()),
            counted: None,
            family: None,
        }))
    }
}

/// All that ask the same and are served by the same, before or after the sysctl was set: what is still wrong then has
/// another reason.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Same {
    proto: u8,
    asked: (IpAddr, u16),
    service: Endpoint,
    set: bool,
}

impl IpvsConntrack {
    fn same(&self, reply: &IpvsReply) -> Same {
        let asked = &reply.asked;
        Same {
            proto: asked.proto,
            asked: (asked.dst, asked.dport),
            service: reply.connection.service,
            set: self.memory.was_set(reply.netns, reply.time_ns),
        }
    }
}
