//! How rules and policies are named.

use super::candidates::Candidate;
use crate::facts::ruleset::{Backend, Chain, Test};

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

/// What a rule, or one that leads to it, asks for and nobody can tell of the packet: each in words, behind "not evaluated: ".
#[must_use]
pub fn open_questions(one: &Candidate<'_>) -> Vec<String> {
    let rules = one.path.iter().map(|step| step.rule).chain(one.rule);
    let tests = rules.flat_map(|rule| &rule.matches).map(|one| &one.test);
    let words = tests.filter_map(|test| match test {
        Test::ConntrackMark(_) => Some("the mark of its conntrack entry".to_owned()),
        Test::Other(text) if text.starts_with('-') => Some(text.clone()),
        Test::Other(text) => Some(set_of(text).map_or_else(
            || format!("all that {} asks for", named(one)),
            |set| format!("whether set {set} holds it"),
        )),
        _ => None,
    });
    words.collect()
}

/// The named set in a condition of nft's, which is JSON.
fn set_of(condition: &str) -> Option<&str> {
    let (_, behind) = condition.split_once("\"@")?;
    let (name, _) = behind.split_once('"')?;
    let before = condition.len() - behind.len() - 1;
    condition.get(before..=before + name.len())
}
