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

use super::{Cause, Subject, Verdict, hash};
use crate::{
    attach::spec::{self, Probe},
    correlate::{recent::Recent, view::View},
    model::{anchor::Anchor, coverage::Coverage, ipvs::IpvsReply},
};

mod case;
mod fixes;
mod text;

/// The sysctl that decides.
pub const SYSCTL: &str = "net.ipv4.vs.conntrack";

/// The cause.
pub struct IpvsConntrack;

impl Cause for IpvsConntrack {
    fn id(&self) -> &'static str {
        "ipvs_conntrack"
    }

    fn probes(&self) -> &'static [&'static Probe] {
        &[&spec::IPVS_XMIT, &spec::IPVS_RESPONSE]
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

    fn subject(&self, anchor: &Anchor, recent: &Recent) -> Option<Subject> {
        match anchor {
            Anchor::IpvsReply(reply) => Some(subject(reply, recent)),
            Anchor::Drop(drop) => Some(subject(recent.reply_of(drop)?, recent)),
        }
    }

    fn judge(&self, anchor: &Anchor, view: &View<'_>) -> Verdict {
        let Anchor::IpvsReply(reply) = anchor else {
            // A drop finds its anomaly's case; if that was too much for the table of cases, it is a plain drop.
            return Verdict::NotMine;
        };
        let case = case::Case::read(reply, view);
        if view.pending() {
            return Verdict::Wait;
        }
        Verdict::Mine(Box::new(case.explain(view.unknown())))
    }
}

/// One case for all that ask the same and are served by the same; another one once the sysctl was set, for what
/// is still wrong then has another reason.
fn subject(reply: &IpvsReply, recent: &Recent) -> Subject {
    let (asked, service) = (&reply.asked, &reply.connection.service);
    [
        u64::from(reply.netns),
        u64::from(asked.proto) << 32 | u64::from(asked.dport) << 16 | u64::from(service.port),
        hash(&asked.dst.to_string()),
        hash(&service.addr.to_string()),
        u64::from(recent.was_set(reply.netns, reply.time_ns)),
    ]
}
