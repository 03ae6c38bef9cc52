//! The tables are well-formed, and every thing in them can be found.

use super::*;
use crate::{
    model::anchor::tests::drop,
    reasons::{explain, hint, location_hint},
};

fn things() -> impl Iterator<Item = &'static Thing> {
    TABLES.iter().copied().flatten()
}

#[test]
fn words_are_well_formed() {
    for thing in things() {
        let Thing { what, look, .. } = thing;
        for text in [what, look] {
            assert!(text.ends_with(['.', '?']), "{text}");
            assert!(!text.contains("  ") && text.is_ascii(), "{text}");
            assert!(text.len() < 450, "too long: {}: {text}", text.len());
        }
        assert!(!what.contains('`'), "commands belong to the look: {what}");
        assert_eq!(look.matches('`').count() % 2, 0, "{look}");
        // Alternatives are called alternatives, and what is normal has none.
        let open = what.contains("not evaluated");
        if what.contains("either ") || what.contains("Either ") || what.contains("Often normal") {
            assert!(open || what.contains("Often normal"), "{what}");
        }
        if thing.class == Class::Normal {
            assert!(!open && !what.contains("ften normal"), "{what}");
        }
    }
}

#[test]
fn looks_have_no_holes() {
    for thing in things() {
        for values in [
            hint::Values::default(),
            hint::Values {
                dev: Some("eth0"),
                iif: Some("eth0"),
                ..hint::Values::default()
            },
        ] {
            let printed = hint::fill(thing.look, &values);
            assert!(!printed.contains(['{', '}', '[', ']']), "{printed}");
        }
    }
}

/// No table hides an entry of another one, or of its own, wholly.
#[test]
fn everything_in_the_tables_can_be_said() {
    let mut taken: Vec<(&str, &str)> = Vec::new();
    for thing in things() {
        for (reason, place) in thing.shown {
            let hidden = taken
                .iter()
                .any(|(r, p)| r == reason && (*p == ANYWHERE || p == place));
            assert!(!hidden, "{reason} in {place} is never reached");
            assert!(*reason == SILENT || explain(reason).is_some(), "{reason}");
        }
        if std::ptr::fn_addr_eq(thing.only, always as fn(&Drop) -> bool) {
            taken.extend(thing.shown);
        }
    }
    for (reason, place) in taken {
        let said = reason != SILENT || location_hint(place).is_none();
        let exact = crate::reasons::location::EXACT
            .iter()
            .any(|(known, ..)| *known == place);
        assert!(said || !exact, "{place} has words at two places");
    }
}

#[test]
fn a_part_of_a_function_counts_as_the_function() {
    let mut drop = drop();
    drop.reason.name = Some("NOT_SPECIFIED".into());
    drop.reason.number = 2;
    drop.len = 60;
    for symbol in [
        "br_allowed_ingress",
        "br_allowed_ingress.part.0",
        "br_allowed_ingress.isra.0.cold",
    ] {
        drop.location.symbol = Some(symbol.into());
        let thing = thing(&drop).expect("words");
        assert!(thing.what.contains("VLAN"), "{symbol}");
    }
    drop.location.symbol = None;
    assert!(thing(&drop).is_none());
}
