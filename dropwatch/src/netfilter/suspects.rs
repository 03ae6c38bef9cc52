//! Which rules can have dropped a packet.

use super::{
    answer::Answer,
    candidates::{Candidate, Candidates},
    chains::{Chains, priority},
    packet::{CONNTRACK, Packet},
    walk::{Walk, Wanted},
};
use crate::facts::ruleset::{Chain, Ruleset, Subsystem, Target};

/// The rules and policies that can have dropped a packet which is known to be dropped at its hook, `packet`
/// being what it was at the drop. With `only`, by that part of the kernel.
///
/// It says nothing of what else drops at a hook: conntrack, IPVS, queues.
#[must_use]
pub fn suspects<'a>(set: &'a Ruleset, packet: &Packet, only: Option<Subsystem>) -> Candidates<'a> {
    let chains = Chains::new(set);
    let bases = chains.bases(packet);
    let packet = &chains.before_writes(&bases, packet);
    let mut found = Candidates {
        list: Vec::new(),
        complete: set.is_complete(only),
    };
    let concerns = |at: usize| only.is_none_or(|only| only == chains.get(at).backend.subsystem());
    let drops = |target: &Target| {
        let fails = || !packet.nat_passed && target.drops_by_itself(packet.hook).is_some();
        matches!(target, Target::Drop | Target::Reject | Target::Unknown(_)) || fails()
    };
    for (place, &(at, comes)) in bases.iter().enumerate() {
        if !concerns(at) {
            continue;
        }
        let seen = packet.seen_at(priority(chains.get(at)));
        let known = !chains.changed_bits(at, &seen);
        let wanted = wanted(true, &drops);
        // Of several of one priority the one that was made last comes first, and when that was is not known.
        let beside = |other: usize| {
            let same = other != at && priority(chains.get(other)) == priority(chains.get(at));
            same && concerns(other) && {
                let seen = packet.seen_at(priority(chains.get(other)));
                let known = !chains.changed_bits(other, &seen);
                let there = Walk::new(&chains, &seen, known, &wanted).run(other, comes, true);
                !there.list.is_empty()
            }
        };
        let alone = !bases.iter().any(|(other, _)| beside(*other));
        let first = alone && found.list.is_empty();
        let here = Walk::new(&chains, &seen, known, &wanted).run(at, comes, first);
        found.complete &= here.complete;
        let sure = here.list.iter().any(|one| one.sure);
        here.list.into_iter().for_each(|one| found.add(one));
        if !sure {
            continue;
        }
        // Was it so when the packet came here, had it been dropped later only?
        let first = priority(chains.get(at));
        let later = bases[..place]
            .iter()
            .filter(|(at, _)| priority(chains.get(*at)) == first);
        let later = later.chain(&bases[place..]).map(|(at, _)| *at);
        let (mut before, known) = before(&chains, packet, later);
        if first <= CONNTRACK {
            before.state = None;
        }
        let again =
            Walk::new(&chains, &before, known, &self::wanted(false, &drops)).run(at, comes, true);
        if again.list.iter().any(|one| one.sure) {
            break;
        }
    }
    found
}

/// The base chains that had let a packet pass which `dropped` is certain to have dropped at the same hook: of other
/// tables, with rules that decide over such packets.
pub(super) fn passed_before<'a>(
    set: &'a Ruleset,
    packet: &Packet,
    dropped: &Candidate<'_>,
) -> Vec<&'a Chain> {
    let chains = Chains::new(set);
    let last = priority(dropped.base);
    let before = chains.bases(packet).into_iter().filter(|(at, comes)| {
        let chain = chains.get(*at);
        priority(chain) < last
            && *comes == Answer::Yes
            && !chain.same_table(dropped.base)
            && chains.can_decide(*at, packet)
    });
    before.map(|(at, _)| chains.get(at)).collect()
}

/// What drops, or may.
fn wanted<'w>(exact: bool, drops: &'w dyn Fn(&Target) -> bool) -> Wanted<'w> {
    Wanted {
        target: drops,
        policy: true,
        exact,
    }
}

/// The packet as it was before these base chains, and which bits of its mark were the same.
fn before(
    chains: &Chains<'_>,
    packet: &Packet,
    bases: impl Iterator<Item = usize>,
) -> (Packet, u32) {
    // Changes of what is unknown then count as well.
    let open = if chains.can_translate(packet) {
        packet.before_nat()
    } else {
        packet.clone()
    };
    let open = Packet {
        snat: None,
        dnat: None,
        ..open
    };
    let changed = bases.fold(0, |bits, at| {
        if chains.can_queue(at, &open) {
            u32::MAX
        } else {
            bits | chains.changed_bits(at, &open)
        }
    });
    (open, !changed)
}

#[cfg(test)]
#[path = "suspects_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "stock_tests.rs"]
mod stock_tests;
