//! How rules and policies are named.

use super::candidates::Candidate;
use crate::facts::ruleset::{Backend, Chain};

/// A rule or policy with its place and text.
#[must_use]
pub fn describe(one: &Candidate<'_>) -> String {
    match one.rule {
        Some(rule) => {
            let why = one.why();
            let why = why.map_or(String::new(), |why| format!(" ({why})"));
            format!("{}: {}{why}", named(one), rule.text)
        }
        None => format!("{}, which is drop", named(one)),
    }
}

/// The place of a rule, or whose policy it is.
#[must_use]
pub fn named(one: &Candidate<'_>) -> String {
    let Chain {
        backend,
        table,
        name,
        ..
    } = one.chain;
    let chain = format!("{backend} table {table} chain {name}");
    let Some(rule) = one.rule else {
        return format!("the policy of {chain}");
    };
    // iptables counts its rules, nft does not.
    let number = one
        .position()
        .filter(|_| *backend != Backend::Nft)
        .map_or(String::new(), |number| format!(" rule {number}"));
    let handle = rule
        .handle
        .map_or(String::new(), |h| format!(" handle {h}"));
    format!("{chain}{number}{handle}")
}
