//! The chains of a rule set as packets come to them.

use std::collections::{HashMap, HashSet};

use super::{answer::Answer, judge::all, packet::Packet};
use crate::facts::ruleset::{Chain, Family, HeaderField, Kind, Ruleset, State, Subsystem, Target};

/// A rule set with the places of its chains.
pub(super) struct Chains<'a> {
    pub(super) set: &'a Ruleset,
    places: HashMap<(Subsystem, Family, &'a str, &'a str), usize>,
}

impl<'a> Chains<'a> {
    pub(super) fn new(set: &'a Ruleset) -> Self {
        let chains = set.chains.iter().enumerate();
        Self {
            set,
            places: chains
                .map(|(at, chain)| (key(chain, &chain.name), at))
                .collect(),
        }
    }

    pub(super) fn get(&self, at: usize) -> &'a Chain {
        &self.set.chains[at]
    }

    /// The chain of the same table with this name.
    pub(super) fn beside(&self, chain: &'a Chain, name: &'a str) -> Option<usize> {
        self.places.get(&key(chain, name)).copied()
    }

    /// The base chains that the packet comes to, first ones first, with whether it does.
    pub(super) fn bases(&self, packet: &Packet) -> Vec<(usize, Answer)> {
        let chains = self.set.chains.iter().enumerate();
        let mut bases: Vec<_> = chains
            .filter(|(_, chain)| packet.is_seen_by(chain.family))
            .filter(|(at, _)| packet.after.is_none_or(|after| after.chain != Some(*at)))
            .filter_map(|(at, chain)| Some((at, comes_to(chain, packet)?)))
            .collect();
        bases.sort_by_key(|(at, _)| priority(self.get(*at)));
        bases
    }

    /// Every chain that a packet in this base chain can get to.
    fn reached(&self, base: usize) -> HashSet<usize> {
        let mut reached = HashSet::new();
        let mut open = vec![base];
        while let Some(at) = open.pop() {
            if !reached.insert(at) {
                continue;
            }
            let chain = self.get(at);
            for target in chain.rules.iter().flat_map(|rule| &rule.targets) {
                match target {
                    Target::Jump(name) | Target::Goto(name) => {
                        open.extend(self.beside(chain, name));
                    }
                    // A map of verdicts may lead to any chain of the table.
                    Target::Unknown(_) => {
                        let all = self.set.chains.iter().enumerate();
                        let same =
                            all.filter(|(_, one)| one.base.is_none() && one.same_table(chain));
                        open.extend(same.map(|(at, _)| at).filter(|at| !reached.contains(at)));
                    }
                    _ => {}
                }
            }
        }
        reached
    }

    /// Bits of the mark that rules can change for this packet in the base chain and those it leads to.
    pub(super) fn changed_bits(&self, base: usize, packet: &Packet) -> u32 {
        self.targets(base, packet)
            .fold(0, |bits, target| match target {
                Target::SetMark(change) | Target::RestoreMark(change) => bits | change.bits(),
                _ => bits,
            })
    }

    /// The packet with every header field unknown that rules of these base chains write: whatever it was before.
    pub(super) fn before_writes(&self, bases: &[(usize, Answer)], packet: &Packet) -> Packet {
        let mut before = packet.clone();
        let reached = bases.iter().flat_map(|(at, _)| self.reached(*at));
        let rules = reached.flat_map(|at| &self.get(at).rules);
        for target in rules.flat_map(|rule| &rule.targets) {
            match target {
                Target::SetHeader(HeaderField::Source) => before.src = None,
                Target::SetHeader(HeaderField::Destination) => before.dst = None,
                Target::SetHeader(HeaderField::SourcePort) => before.sport = None,
                Target::SetHeader(HeaderField::DestinationPort) => before.dport = None,
                _ => {}
            }
        }
        before
    }

    /// Whether rules there can send this packet to a program.
    pub(super) fn can_queue(&self, base: usize, packet: &Packet) -> bool {
        let mut targets = self.targets(base, packet);
        targets.any(|target| matches!(target, Target::Queue { .. }))
    }

    /// Whether rules there decide over this packet: accept, drop or reject it.
    pub(super) fn can_decide(&self, base: usize, packet: &Packet) -> bool {
        let mut targets = self.targets(base, packet);
        targets.any(|target| matches!(target, Target::Accept | Target::Drop | Target::Reject))
    }

    /// Whether it is a base chain for translations.
    pub(super) fn translates(&self, at: usize) -> bool {
        let base = self.get(at).base.as_ref();
        base.is_some_and(|base| base.kind == Kind::Nat)
    }

    /// Whether connections of the packet's kind can be translated at all: one such chain turns it on for
    /// all hooks.
    pub(super) fn can_translate(&self, packet: &Packet) -> bool {
        let mut chains = self.set.chains.iter().enumerate();
        chains.any(|(at, chain)| self.translates(at) && packet.is_seen_by(chain.family))
    }

    /// What rules there can do to this packet, whatever its mark.
    fn targets(&self, base: usize, packet: &Packet) -> impl Iterator<Item = &'a Target> {
        let reached = self.reached(base).into_iter();
        let rules = reached.flat_map(|at| &self.get(at).rules);
        let open = rules.filter(|rule| all(&rule.matches, packet, 0) != Answer::No);
        open.flat_map(|rule| &rule.targets)
    }
}

fn key<'a>(chain: &'a Chain, name: &'a str) -> (Subsystem, Family, &'a str, &'a str) {
    (chain.backend.subsystem(), chain.family, &chain.table, name)
}

/// Place of a base chain among those of its hook.
pub(super) fn priority(chain: &Chain) -> i64 {
    chain.base.as_ref().map_or(0, |base| base.priority)
}

/// Whether a packet comes to a base chain; `None` for no, and for chains that are none.
fn comes_to(chain: &Chain, packet: &Packet) -> Option<Answer> {
    let base = chain.base.as_ref()?;
    if base.hook != packet.hook
        || packet
            .after
            .is_some_and(|after| base.priority < after.below)
    {
        return None;
    }
    // Such chains see what opens a connection.
    let opens = packet
        .state
        .map(|state| matches!(state, State::New | State::Related));
    let new = match base.kind {
        Kind::Nat => Answer::of(opens),
        Kind::Filter | Kind::Route => Answer::Yes,
    };
    let device = match chain.family {
        Family::Netdev => {
            let name = packet.in_dev.as_ref().or(packet.out_dev.as_ref());
            let name = name.filter(|_| !base.devices.is_empty());
            Answer::of(name.map(|name| base.devices.contains(name)))
        }
        _ => Answer::Yes,
    };
    Some(new.min(device)).filter(|answer| *answer != Answer::No)
}
