//! The scenarios: one list, one file per subject.
//!
//! A *scenario* has a cause that must be named; a *twin* is the same network configured right and a
//! *decoy* loses packets for another reason: neither may be blamed.

use anyhow::Result;

use crate::lab::Lab;

mod decoys;
pub mod each_kernel;
mod flavours;
mod grouping;
mod hooks;
pub mod ipvs_conntrack;
mod martians;
mod netfilter;
pub mod nfqueue_mark;
mod ordinary;
mod overflow;
mod robustness;
mod routes;
pub mod rp_filter;
pub mod rules;
mod selection;
pub mod snat_race;
mod together;

/// What sort of scenario it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A cause must be named, with all its facts, and the advice must work.
    Scenario,
    /// Nothing is wrong: nothing may be blamed.
    Twin,
    /// Something else is wrong: the cause may not be blamed.
    Decoy,
}

impl Kind {
    /// As it stands in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scenario => "scenario",
            Self::Twin => "twin",
            Self::Decoy => "decoy",
        }
    }
}

/// A scenario.
#[derive(Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Its sort.
    pub kind: Kind,
    /// What happens in it, in a few words.
    pub about: &'static str,
    /// Plays it; an error is a failure, or a skip when it is a [`crate::lab::Skip`].
    pub run: fn(&Lab) -> Result<()>,
}

/// All scenarios by what they belong to, a cause or another subject, in the order they are played.
const GROUPS: &[(&str, &[&[Scenario]])] = &[
    (
        rp_filter::CAUSE,
        &[
            rp_filter::SCENARIOS,
            rp_filter::paths::SCENARIOS,
            rp_filter::special::SCENARIOS,
            rp_filter::twins::SCENARIOS,
        ],
    ),
    (
        "other_drops",
        &[
            decoys::SCENARIOS,
            grouping::SCENARIOS,
            netfilter::SCENARIOS,
            martians::SCENARIOS,
            routes::SCENARIOS,
            ordinary::SCENARIOS,
        ],
    ),
    ("hooks", &[hooks::SCENARIOS, flavours::SCENARIOS]),
    (
        "robustness",
        &[
            robustness::SCENARIOS,
            overflow::SCENARIOS,
            selection::SCENARIOS,
        ],
    ),
    (
        snat_race::CAUSE,
        &[
            snat_race::SCENARIOS,
            snat_race::fates::SCENARIOS,
            snat_race::many_rules::SCENARIOS,
            snat_race::twins::SCENARIOS,
            snat_race::decoys::SCENARIOS,
        ],
    ),
    (
        nfqueue_mark::CAUSE,
        &[
            nfqueue_mark::SCENARIOS,
            nfqueue_mark::twins::SCENARIOS,
            nfqueue_mark::decoys::SCENARIOS,
        ],
    ),
    (
        ipvs_conntrack::CAUSE,
        &[
            ipvs_conntrack::SCENARIOS,
            ipvs_conntrack::special::SCENARIOS,
            ipvs_conntrack::twins::SCENARIOS,
            ipvs_conntrack::decoys::SCENARIOS,
        ],
    ),
    ("several_causes", &[together::SCENARIOS]),
];

/// All scenarios, in the order they are played.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    GROUPS
        .iter()
        .flat_map(|(_, lists)| lists.iter().copied().flatten())
}

/// What a scenario belongs to.
pub fn group(scenario: &Scenario) -> &'static str {
    let in_lists = |lists: &[&[Scenario]]| {
        let mut all = lists.iter().copied().flatten();
        all.any(|other| other.name == scenario.name)
    };
    GROUPS
        .iter()
        .find(|(_, lists)| in_lists(lists))
        .map_or("", |(group, _)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_plain() {
        let mut names: Vec<&str> = all().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(before, names.len(), "a name twice");
        for name in names {
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
            );
        }
    }

    #[test]
    fn kinds_show_in_names() {
        for scenario in all() {
            let shown = match scenario.name {
                name if name.starts_with("twin_") => Kind::Twin,
                name if name.starts_with("decoy_") => Kind::Decoy,
                _ => Kind::Scenario,
            };
            assert_eq!(shown, scenario.kind, "{}", scenario.name);
        }
    }
}
