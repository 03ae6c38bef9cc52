//! Chains of NAT rules, and the order in which a packet meets them.

use std::collections::HashMap;

use crate::facts::NatRule;

/// A chain with all its rules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// Table as in [`NatRule::table`].
    pub(super) table: String,
    pub(super) name: String,
    /// Hook and priority of a chain that packets come to by themselves.
    pub(super) base: Option<(u8, i64)>,
    pub(super) lines: Vec<Line>,
}

impl Chain {
    /// Table and name.
    pub(super) fn key(&self) -> (&str, &str) {
        (&self.table, &self.name)
    }
}

/// One rule of a chain.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) handle: Option<u64>,
    /// Chains of the same table that it goes to.
    pub(super) jumps: Vec<String>,
    /// What it translates, if it does.
    pub(super) rule: Option<NatRule>,
}

/// Place of a hook among the hooks of the nat type, by its name in any case.
pub(super) fn hook(name: &str) -> Option<u8> {
    let names = ["prerouting", "input", "output", "postrouting"];
    let place = names
        .iter()
        .position(|hook| name.eq_ignore_ascii_case(hook));
    place.and_then(|place| u8::try_from(place).ok())
}

/// The rules that translate, in order of evaluation: a chain that is jumped to comes where the first jump
/// is. Those that no visible jump leads to come last.
pub(super) fn in_order(chains: Vec<Chain>) -> Vec<NatRule> {
    let mut starts: Vec<usize> = (0..chains.len()).collect();
    starts.sort_by_key(|&index| {
        chains[index]
            .base
            .map_or((1, 0, 0), |(hook, prio)| (0, hook, prio))
    });
    let names = chains.iter().enumerate();
    let mut walk = Walk {
        places: names.map(|(at, chain)| (chain.key(), at)).collect(),
        chains: &chains,
        seen: vec![false; chains.len()],
        order: Vec::new(),
    };
    for start in starts {
        walk.visit(start);
    }
    walk.order
}

struct Walk<'a> {
    chains: &'a [Chain],
    /// Index of a chain by table and name.
    places: HashMap<(&'a str, &'a str), usize>,
    seen: Vec<bool>,
    order: Vec<NatRule>,
}

impl Walk<'_> {
    fn visit(&mut self, at: usize) {
        if std::mem::replace(&mut self.seen[at], true) {
            return;
        }
        let chain = &self.chains[at];
        for line in &chain.lines {
            self.order.extend(line.rule.clone());
            for jump in &line.jumps {
                if let Some(&target) = self.places.get(&(chain.table.as_str(), jump.as_str())) {
                    self.visit(target);
                }
            }
        }
    }
}

/// An address that a rule asks for as a prefix: a single one has its full length.
pub(super) fn prefix(text: &str) -> String {
    match text.parse() {
        Ok(std::net::IpAddr::V4(v4)) => format!("{v4}/32"),
        Ok(std::net::IpAddr::V6(v6)) => format!("{v6}/128"),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_are_followed_once() {
        let line = |jumps: &[&str], text: &str| Line {
            handle: None,
            jumps: jumps.iter().map(ToString::to_string).collect(),
            rule: (!text.is_empty()).then(|| NatRule {
                text: text.into(),
                ..NatRule::default()
            }),
        };
        let chain = |name: &str, base, lines| Chain {
            table: "ip nat".into(),
            name: name.into(),
            base,
            lines,
        };
        let chains = vec![
            chain("orphan", None, vec![line(&[], "6")]),
            chain(
                "sub",
                None,
                vec![line(&["sub", "gone"], "3"), line(&["post"], "")],
            ),
            chain(
                "post",
                Some((3, 100)),
                vec![line(&["sub"], ""), line(&["sub"], "4")],
            ),
            chain("late", Some((3, 101)), vec![line(&[], "5")]),
            chain("pre", Some((0, -100)), vec![line(&[], "1"), line(&[], "2")]),
        ];
        let texts: String = in_order(chains).into_iter().map(|rule| rule.text).collect();
        assert_eq!(texts, "123456");
    }

    #[test]
    fn single_addresses_are_prefixes() {
        assert_eq!(prefix("10.0.0.1"), "10.0.0.1/32");
        assert_eq!(prefix("fd00::1"), "fd00::1/128");
        assert_eq!(prefix("10.0.0.0/24"), "10.0.0.0/24");
        assert_eq!((hook("POSTROUTING"), hook("forward")), (Some(3), None));
    }
}
