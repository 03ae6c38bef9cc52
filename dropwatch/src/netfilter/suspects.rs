//! Which rules can have dropped a packet.

use super::{
    candidates::Candidates,
    chains::{Chains, priority},
    packet::Packet,
    walk::{Walk, Wanted},
};
use crate::facts::ruleset::{Ruleset, Subsystem, Target};

/// Priority at which conntrack gives packets their state (`NF_IP_PRI_CONNTRACK`).
const CONNTRACK: i64 = -200;

/// The rules and policies that can have dropped a packet which is known to be dropped at its hook, `packet`
/// being what it was at the drop. With `only`, by that part of the kernel.
///
/// It says nothing of what else drops at a hook: conntrack, NAT without an address, IPVS, queues.
#[must_use]
pub fn suspects<'a>(set: &'a Ruleset, packet: &Packet, only: Option<Subsystem>) -> Candidates<'a> {
    let chains = Chains::new(set);
    let bases = chains.bases(packet);
    let mut found = Candidates {
        list: Vec::new(),
        complete: set.is_complete(only),
    };
    let concerns = |at: usize| only.is_none_or(|only| only == chains.get(at).backend.subsystem());
    for (place, &(at, comes)) in bases.iter().enumerate() {
        if !concerns(at) {
            continue;
        }
        let known = !chains.changed_bits(at, packet);
        let wanted = wanted(true);
        let here = Walk::new(&chains, packet, known, &wanted).run(at, comes, found.list.is_empty());
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
        let again = Walk::new(&chains, &before, known, &self::wanted(false)).run(at, comes, true);
        if again.list.iter().any(|one| one.sure) {
            break;
        }
    }
    found
}

/// What drops, or may.
fn wanted(exact: bool) -> Wanted<'static> {
    Wanted {
        target: &|target| matches!(target, Target::Drop | Target::Reject | Target::Unknown(_)),
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
