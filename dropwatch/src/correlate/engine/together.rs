//! The words of the cases in which different answers are counted together.

use serde::Serialize;
use serde_json::{Value, json};

use super::super::cases::MOST_OF_FAMILY;
use crate::model::explanation::Explanation;

/// The words for all but the first of a family.
pub(super) fn rest(title: String) -> Explanation {
    Explanation {
        title,
        summary: format!(
            "There are more than {MOST_OF_FAMILY} different ones of this kind: the first are cases of their own, these here are \
             counted together and not told apart."
        ),
        facts: counted_together(Together::Rest),
        evidence: Vec::new(),
        fixes: Vec::new(),
        unknown: vec!["what each of them is: they were not told apart".into()],
    }
}

/// The words for what there is no room for.
pub(super) fn beyond() -> Explanation {
    Explanation {
        title: "of further kinds, not told apart".into(),
        summary: "More different kinds of drops came at the same time than are kept apart: what is counted here was judged by \
                  no cause."
            .into(),
        facts: counted_together(Together::Overflow),
        evidence: Vec::new(),
        fixes: Vec::new(),
        unknown: vec!["what each of them is: there were too many kinds at the same time".into()],
    }
}

/// Facts of drops that were not told apart: those of a drop that no cause claims, and nothing is known.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CountedTogether {
    /// Why they were not.
    kind: Together,
    /// Not known.
    reason: (),
    /// Not known.
    class: (),
    /// Not known.
    martian: (),
    /// Not known.
    route: (),
    /// Not known.
    netfilter: (),
}

/// Why drops are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
enum Together {
    /// All but the first of those that differ by their destination or source alone.
    Rest,
    /// There was no room for what they were.
    Overflow,
}

fn counted_together(kind: Together) -> Value {
    json!(CountedTogether {
        kind,
        reason: (),
        class: (),
        martian: (),
        route: (),
        netfilter: (),
    })
}
