//! `snat_race`: two connections were given the same translated tuple, and the later one's packet was lost.
//!
//! Source translation picks a port that no *confirmed* entry uses; two first packets at the same time can be
//! given the same one. The first is confirmed; the second is refused in `__nf_conntrack_confirm`
//! (net/netfilter/nf_conntrack_core.c, 5.10 to 7.2) and dropped by `nf_hook_slow` like by any rule.
//!
//! Mine is only a packet that carries an entry which is new, source-translated and not confirmed, was freed
//! where no rule drops any more, whose translated tuple is held by *another* connection, and of which something
//! proves that the port was free when it was chosen (`weigh`). A range that is proven to be used up is explained
//! as that, and what is neither as what is not known, like the other reasons for which conntrack refuses packets
//! (`plain::plain`).

use std::net::IpAddr;

use dropwatch_common::record::ct_insert::status;

use crate::{
    attach::spec::{self, Probe},
    facts::Followed,
    judge::{Answer, Cause, Judgement, Key, View, Words},
    model::{
        anchor::{Anchor, Drop},
        coverage::Coverage,
        evidence::Insertion,
        tuple::Tuple,
    },
};

mod age;
mod case;
pub(super) mod facts;
mod fixes;
mod plain;
mod ports;
mod refusal;
mod rule;
mod table;
mod text;
mod weigh;

/// The cause.
pub struct SnatRace;

/// The entry of a packet that may have lost the race: its source is translated, and it was not entered.
fn candidate(drop: &Drop) -> Option<&Insertion> {
    refusal::not_entered(drop).filter(|i| i.status & status::SRC_NAT != 0)
}

/// All that leaves by the same translated address for the same service, and of which the drop itself shows the same that
/// the verdict hangs on: what may be a race for one may be a used-up range for another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Translated {
    proto: u8,
    server: (IpAddr, u16),
    address: IpAddr,
    /// Bits that tell an old connection from a new one, of the one in the way; `None` where that was not seen.
    winner: Option<u32>,
    /// Whether the connection was given its own port.
    kept: bool,
    /// Whether a queue program had the packet.
    queued: bool,
}

impl Translated {
    fn of(drop: &Drop) -> Option<Self> {
        let insertion = candidate(drop)?;
        let translated = &insertion.reply;
        let telling = status::ASSURED | status::SEEN_REPLY;
        Some(Self {
            proto: translated.proto,
            server: (translated.src, translated.sport),
            address: translated.dst,
            winner: drop.clash.as_ref().map(|clash| clash.status & telling),
            kept: translated.dport == insertion.original.sport,
            queued: drop.queue.is_some(),
        })
    }
}

impl Cause for SnatRace {
    fn id(&self) -> &'static str {
        "snat_race"
    }

    fn probes(&self) -> &'static [&'static Probe] {
        &[&spec::CLASH]
    }

    fn blind(&self, coverage: &Coverage) -> Option<String> {
        // What it cannot do without hangs on the packet that the drop anchor sees; the kernel's own clash path
        // adds the winner.
        coverage.no_places()
    }

    fn class(&self, anchor: &Anchor) -> Option<(u32, Key)> {
        let translated = Translated::of(anchor.drop()?)?;
        Some((anchor.netns(), Key::of(translated)))
    }

    fn words(&self, drop: &Drop, view: &View<'_>) -> Option<Words> {
        plain::plain(drop, view)
    }

    fn follows(&self) -> bool {
        true
    }

    fn follow(&self, drop: &Drop) -> Option<(Tuple, u16)> {
        let insertion = candidate(drop)?;
        Some((insertion.original, insertion.zone))
    }

    fn followed(&self, tuple: &Tuple, outcome: &Followed) -> Option<String> {
        Some(text::followed(tuple, outcome))
    }

    fn judge(&self, anchor: &Anchor, view: &View<'_>) -> Judgement {
        let mut mine = anchor
            .drop()
            .filter(|drop| candidate(drop).is_some())
            .into_iter();
        let Some(case) = mine.find_map(|drop| case::Case::read(drop, view)) else {
            return if view.pending() {
                Judgement::Wait
            } else {
                Judgement::NotMine
            };
        };
        if view.pending() {
            return Judgement::Wait;
        }
        Judgement::Mine(Box::new(Answer {
            key: case.key(),
            explanation: case.explain(view.unknown()),
            counted: None,
            family: None,
        }))
    }
}
