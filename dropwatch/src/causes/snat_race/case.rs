//! Everything that is known of one refused insertion.

use std::{net::IpAddr, ops::RangeInclusive};

use dropwatch_common::record::ct_insert::status;
use serde_json::{Value, json};

use super::{
    fixes,
    refusal::{self, Holder, Kind, turned},
    text,
};
use crate::{
    facts::{
        ConntrackStats, Netns,
        ruleset::{Family, Hook, Nat, NatAction, Ruleset, State},
    },
    judge::{Key, View},
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
    pub(super) winner: Holder<'a>,
    pub(super) rule: Option<NatRule<'a>>,
    /// Rules that could not be read.
    unreadable: Vec<String>,
    pub(super) stats: Option<&'a ConntrackStats>,
    /// The counters before, and how long before, in nanoseconds.
    pub(super) before: Option<(&'a ConntrackStats, u64)>,
    /// The rule leaves one port only: no search, no race.
    pub(super) fixed_port: bool,
}

impl<'a> Case<'a> {
    /// `None` when it is not proven to be this, or while what decides is pending.
    pub fn read(drop: &'a Drop, view: &View<'a>) -> Option<Self> {
        let insertion = refusal::not_entered(drop)?;
        let netns = view.netns(drop.netns);
        let rules = view.ruleset(drop.netns);
        let stats = view.conntrack_stats(drop.netns);
        let winner = refusal::holder(drop, insertion, view)?;
        if winner.kind(insertion) != Kind::Snat {
            return None;
        }
        let rule = rules.and_then(|set| rule(set, drop, insertion));
        let ports = ports(rule.map(|rule| rule.nat), insertion.original.sport);
        let fixed_port = ports.clone().count() == 1;
        if fixed_port {
            // The kernel does not search where there is one port; held by an old connection, it is used up.
            if !newcomer(&winner) {
                return None;
            }
        } else {
            match free(drop, insertion, ports, stats, view) {
                Free::None => return None,
                // The search sees confirmed connections only: had the winner been one, it would have gone on.
                Free::Some if rule.is_some() => {}
                Free::Some | Free::Unknown if newcomer(&winner) => {}
                Free::Some | Free::Unknown => return None,
            }
        }
        Some(Self {
            drop,
            insertion,
            netns,
            winner,
            rule,
            unreadable: rules.map_or_else(Vec::new, unreadable),
            stats,
            before: view.conntrack_stats_before(drop.netns),
            fixed_port,
        })
    }

    /// What makes two losses one case: the same service, the same translated address, and the same rule.
    pub fn key(&self) -> Key {
        let translated = &self.insertion.reply;
        Key::of(SameRace {
            proto: translated.proto,
            server: (translated.src, translated.sport),
            address: translated.dst,
            rule: self.rule.map(|rule| rule.words()),
            fixed_port: self.fixed_port,
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
        if self.before.is_none() {
            unknown.push(
                "insert_failed before it: the counters of this namespace had not been read yet"
                    .into(),
            );
        }
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
        let w = &self.winner;
        json!({
            "kind": "snat_clash",
            "proto": text::proto(self.insertion.original.proto),
            "loser": {
                "original": self.insertion.original,
                "translated": turned(&self.insertion.reply),
            },
            "winner": {
                "original": w.original,
                "translated": turned(&w.reply),
                "state": w.later.and_then(|e| e.tcp_state.as_deref()),
                "from": w.from(),
            },
            "zone": self.insertion.zone,
            "fixed_port": self.fixed_port,
            "rule": self.rule.map(|rule| rule.json()),
            "insert_failed_before": self.before.map(|(s, _)| s.insert_failed),
            "insert_failed": self.stats.map(|s| s.insert_failed),
            "entries": self.stats.and_then(|s| s.entries),
            "max": self.stats.and_then(|s| s.max),
        })
    }
}

/// See [`Case::key`].
#[derive(Debug, PartialEq, Eq, Hash)]
struct SameRace {
    proto: u8,
    server: (IpAddr, u16),
    address: IpAddr,
    rule: Option<String>,
    fixed_port: bool,
}

/// Whether it was confirmed only moments ago, judged by how much of its first time-out is left.
fn newcomer(winner: &Holder<'_>) -> bool {
    if winner.status & status::ASSURED != 0 {
        return false;
    }
    // Seen in the clash and gone right after: a connection that lasted would still be there.
    let Some(entry) = winner.later else {
        return true;
    };
    let state = entry.tcp_state.as_deref().unwrap_or_default();
    // Not even answered at the clash and further on by now: it began just then.
    let unanswered = winner.by_kernel && winner.status & status::SEEN_REPLY == 0;
    if unanswered && !["", "SYN_SENT"].contains(&state) {
        return true;
    }
    let Some((_, full)) = NEW_TIMEOUTS.iter().find(|(name, _)| *name == state) else {
        return false;
    };
    let settled = entry.status & status::ASSURED != 0;
    !settled
        && entry
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

/// Whether a port was free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Free {
    /// Other connections hold every one, so that no search could have found one. Then more ports are what helps,
    /// whoever came first.
    None,
    /// At least one, or as good as: a search that tries a few hundred finds one.
    Some,
    /// Not proven, or not known yet.
    Unknown,
}

fn free(
    drop: &Drop,
    insertion: &Insertion,
    ports: RangeInclusive<u16>,
    stats: Option<&ConntrackStats>,
    view: &View<'_>,
) -> Free {
    let count = ports.clone().count();
    // A table with fewer entries than ports cannot hold them all; many ports are not asked one by one.
    match stats.and_then(|s| s.entries) {
        Some(entries) if entries.saturating_mul(2) < count as u64 => return Free::Some,
        _ if count > MOST_PORTS => return Free::Unknown,
        _ => {}
    }
    // All questions are asked before any answer is here.
    let answers: Vec<_> = ports
        .map(|port| {
            let taken = Tuple {
                dport: port,
                ..insertion.reply
            };
            let entry = view.conntrack(drop.netns, taken, insertion.zone);
            entry.map(|e| e.found)
        })
        .collect();
    if answers.contains(&Some(false)) {
        Free::Some
    } else if answers.contains(&None) {
        Free::Unknown
    } else {
        Free::None
    }
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
