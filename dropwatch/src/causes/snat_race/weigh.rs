//! Two sources were translated to the same one: a race for a port, a range that is used up, or not known.
//!
//! The kernel's search for a free port passes over those that confirmed connections hold (`get_unique_tuple`,
//! net/netfilter/nf_nat_core.c, 5.10 to 7.2), and takes the connection's own port if that is free. So a port that is
//! held all the same was either free when it was chosen (a race), or the search found none (used up), or there was
//! nothing to search.

use std::ops::RangeInclusive;

use dropwatch_common::record::ct_insert::status;
use serde::Serialize;

use super::{
    age::{self, SECOND_NS, SLACK_NS},
    ports::{Free, MOST_PORTS},
    refusal::{self, Holder},
    rule,
};
use crate::{
    facts::ConntrackTimeouts,
    judge::View,
    model::{anchor::Drop, evidence::Insertion},
    netfilter::NatRule,
};

/// What is said to be unknown where the configured time-outs were not read.
pub const DEFAULT_TIMEOUTS: &str =
    "the namespace's conntrack time-outs: the kernel's defaults were taken";

/// What says that it was a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
pub enum Proof {
    /// The rule leaves one port, and both were new: there was nothing to search.
    #[serde(rename = "fixed_port")]
    Single,
    /// The rule is known and another port was free: the search would have found it, had this one been held.
    #[serde(rename = "free_port")]
    OtherFree,
    /// It kept its own port, which the search does only with one that no confirmed connection holds; and the
    /// connection that holds it was new.
    #[serde(rename = "kept_port")]
    Kept,
}

/// What it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other connection was not confirmed yet when this one's port was chosen.
    Race(Proof),
    /// Other connections hold every port that the rule leaves.
    Exhausted(RangeInclusive<u16>),
    /// Not known, and what of it is not.
    Open(Vec<String>),
}

/// A clash of two sources, weighed.
pub struct Weighed<'a> {
    /// The rule that translated it, or why that is not known.
    pub rule: Result<NatRule<'a>, Vec<String>>,
    /// What it was.
    pub outcome: Outcome,
    /// How long before this one's port was chosen the other connection was there at least, in nanoseconds; `None`
    /// if it may have been new.
    pub older_ns: Option<u64>,
    /// How long before the drop the port may have been chosen, in nanoseconds; 0 = in the same breath.
    pub held_ns: u64,
    /// Whether it leans on time-outs that could not be read, so that the kernel's defaults had to do.
    pub default_timeouts: bool,
}

/// Weighs it by what is known by now.
pub fn weigh<'a>(
    drop: &'a Drop,
    insertion: &Insertion,
    winner: &Holder<'a>,
    view: &View<'a>,
) -> Weighed<'a> {
    let rule = rule::find(drop, insertion, view);
    let stats = view.conntrack_stats(drop.netns);
    let timeouts = stats.and_then(|s| s.timeouts.as_ref());
    let held_ns = age::held_ns(drop, view);
    let idle_ns = idle_at_drop(drop, winner, timeouts);
    let may_be_new = held_ns.saturating_add(SLACK_NS);
    let older_ns = idle_ns
        .filter(|idle| *idle > may_be_new)
        .map(|idle| idle - held_ns);
    let new = older_ns.is_none() && is_new(winner, idle_ns, held_ns);
    let clash = Clash {
        drop,
        insertion,
        view,
        held_ns,
        timeouts,
    };
    let outcome = if winner.by_kernel || refusal::only_conntrack(drop, view) {
        clash.outcome(
            rule.as_ref().ok(),
            stats.and_then(|s| s.entries),
            older_ns,
            new,
        )
    } else {
        Outcome::Open(vec![
            "whether a rule behind the translation dropped it before".into(),
        ])
    };
    let leaned = idle_ns.is_some() && outcome != Outcome::Race(Proof::OtherFree);
    Weighed {
        rule,
        outcome,
        older_ns,
        held_ns,
        default_timeouts: leaned && timeouts.is_none(),
    }
}

/// How long before the drop the other connection's last packet was.
fn idle_at_drop(
    drop: &Drop,
    winner: &Holder<'_>,
    timeouts: Option<&ConntrackTimeouts>,
) -> Option<u64> {
    let proto = winner.original.proto;
    let seen = drop.clash.as_ref().filter(|_| winner.by_kernel);
    if let Some((clash, left_ms)) = seen.and_then(|clash| Some((clash, clash.timeout_ms?))) {
        return age::idle_ns(
            proto,
            clash.status,
            clash.tcp_state.as_deref(),
            left_ms,
            timeouts,
        );
    }
    let idle = age::entry_idle_ns(proto, winner.later.entry()?, timeouts)?;
    let after = winner.later.after_ns();
    // Packets of after the drop say nothing of before.
    (idle.saturating_add(SECOND_NS) >= after).then(|| idle.saturating_sub(after))
}

/// Whether what is known of the other connection is what a new one's looks like.
fn is_new(winner: &Holder<'_>, idle_ns: Option<u64>, held_ns: u64) -> bool {
    let answered = winner.status & (status::SEEN_REPLY | status::ASSURED) != 0;
    if winner.by_kernel && !answered {
        return true;
    }
    let recent = idle_ns.is_some_and(|idle| idle <= held_ns.saturating_add(SLACK_NS));
    let assured = winner.status & status::ASSURED != 0;
    // While this one was held back, the other one may have been entered and answered.
    recent && (!assured || held_ns > 0)
}

/// What the questions for ports hang on.
pub struct Clash<'c, 'a> {
    /// The packet.
    pub drop: &'a Drop,
    /// Its entry.
    pub insertion: &'c Insertion,
    /// Where to ask.
    pub view: &'c View<'a>,
    /// How long before the drop its port may have been chosen, in nanoseconds.
    pub held_ns: u64,
    /// The time-outs of its namespace.
    pub timeouts: Option<&'a ConntrackTimeouts>,
}

impl Clash<'_, '_> {
    fn outcome(
        &self,
        rule: Option<&NatRule<'_>>,
        entries: Option<u64>,
        older_ns: Option<u64>,
        new: bool,
    ) -> Outcome {
        let ports = rule.and_then(|rule| rule::ports(rule, self.insertion.original.sport));
        let mut open = Vec::new();
        match &ports {
            Some(ports) if ports.clone().count() == 1 => {
                return if new {
                    Outcome::Race(Proof::Single)
                } else {
                    Outcome::Exhausted(ports.clone())
                };
            }
            Some(ports) => match self.free(ports, entries) {
                Free::None => return Outcome::Exhausted(ports.clone()),
                Free::Some if older_ns.is_none() => return Outcome::Race(Proof::OtherFree),
                Free::Some => open.push(
                    "why the search took a port that was held: others were free a moment later"
                        .into(),
                ),
                Free::Unknown(why) => open.push(why),
            },
            None if rule.is_some() => open.push("which ports the rule leaves".into()),
            None => open.push("which rule translated it, and which ports it leaves".into()),
        }
        if new && self.kept(rule, ports.as_ref()) {
            let given = if ports.is_some() {
                Some(false)
            } else {
                self.next_ports_given()
            };
            match given {
                Some(false) => return Outcome::Race(Proof::Kept),
                Some(true) => open.push(
                    "whether it kept its port or was given it: the next one was given to another connection"
                        .into(),
                ),
                None => open.push("who holds the next ports".into()),
            }
        }
        if older_ns.is_none() && !new {
            open.push("for how long the other one had been there".into());
        }
        Outcome::Open(open)
    }

    /// Whether it kept its own port, and not by chance.
    fn kept(&self, rule: Option<&NatRule<'_>>, ports: Option<&RangeInclusive<u16>>) -> bool {
        let Insertion {
            original, reply, ..
        } = self.insertion;
        let given = if is_icmp(original.proto) {
            reply.sport
        } else {
            reply.dport
        };
        // A search that ends without a free port ends anywhere in the range.
        let by_chance = rule.is_some_and(rule::is_random)
            || ports.is_some_and(|ports| ports.clone().count() <= MOST_PORTS);
        given == original.sport && !by_chance
    }
}

/// Whether a protocol has identifiers in the place of ports.
pub fn is_icmp(proto: u8) -> bool {
    [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6].contains(&i32::from(proto))
}
