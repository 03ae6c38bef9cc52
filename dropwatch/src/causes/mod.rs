//! The root causes: one file each, holding all that is known of it, and the list.
//!
//! A cause judges plain data: a drop with its evidence, or an anomaly, and facts. It has no kernel, no clock and cannot
//! fail; a missing fact is an answer too ("unknown: …").

use crate::{
    attach::spec::Probe,
    correlate::{recent::Recent, view::View},
    facts::Followed,
    model::{
        anchor::{Anchor, Drop},
        coverage::Coverage,
        explanation::Explanation,
        tuple::Tuple,
    },
};

pub mod ipvs_conntrack;
pub mod nfqueue_mark;
pub mod rp_filter;
pub mod shell;
pub mod snat_race;

/// What makes two anchors the same case for a cause: a few numbers of its own choice.
pub type Subject = [u64; 5];

/// A cause's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Something else dropped it.
    NotMine,
    /// Facts are still being read: ask again when they are here.
    Wait,
    /// This is it.
    Mine(Box<Explanation>),
}

/// A root cause.
pub trait Cause: Sync {
    /// Stem: the id in JSON and on the command line, and the name of its file, scenario and page.
    fn id(&self) -> &'static str;

    /// The probes that give it facts, the drop anchor aside.
    fn probes(&self) -> &'static [&'static Probe];

    /// Why this run cannot judge it; `None` when it can.
    fn blind(&self, coverage: &Coverage) -> Option<String>;

    /// Whether an anchor may be of this cause, judged by itself and by what happened just before, and which
    /// case it belongs to.
    fn subject(&self, anchor: &Anchor, recent: &Recent) -> Option<Subject>;

    /// Further subjects that belong to a case which was just explained, since only the explanation told
    /// what the anchor alone did not.
    fn aliases(&self, _anchor: &Anchor, _explanation: &Explanation) -> Vec<Subject> {
        Vec::new()
    }

    /// Whether it wants connections followed.
    fn follows(&self) -> bool {
        false
    }

    /// The connection (original direction and conntrack zone) that lost a packet, to be followed until a later
    /// one gets through.
    fn follow(&self, _drop: &Drop) -> Option<(Tuple, u16)> {
        None
    }

    /// What a followed connection's fate means to its user, in words.
    fn followed(&self, _tuple: &Tuple, _outcome: &Followed) -> Option<String> {
        None
    }

    /// Judges an anchor for which [`Cause::subject`] gave a case.
    fn judge(&self, anchor: &Anchor, view: &View<'_>) -> Verdict;
}

/// All causes, in the order of judging.
pub const ALL: [&dyn Cause; 4] = [
    &rp_filter::RpFilter,
    &snat_race::SnatRace,
    &nfqueue_mark::NfqueueMark,
    &ipvs_conntrack::IpvsConntrack,
];

/// A number for a text, as part of a [`Subject`] (FNV-1a).
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, b| {
        (sum ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::coverage::ProbeStatus;

    #[test]
    fn every_cause_has_a_unique_stem_and_a_page() {
        let mut ids: Vec<_> = ALL.iter().map(|c| c.id()).collect();
        for id in &ids {
            assert!(
                id.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{id}"
            );
            let page = format!("{}/../docs/causes/{id}.md", env!("CARGO_MANIFEST_DIR"));
            assert!(std::path::Path::new(&page).is_file(), "{page} is missing");
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ALL.len());
    }

    /// Where the kernel hides its symbols, no place of a drop is known.
    #[test]
    fn who_needs_places_is_blind_without_symbols() {
        let probes = ALL.iter().flat_map(|cause| cause.probes());
        let attached = |probe: &&Probe| ProbeStatus {
            hook: probe.hook.into(),
            probe: probe.name.into(),
            symbol: String::new(),
            flavour: Some("fentry".into()),
            attached: true,
            why: None,
            awaits: None,
        };
        let seen = Coverage {
            probes: probes.map(attached).collect(),
            rp_filter_reason: true,
            ..Coverage::default()
        };
        let blind = |coverage: &Coverage| -> Vec<&str> {
            let of = ALL.iter().filter(|cause| cause.blind(coverage).is_some());
            of.map(|cause| cause.id()).collect()
        };
        assert!(blind(&seen).is_empty());
        let hidden = Coverage {
            symbols: false,
            ..seen
        };
        assert_eq!(blind(&hidden), ["snat_race", "nfqueue_mark"]);
    }
}
