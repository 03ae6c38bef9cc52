//! `snat_race`: two connections were given the same translated tuple, and the later one's packet was lost.
//!
//! Source translation picks a port that no *confirmed* entry uses; two first packets at the same time can be
//! given the same one. The first is confirmed; the second is refused in `__nf_conntrack_confirm`
//! (net/netfilter/nf_conntrack_core.c, 5.10 to 7.2) and dropped by `nf_hook_slow` like by any rule.
//!
//! Mine is only a packet that carries an entry which is new, source-translated and not confirmed, was freed
//! where no rule drops any more, and whose translated tuple is held by *another* connection. A holder that
//! is no newcomer means that the port range is used up: explained as that, not as a race, like the other
//! reasons for which conntrack refuses packets ([`plain()`]).

use std::net::IpAddr;

use dropwatch_common::record::ct_insert::status;

use super::{Cause, Subject, Verdict};
use crate::{
    attach::spec::{self, Probe},
    correlate::{recent::Recent, view::View},
    facts::Followed,
    model::{
        anchor::{Anchor, Drop},
        coverage::Coverage,
        evidence::Insertion,
        tuple::Tuple,
    },
};

mod case;
mod fixes;
mod plain;
mod refusal;
mod text;

pub use plain::{Refused, plain, subject as plain_subject};

/// The cause.
pub struct SnatRace;

/// The entry of a packet that may have lost the race: its source is translated, and it was not entered.
fn candidate(drop: &Drop) -> Option<&Insertion> {
    refusal::not_entered(drop).filter(|i| i.status & status::SRC_NAT != 0)
}

/// A few bytes of an address: what tells cases apart are numbers.
fn hash(address: &IpAddr) -> u64 {
    address
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, b| {
            (sum ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        })
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

    fn subject(&self, anchor: &Anchor, _recent: &Recent) -> Option<Subject> {
        let drop = anchor.drop()?;
        let insertion = candidate(drop)?;
        // One case for all that leaves by the same translated address for the same service.
        let translated = &insertion.reply;
        Some([
            u64::from(drop.netns),
            u64::from(translated.proto) << 16 | u64::from(translated.sport),
            hash(&translated.src),
            hash(&translated.dst),
            // An old connection in the way is exhaustion, a new one a race: the first must not speak for both.
            drop.clash
                .as_ref()
                .map_or(0, |clash| 1 + u64::from(clash.status & status::ASSURED)),
        ])
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

    fn judge(&self, anchor: &Anchor, view: &View<'_>) -> Verdict {
        let Some(case) = anchor.drop().and_then(|drop| case::Case::read(drop, view)) else {
            return if view.pending() {
                Verdict::Wait
            } else {
                Verdict::NotMine
            };
        };
        if view.pending() {
            return Verdict::Wait;
        }
        Verdict::Mine(Box::new(case.explain(view.unknown())))
    }
}
