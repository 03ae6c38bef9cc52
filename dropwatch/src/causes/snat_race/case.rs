//! Everything that is known of one refused insertion.

use std::net::IpAddr;

use serde_json::json;

use super::{
    facts::{self, Facts, Translation, Winner},
    fixes,
    refusal::{self, Holder, Kind, turned},
    text,
    weigh::{self, Outcome, Proof},
};
use crate::{
    facts::{ConntrackStats, Netns},
    judge::{Key, View},
    model::{anchor::Drop, evidence::Insertion, explanation::Explanation, proto::Proto},
    netfilter::{NatRule, NatRuleFacts},
};

/// A refused insertion with the connection that holds its place.
pub struct Case<'a> {
    pub(super) drop: &'a Drop,
    pub(super) insertion: &'a Insertion,
    pub(super) netns: Option<&'a Netns>,
    pub(super) winner: Holder<'a>,
    /// The rule that translated it, or why that is not known.
    pub(super) rule: Result<NatRule<'a>, Vec<String>>,
    pub(super) stats: Option<&'a ConntrackStats>,
    /// The counters before, and how long before, in nanoseconds.
    pub(super) before: Option<(&'a ConntrackStats, u64)>,
    /// What says that it was a race.
    pub(super) proof: Proof,
    /// How long before the drop the port may have been chosen, in nanoseconds.
    pub(super) held_ns: u64,
    /// Whether the kernel's default time-outs had to do.
    default_timeouts: bool,
}

impl<'a> Case<'a> {
    /// `None` when it is not proven to be this, or while what decides is pending.
    pub fn read(drop: &'a Drop, view: &View<'a>) -> Option<Self> {
        let insertion = refusal::not_entered(drop)?;
        let netns = view.netns(drop.netns);
        let winner = refusal::holder(drop, insertion, view)?;
        if winner.kind(insertion) != Kind::Snat {
            return None;
        }
        let weighed = weigh::weigh(drop, insertion, &winner, view);
        let Outcome::Race(proof) = weighed.outcome else {
            return None;
        };
        Some(Self {
            drop,
            insertion,
            netns,
            winner,
            rule: weighed.rule,
            stats: view.conntrack_stats(drop.netns),
            before: view.conntrack_stats_before(drop.netns),
            proof,
            held_ns: weighed.held_ns,
            default_timeouts: weighed.default_timeouts,
        })
    }

    /// Whether the rule leaves one port only: no search.
    pub(super) fn fixed_port(&self) -> bool {
        self.proof == Proof::Single
    }

    /// What makes two losses one case: the same service, the same translated address, the same rule and proof.
    pub fn key(&self) -> Key {
        let translated = &self.insertion.reply;
        Key::of(SameRace {
            proto: translated.proto,
            server: (translated.src, translated.sport),
            address: translated.dst,
            rule: self.rule.as_ref().ok().map(NatRule::words),
            proof: self.proof,
        })
    }

    /// The explanation.
    pub fn explain(&self, mut unknown: Vec<String>) -> Explanation {
        unknown.extend(self.rule.as_ref().err().into_iter().flatten().cloned());
        if self.default_timeouts {
            unknown.push(weigh::DEFAULT_TIMEOUTS.into());
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
            facts: json!(self.facts()),
            evidence: text::evidence(self),
            fixes: fixes::fixes(self),
            unknown,
        }
    }

    fn facts(&self) -> Facts {
        let w = &self.winner;
        let entry = w.later.entry();
        Facts {
            kind: facts::Kind::SnatClash,
            proto: Proto(self.insertion.original.proto),
            loser: Translation {
                original: self.insertion.original,
                translated: turned(&self.insertion.reply),
            },
            winner: Winner {
                original: w.original,
                translated: turned(&w.reply),
                state: entry.and_then(|e| e.tcp_state.clone()),
                from: w.from(),
            },
            zone: self.insertion.zone,
            fixed_port: self.fixed_port(),
            proof: self.proof,
            rule: self.rule.as_ref().ok().map(NatRuleFacts::of),
            insert_failed_before: self.before.map(|(s, _)| s.insert_failed),
            insert_failed: self.stats.map(|s| s.insert_failed),
            entries: self.stats.and_then(|s| s.entries),
            max: self.stats.and_then(|s| s.max),
        }
    }
}

/// See [`Case::key`].
#[derive(Debug, PartialEq, Eq, Hash)]
struct SameRace {
    proto: u8,
    server: (IpAddr, u16),
    address: IpAddr,
    rule: Option<String>,
    proof: Proof,
}
