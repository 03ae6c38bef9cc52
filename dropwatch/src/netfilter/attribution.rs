//! Which rule dropped a packet: the place from the drop itself, the rules from the rule set.

use std::net::IpAddr;

use super::{
    Answer, Candidate, Candidates, NetfilterFacts, Packet, Passed, RuleFacts, Runner, element,
    hooks,
    naming::{describe, open_questions},
    place::{By, Place},
    suspects as suspects_of,
    suspects::passed_before,
};
use crate::{
    facts::ruleset::{Chain, Family, Ruleset, Subsystem, Unreadable},
    model::{anchor::Drop, coverage::Coverage, hook::Hook},
};

/// Rules shown at most where it cannot be told which one it was.
const MOST_SHOWN: usize = 5;

/// What is known of a drop by netfilter.
pub struct Attribution<'a> {
    /// Where. A hook that only the rules tell is filled in.
    pub place: Place,
    /// By which rules it can have been.
    pub suspects: Candidates<'a>,
    /// What could not be looked at, so that it may have been a rule which is not among these.
    pub not_evaluated: Vec<String>,
    /// Which member of the sets or maps of the certain rule it met.
    element: Option<String>,
    /// A sentence on the tables that had let it pass at that hook, where it is certain what dropped it.
    passed: Option<String>,
    /// Whose rules alone these are, if that is known.
    only: Option<Subsystem>,
    /// Whether a queue program gave it back there by a verdict that was not seen: what takes packets back frees those that the
    /// program wants dropped and those that a later rule drops alike.
    verdict_unseen: bool,
}

impl<'a> Attribution<'a> {
    /// Of a drop; `None` when it was not netfilter.
    #[must_use]
    pub fn of(drop: &Drop, set: &'a Ruleset, coverage: &Coverage) -> Option<Self> {
        Self::knowing(drop, set, coverage, &[])
    }

    /// The same where some addresses are known to be this machine's.
    #[must_use]
    pub fn knowing(
        drop: &Drop,
        set: &'a Ruleset,
        coverage: &Coverage,
        own: &[IpAddr],
    ) -> Option<Self> {
        let mut place = Place::of(drop)?;
        let none = || Candidates {
            list: Vec::new(),
            complete: true,
        };
        if matches!(place.by, By::Queue | By::Segments) {
            return Some(Self {
                place,
                suspects: none(),
                not_evaluated: Vec::new(),
                element: None,
                passed: None,
                only: None,
                verdict_unseen: false,
            });
        }
        let only = place.subsystem(coverage);
        let mut suspects = none();
        let hooks = hooks(drop, &place, set);
        if let [(only, _)] = hooks[..] {
            place.hook = Some(only);
        }
        let unknown_hook = hooks.is_empty() && place.by != By::Reinject;
        let mut last = None;
        for (hook, after) in hooks {
            let packet = last.insert(packet_of(drop, &place, hook, after));
            packet.own = own.to_vec();
            let found = suspects_of(set, packet, only);
            suspects.complete &= found.complete;
            suspects.list.extend(found.list);
        }
        let mut not_evaluated = unread(&place, set, only);
        if unknown_hook {
            not_evaluated.push("the rules, for at which hook it was is not known".into());
        }
        suspects.complete &= not_evaluated.is_empty();
        let verdict_unseen =
            place.by == By::Reinject && drop.queue.as_ref().is_none_or(|trip| trip.back.is_none());
        let dropped = certain(&place, &suspects)
            .filter(|_| !verdict_unseen)
            .zip(last);
        let element = dropped
            .as_ref()
            .and_then(|(one, packet)| element(one, packet));
        let before = dropped.map(|(one, packet)| passed_before(set, &packet, one));
        let before = before.unwrap_or_default();
        let passed = (!before.is_empty()).then(|| {
            let names = before.iter().map(|chain| {
                let Chain {
                    backend,
                    table,
                    name,
                    ..
                } = chain;
                format!("{backend} table {table} (chain {name})")
            });
            let names: Vec<String> = names.collect();
            format!(" Before that it had passed {}.", names.join(" and "))
        });
        Some(Self {
            place,
            suspects,
            not_evaluated,
            element,
            passed,
            only,
            verdict_unseen,
        })
    }

    /// The rule or policy that did it, if that is sure.
    #[must_use]
    pub fn certain(&self) -> Option<&Candidate<'a>> {
        self.would_drop().filter(|_| !self.verdict_unseen)
    }

    /// Which member of the sets or maps of the rule that did it the packet met: `dport 53`.
    #[must_use]
    pub fn element(&self) -> Option<&str> {
        self.element.as_deref()
    }

    /// The rule or policy that drops such a packet for sure, if a queue program has not done so before.
    #[must_use]
    pub fn would_drop(&self) -> Option<&Candidate<'a>> {
        certain(&self.place, &self.suspects)
    }

    /// A sentence on a queue program or a later rule of its hook, where the program's verdict was not seen; `else_by` names
    /// who else can have dropped it.
    #[must_use]
    pub fn program_or_rule(&self, else_by: &str) -> String {
        let rules = match self.suspects.list.as_slice() {
            [] => format!("not evaluated: {}", self.missing()),
            [one] => match one.matches {
                Answer::Yes => format!("{} drops such a packet", describe(one)),
                _ => format!("{} may drop such a packet", describe(one)),
            },
            several => format!("{} rules there may drop such a packet", several.len()),
        };
        let hook = self.place.hook.map_or("unknown", Hook::name);
        format!(
            "Either its verdict was DROP, which was not seen, or a later rule of the hook ({hook}) dropped it{else_by}: {rules}."
        )
    }

    /// Whether that is all that can be said.
    #[must_use]
    pub fn is_verdict_unseen(&self) -> bool {
        self.verdict_unseen
    }

    /// The facts, as documented in docs/events.md.
    #[must_use]
    pub fn facts(&self, drop: &Drop) -> NetfilterFacts {
        let list = &self.suspects.list;
        let common = |name: fn(&Chain) -> &str| {
            let first = list.first().map(|one| name(one.chain))?;
            list.iter()
                .all(|one| name(one.chain) == first)
                .then(|| first.to_owned())
        };
        let of_rule = self.certain().map(|one| one.chain.backend.subsystem());
        let runs = self.only.or(of_rule).map(Runner::from);
        NetfilterFacts {
            family: self.place.family.or_else(|| family(drop)),
            hook: self.place.hook,
            // What runs the hooks says for others than rules too that they drop.
            backend: runs.filter(|runs| *runs == Runner::NfTables || !list.is_empty()),
            table: common(|chain| &chain.table),
            chain: common(|chain| &chain.name),
            certain: self.certain().is_some(),
            element: self.element.clone(),
            not_evaluated: self.not_evaluated.clone(),
            rules: list.iter().map(RuleFacts::of).collect(),
        }
    }

    /// A sentence on who did it.
    #[must_use]
    pub fn words(&self) -> String {
        let at = self.place.hook.map_or_else(
            || "at an unknown hook".to_owned(),
            |hook| format!("at hook {}", hook.name()),
        );
        if let Some(one) = self.certain() {
            return format!(
                "Netfilter dropped it {at}: {}{}.{}",
                describe(one),
                self.by_element(),
                self.passed.as_deref().unwrap_or_default()
            );
        }
        match (self.suspects.list.as_slice(), self.suspects.complete) {
            ([], true) => format!(
                "Netfilter dropped it {at}, but none of the rules there, as they were read after the drop, drops such a packet."
            ),
            ([], false) => {
                format!(
                    "Netfilter dropped it {at}; not evaluated: {}.",
                    self.missing()
                )
            }
            ([one], true) => format!(
                "Netfilter dropped it {at}: if it was a rule, then {}.",
                describe(one)
            ),
            (list, complete) => {
                let which = match list.len() {
                    1 => "a rule".to_owned(),
                    several => format!("one of {several} rules"),
                };
                let other = if complete {
                    ""
                } else {
                    " or one that was not evaluated"
                };
                // Of several that may have, one may have to.
                let is_rule =
                    self.place.by == By::NfTables || complete && list.iter().any(|one| one.sure);
                let by = if is_rule {
                    "by"
                } else {
                    "if it was a rule, then by"
                };
                let comma = if is_rule { "," } else { ":" };
                format!("Netfilter dropped it {at}{comma} {by} {which}{other}.")
            }
        }
    }

    /// The same in brackets, to stand behind the rule.
    #[must_use]
    pub fn by_element(&self) -> String {
        let element = self.element.as_ref();
        element.map_or(String::new(), |element| format!(" ({element})"))
    }

    /// What was not evaluated, each in words: rules that were not read, and what those that may have done it ask for.
    #[must_use]
    pub fn open(&self) -> Vec<String> {
        let mut all = self.not_evaluated.clone();
        if self.certain().is_some() {
            return all;
        }
        let shown = self.suspects.list.iter().take(MOST_SHOWN);
        for question in shown.flat_map(open_questions) {
            if !all.contains(&question) {
                all.push(question);
            }
        }
        all
    }

    /// What was not evaluated, in words.
    fn missing(&self) -> String {
        if self.not_evaluated.is_empty() {
            return "rules that lead nowhere or in a circle".into();
        }
        self.not_evaluated.join("; ")
    }

    /// The rules for the lines of proof.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let list = &self.suspects.list;
        let more = list.len().saturating_sub(MOST_SHOWN);
        list.iter()
            .take(MOST_SHOWN)
            .map(describe)
            .chain((more > 0).then(|| format!("and {more} more")))
    }
}

/// The one that did it. What nf_tables frees itself a rule of its own had dropped: then the only one that can have done
/// so did, whether or not all that it asks for is known.
fn certain<'a, 'b>(place: &Place, suspects: &'b Candidates<'a>) -> Option<&'b Candidate<'a>> {
    match place.by {
        By::NfTables => suspects.only(),
        _ => suspects.certain(),
    }
}

/// What of the rule sets that see such a packet is missing.
fn unread(place: &Place, set: &Ruleset, only: Option<Subsystem>) -> Vec<String> {
    let concerns = |one: &&Unreadable| only.is_none_or(|only| only == one.subsystem);
    let missing = set.unreadable.iter().filter(concerns);
    let mut all: Vec<String> = missing
        .map(|one| format!("rules of {} ({})", one.subsystem.name(), one.why))
        .collect();
    if set.changed && only != Some(Subsystem::IpTables) {
        all.push("rules of nf_tables as they were (they changed while they were read)".into());
    }
    if only == Some(Subsystem::NfTables) {
        return all;
    }
    match place.family {
        Some(Family::Bridge) => all.push("ebtables (its rules are not read)".into()),
        Some(Family::Arp) if set.arptables != Some(false) => {
            all.push("arptables (its rules are not read)".into());
        }
        _ => {}
    }
    all
}

/// The packet at its hook, as far as it is known: one without IP headers can be judged by its place.
fn packet_of(drop: &Drop, place: &Place, hook: Hook, after: Option<Passed>) -> Packet {
    let family = place.family.or_else(|| family(drop)).unwrap_or(Family::Ip);
    let known = packet_at(drop, hook, after);
    let mut packet = known.unwrap_or_else(|| Packet::at(family, hook));
    if matches!(family, Family::Arp | Family::Bridge | Family::Netdev) {
        packet.family = family;
        // Neither rules of other layers nor conntrack say what rules here see.
        packet.state = None;
    }
    let shown = || drop.dev.as_ref().map(|dev| dev.name.clone());
    match (family, hook) {
        _ if place.bridged => (packet.in_dev, packet.out_dev) = (None, None),
        // What is handed up belongs to the bridge by then, rules see the port (net/bridge/br_input.c, `br_pass_frame_up`).
        (Family::Bridge, Hook::Input) | (Family::Arp, Hook::Forward) => {
            (packet.in_dev, packet.out_dev) = (None, None);
        }
        (Family::Bridge, Hook::Forward) => (packet.in_dev, packet.out_dev) = (None, shown()),
        _ => {}
    }
    packet
}

/// IP's, by the packet itself.
fn family(drop: &Drop) -> Option<Family> {
    match drop.packet.as_ref()?.l3 {
        4 => Some(Family::Ip),
        6 => Some(Family::Ip6),
        _ => None,
    }
}

/// The packet as it was at the drop; `after` is how far it had come if it came back from a queue there.
#[must_use]
pub fn packet_at(drop: &Drop, hook: Hook, after: Option<Passed>) -> Option<Packet> {
    Some(Packet {
        after,
        ..Packet::at_drop(drop, hook)?
    })
}

#[cfg(test)]
#[path = "attribution_tests.rs"]
mod tests;
