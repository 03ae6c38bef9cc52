//! `snat_race`: two connections were given the same translated tuple, and the later one's packet was lost.
//!
//! Source translation picks a port that no *confirmed* entry uses; two first packets at the same time can be
//! given the same one. The first is confirmed; the second is refused in `__nf_conntrack_confirm`
//! (net/netfilter/nf_conntrack_core.c, 5.10 to 7.2) and dropped by `nf_hook_slow` like by any rule.
//!
//! Mine is only a packet that carries an entry which is new, source-translated and not confirmed, was freed
//! where no rule drops any more, and whose translated tuple is held by *another* connection. A holder that
//! is no newcomer means that the port range is used up: explained as that, not as a race.

use super::{Cause, Subject, Verdict};
use crate::{
    correlate::{recent::Recent, view::View},
    model::{anchor::Anchor, coverage::Coverage},
};

mod case;
mod fixes;
mod text;

pub use case::other;

/// The cause.
pub struct SnatRace;

impl Cause for SnatRace {
    fn id(&self) -> &'static str {
        "snat_race"
    }

    fn blind(&self, _coverage: &Coverage) -> Option<String> {
        // Everything it needs hangs on the packet that the drop anchor sees.
        None
    }

    fn subject(&self, anchor: &Anchor, _recent: &Recent) -> Option<Subject> {
        let drop = anchor.drop()?;
        let insertion = drop
            .insertion
            .as_ref()
            .filter(|_| case::refused_at_the_end(drop))?;
        // One case for all that leaves by the same translated address for the same service.
        let hash = |text: String| {
            text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, b| {
                (sum ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
            })
        };
        let translated = &insertion.reply;
        Some([
            u64::from(drop.netns),
            u64::from(translated.proto) << 16 | u64::from(translated.sport),
            hash(translated.src.to_string()),
            hash(translated.dst.to_string()),
            0,
        ])
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
