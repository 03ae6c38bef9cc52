//! Everything that is known of one refused insertion.

use std::ops::RangeInclusive;

use dropwatch_common::record::ct_insert::status;
use serde_json::{Value, json};

use super::{fixes, text};
use crate::{
    correlate::view::View,
    facts::{
        ConntrackEntry, ConntrackStats, Netns,
        ruleset::{Family, Hook, Nat, NatAction, Ruleset, State},
    },
    model::{anchor::Drop, evidence::Insertion, explanation::Explanation, tuple::Tuple},
    netfilter::{NatRule, Packet, translated_by},
};

/// The kernel's default time-outs, in seconds, of the states in which a connection is new
/// (net/netfilter/nf_conntrack_proto_tcp.c and _udp.c).
const NEW_TIMEOUTS: [(&str, u32); 3] = [("SYN_SENT", 120), ("SYN_RECV", 60), ("", 30)];

/// Port ranges up to this size are asked port by port whether they are used up.
const MOST_PORTS: usize = 64;

/// A connection that was confirmed at most this many seconds before (conntrack counts in whole seconds).
const NEWCOMER_S: u32 = 2;

/// A refused insertion with the connection that holds its place.
pub struct Case<'a> {
    pub(super) drop: &'a Drop,
    pub(super) insertion: &'a Insertion,
    pub(super) netns: Option<&'a Netns>,
    pub(super) winner: &'a ConntrackEntry,
    pub(super) rule: Option<NatRule<'a>>,
    /// Rules that could not be read.
    unreadable: Vec<String>,
    pub(super) stats: Option<&'a ConntrackStats>,
    /// The rule leaves one port only: no search, no race.
    pub(super) fixed_port: bool,
}

/// Whether it was dropped behind the last rule: new, translated, not inserted, freed by `nf_hook_slow`.
pub fn refused_at_the_end(drop: &Drop) -> bool {
    let at_end = drop
        .location
        .symbol
        .as_deref()
        .is_some_and(|s| s == "nf_hook_slow");
    let translated = drop
        .insertion
        .as_ref()
        .is_some_and(|i| i.status & status::SRC_NAT != 0);
    at_end && translated
}

impl<'a> Case<'a> {
    /// `None` when it is not proven to be this, or while what decides is pending.
    pub fn read(drop: &'a Drop, view: &View<'a>) -> Option<Self> {
        let insertion = drop.insertion.as_ref()?;
        let netns = view.netns(drop.netns);
        let rules = view.ruleset(drop.netns);
        let stats = view.conntrack_stats(drop.netns);
        let winner = view.conntrack(drop.netns, insertion.reply, insertion.zone)?;
        if !holds(winner, insertion) {
            return None;
        }
        let rule = rules.and_then(|set| rule(set, drop, insertion));
        let ports = ports(rule.map(|rule| rule.nat), insertion.original.sport);
        let fixed_port = ports.clone().count() == 1;
        if !fixed_port && (!newcomer(winner) || used_up(drop, insertion, ports, stats, view)) {
            return None;
        }
        Some(Self {
            drop,
            insertion,
            netns,
            winner,
            rule,
            unreadable: rules.map_or_else(Vec::new, unreadable),
            stats,
            fixed_port,
        })
    }

    /// The explanation.
    pub fn explain(&self, mut unknown: Vec<String>) -> Explanation {
        if self.rule.is_none() {
            unknown.push(
                "which rule translated it: none of those that are loaded fits for sure".into(),
            );
            unknown.extend(self.unreadable.iter().cloned());
        }
        unknown.push("whether a retransmission got through: not followed yet".into());
        Explanation {
            title: text::title(self),
            summary: text::summary(self),
            facts: self.facts(),
            evidence: text::evidence(self),
            fixes: fixes::fixes(self),
            unknown,
        }
    }

    fn facts(&self) -> Value {
        let w = self.winner;
        json!({
            "kind": "snat_clash",
            "proto": text::proto(self.insertion.original.proto),
            "loser": {
                "original": self.insertion.original,
                "translated": turned(&self.insertion.reply),
            },
            "winner": {
                "original": w.original,
                "translated": w.reply.as_ref().map(turned),
                "state": w.tcp_state,
                "from": "conntrack",
            },
            "zone": self.insertion.zone,
            "fixed_port": self.fixed_port,
            "rule": self.rule.map(|rule| rule.json()),
            "insert_failed": self.stats.map(|s| s.insert_failed),
            "entries": self.stats.and_then(|s| s.entries),
            "max": self.stats.and_then(|s| s.max),
        })
    }
}

/// The packet as it would have left: the answers' direction turned round.
pub fn turned(reply: &Tuple) -> Tuple {
    Tuple {
        proto: reply.proto,
        src: reply.dst,
        dst: reply.src,
        sport: reply.dport,
        dport: reply.sport,
    }
}

/// Whether the entry is another connection that expects the very same answers.
fn holds(winner: &ConntrackEntry, insertion: &Insertion) -> bool {
    winner.found
        && winner
            .original
            .as_ref()
            .is_some_and(|o| *o != insertion.original)
        && winner.reply.as_ref() == Some(&insertion.reply)
}

/// Whether it was confirmed only moments ago, judged by how much of its first time-out is left.
fn newcomer(winner: &ConntrackEntry) -> bool {
    let state = winner.tcp_state.as_deref().unwrap_or_default();
    let Some((_, full)) = NEW_TIMEOUTS.iter().find(|(name, _)| *name == state) else {
        return false;
    };
    let settled = winner.status & status::ASSURED != 0;
    !settled
        && winner
            .timeout_s
            .is_some_and(|left| left + NEWCOMER_S >= *full)
}

/// The rule that made the translation, if exactly one of the loaded ones can have.
fn rule<'a>(set: &'a Ruleset, drop: &Drop, insertion: &Insertion) -> Option<NatRule<'a>> {
    let Insertion {
        original, reply, ..
    } = insertion;
    let family = if original.src.is_ipv4() {
        Family::Ip
    } else {
        Family::Ip6
    };
    let actions = [NatAction::Masquerade, NatAction::Snat, NatAction::Netmap];
    // Behind a translation of the destination, which comes first.
    let packet = |hook| Packet {
        protocol: Some(original.proto),
        src: Some(original.src),
        dst: Some(reply.src),
        sport: Some(original.sport),
        dport: Some(reply.sport),
        mark: Some(drop.mark),
        state: Some(State::New),
        out_dev: drop.dev.as_ref().map(|dev| dev.name.clone()),
        ..Packet::at(family, hook)
    };
    let leaving = translated_by(set, &packet(Hook::Postrouting), &actions);
    let coming = translated_by(set, &packet(Hook::Input), &actions);
    match (leaving.list.is_empty(), coming.list.is_empty()) {
        (false, true) => NatRule::of(leaving.only()?),
        (true, false) => NatRule::of(coming.only()?),
        _ => None,
    }
}

fn unreadable(set: &Ruleset) -> Vec<String> {
    set.unreadable.iter().map(|one| one.why.clone()).collect()
}

/// The ports that the translation may choose from: the rule's own, else the kernel's choice by the original
/// port (`nf_nat_l4proto_unique_tuple`, net/netfilter/nf_nat_core.c, 5.10 to 7.2).
fn ports(nat: Option<&Nat>, original: u16) -> RangeInclusive<u16> {
    let own = nat.and_then(|nat| {
        let (address, ports) = nat.to.as_ref()?.rsplit_once(':')?;
        // An IPv6 address stands in brackets when a port follows.
        if address.contains(':') && !address.ends_with(']') {
            return None;
        }
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    own.unwrap_or(match original {
        0..=511 => 1..=511,
        512..=1023 => 600..=1023,
        _ => 1024..=u16::MAX,
    })
}

/// Whether other connections hold every one of the ports, so that no search could have found one. Then more
/// ports are what helps, whoever came first.
fn used_up(
    drop: &Drop,
    insertion: &Insertion,
    ports: RangeInclusive<u16>,
    stats: Option<&ConntrackStats>,
    view: &View<'_>,
) -> bool {
    let count = ports.clone().count();
    let entries = stats.and_then(|s| s.entries);
    // A table with fewer entries than ports cannot hold them all; many ports are not asked one by one.
    if entries.is_some_and(|e| e < count as u64) || count > MOST_PORTS {
        return false;
    }
    let mut all = true;
    for port in ports {
        let taken = Tuple {
            dport: port,
            ..insertion.reply
        };
        // All questions are asked before any answer is here.
        all &= view
            .conntrack(drop.netns, taken, insertion.zone)
            .is_some_and(|e| e.found);
    }
    all
}

/// The plain explanation of an insertion that was refused for another reason; `None` when the drop has
/// nothing to do with it, or facts are pending.
pub fn other(drop: &Drop, view: &View<'_>) -> Option<(String, &'static str)> {
    if !refused_at_the_end(drop) {
        return None;
    }
    let insertion = drop.insertion.as_ref()?;
    let winner = view.conntrack(drop.netns, insertion.reply, insertion.zone)?;
    let translated = turned(&insertion.reply);
    if !holds(winner, insertion) {
        return Some((
            format!(
                "{} was dropped after its translation to {translated} and before conntrack had entered it: by \
                 conntrack itself or by a rule behind the NAT rules. No other connection holds its place.",
                insertion.original
            ),
            "not_inserted",
        ));
    }
    Some((
        format!(
            "{} was translated to {translated}, which an older connection ({}) holds. Most likely the range of \
             the NAT rule is used up: then more ports or addresses help, and random ports do not.",
            insertion.original,
            winner.original.map_or_else(String::new, |o| o.to_string()),
        ),
        "exhausted",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_decides_the_ports_and_the_kernel_without_one() {
        let to = |to: &str| Nat {
            action: NatAction::Snat,
            to: Some(to.into()),
            fully_random: false,
        };
        assert_eq!(
            ports(Some(&to("10.0.0.1:40000-40001")), 5000),
            40000..=40001
        );
        assert_eq!(ports(Some(&to("10.0.0.1:40000")), 5000), 40000..=40000);
        assert_eq!(ports(Some(&to("10.0.0.1")), 5000), 1024..=65535);
        assert_eq!(ports(Some(&to("fd00::1")), 5000), 1024..=65535);
        assert_eq!(ports(Some(&to("[fd00::1]:7")), 5000), 7..=7);
        assert_eq!(ports(Some(&to(":7-9")), 5000), 7..=9);
        assert_eq!(ports(None, 53), 1..=511);
        assert_eq!(ports(None, 800), 600..=1023);
    }
}
