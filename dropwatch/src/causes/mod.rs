//! The root causes: one folder each, holding all that is known of it, and the list.
//!
//! A cause judges plain data: a drop with its evidence, or an anomaly, and facts. It has no kernel, no clock and cannot
//! fail; a missing fact is an answer too ("unknown: …").

use crate::judge::Cause;

pub mod ipvs_conntrack;
pub mod nfqueue_mark;
pub mod none;
pub mod rp_filter;
pub mod shell;
pub mod snat_race;
pub mod source_check;

/// All causes, in the order of judging, the plain explanation last. Each call makes new ones: they have a memory.
#[must_use]
pub fn all() -> Vec<Box<dyn Cause>> {
    let mut causes = root();
    causes.push(Box::new(none::Plain));
    causes
}

/// The root causes alone.
#[must_use]
pub fn root() -> Vec<Box<dyn Cause>> {
    vec![
        Box::new(rp_filter::RpFilter),
        Box::new(snat_race::SnatRace),
        Box::new(nfqueue_mark::NfqueueMark),
        Box::new(ipvs_conntrack::IpvsConntrack::default()),
    ]
}

/// The last parts of the names of sysctls that they want watched.
#[must_use]
pub fn sysctls() -> Vec<&'static str> {
    let each = root();
    each.iter()
        .flat_map(|cause| cause.sysctls())
        .copied()
        .collect()
}

/// Their ids.
#[must_use]
pub fn ids() -> Vec<&'static str> {
    root().iter().map(|cause| cause.id()).collect()
}

/// The schemas of what each of them tells as `facts`, by id.
#[cfg(test)]
pub(crate) fn facts(
    generator: &mut schemars::SchemaGenerator,
) -> Vec<(&'static str, schemars::Schema)> {
    vec![
        (
            rp_filter::RpFilter.id(),
            generator.subschema_for::<rp_filter::facts::Facts<'_>>(),
        ),
        (
            snat_race::SnatRace.id(),
            generator.subschema_for::<snat_race::facts::Facts>(),
        ),
        (
            nfqueue_mark::NfqueueMark.id(),
            generator.subschema_for::<nfqueue_mark::facts::Facts>(),
        ),
        (
            ipvs_conntrack::IpvsConntrack::default().id(),
            generator.subschema_for::<ipvs_conntrack::facts::Facts>(),
        ),
        (
            none::Plain.id(),
            generator.subschema_for::<none::facts::Facts>(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attach::spec::Probe,
        model::coverage::{Coverage, ProbeStatus},
    };

    #[test]
    fn there_is_room_for_the_names_of_watched_sysctls() {
        let names = sysctls();
        assert!(names.len() <= dropwatch_common::config::SYSCTLS);
        for name in names {
            assert!(
                (1..16).contains(&name.len()) && !name.contains('.'),
                "{name}"
            );
        }
    }

    #[test]
    fn every_cause_has_a_unique_stem_and_a_page() {
        let mut ids = ids();
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
        assert_eq!(ids.len(), root().len());
    }

    /// Where the kernel hides its symbols, no place of a drop is known.
    #[test]
    fn who_needs_places_is_blind_without_symbols() {
        let causes = root();
        let probes = causes.iter().flat_map(|cause| cause.probes());
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
            let of = causes
                .iter()
                .filter(|cause| cause.blind(coverage).is_some());
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
