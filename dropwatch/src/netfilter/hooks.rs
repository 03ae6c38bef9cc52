//! At which hooks a packet can have been dropped, also where a queue is all that is known.

use super::{
    candidates::Candidates,
    find::queued_by,
    packet::{Packet, Passed},
    place::{By, Place},
};
use crate::{
    facts::ruleset::{Chain, Ruleset, Target},
    model::{anchor::Drop, hook::Hook},
};

/// `NF_REPEAT` (include/uapi/linux/netfilter.h).
const NF_REPEAT: u32 = 4;

/// The hooks that the packet can have been dropped at, with how far it had come. Where only is known
/// that it came back from a queue, that is wherever rules queue such packets.
#[must_use]
pub fn hooks(drop: &Drop, place: &Place, set: &Ruleset) -> Vec<(Hook, Option<Passed>)> {
    if place.by != By::Reinject {
        return place.hook.map(|hook| (hook, None)).into_iter().collect();
    }
    let all = [
        Hook::Prerouting,
        Hook::Input,
        Hook::Forward,
        Hook::Output,
        Hook::Postrouting,
    ];
    let known = place.hook;
    let number = drop.queue.as_ref().and_then(|trip| trip.queued.as_ref());
    let mut found: Vec<(Hook, Option<Passed>)> = Vec::new();
    for hook in all
        .into_iter()
        .filter(|hook| known.is_none_or(|known| known == *hook))
    {
        let Some(dropped) = Packet::at_drop(drop, hook) else {
            continue;
        };
        // What the mark was then is known only where the queueing was seen.
        let queued = Packet {
            mark: number.map(|queued| queued.mark),
            ..dropped
        };
        let numbers = number.map_or_else(|| numbers(set), |queued| vec![queued.queue]);
        let rules: Vec<Candidates<'_>> = numbers
            .iter()
            .map(|number| queued_by(set, &queued, *number, None))
            .collect();
        let bases: Vec<&Chain> = rules
            .iter()
            .flat_map(|found| &found.list)
            .map(|one| one.base)
            .collect();
        let sure = rules.iter().all(|found| found.complete) && !repeats(drop);
        let after = passed(set, &bases).map(|passed| Passed {
            chain: passed.chain.filter(|_| sure),
            ..passed
        });
        if known.is_some() || after.is_some() {
            found.push((hook, after));
        }
    }
    found
}

/// What is behind a packet that one of these base chains queued.
fn passed(set: &Ruleset, bases: &[&Chain]) -> Option<Passed> {
    let below = bases
        .iter()
        .filter_map(|chain| chain.base.as_ref().map(|base| base.priority))
        .min()?;
    let first = *bases.first()?;
    let one = bases.iter().all(|chain| std::ptr::eq(*chain, first));
    let mut chains = set.chains.iter();
    let chain = chains.position(|chain| std::ptr::eq(chain, first));
    Some(Passed {
        below,
        chain: chain.filter(|_| one),
    })
}

/// Whether the program did not say that the packet goes on behind the chain that queued it.
fn repeats(drop: &Drop) -> bool {
    let back = drop.queue.as_ref().and_then(|trip| trip.back.as_ref());
    back.is_none_or(|back| back.kind() == NF_REPEAT)
}

/// Queue numbers that rules can have sent the packet to at the hook that it was dropped at.
#[must_use]
pub fn queue_numbers(set: &Ruleset, drop: &Drop, hook: Option<Hook>) -> Vec<u16> {
    let Some(packet) = hook.and_then(|hook| Packet::at_drop(drop, hook)) else {
        return numbers(set);
    };
    let mut all = numbers(set);
    all.retain(|n| !queued_by(set, &packet, *n, None).list.is_empty());
    all
}

/// The same without the queue that the packet came from, and those that the same rule names.
#[must_use]
pub fn other_queues(set: &Ruleset, drop: &Drop, hook: Option<Hook>, from: u16) -> Vec<u16> {
    let mut others = queue_numbers(set, drop, hook);
    let rules = set.chains.iter().flat_map(|chain| &chain.rules);
    for target in rules.flat_map(|rule| &rule.targets) {
        if let Target::Queue { first, last, .. } = target
            && (*first..=*last).contains(&from)
        {
            others.retain(|number| number != first);
        }
    }
    others
}

/// Queue numbers that rules name: of ranges the first, which stands for all.
fn numbers(set: &Ruleset) -> Vec<u16> {
    let rules = set.chains.iter().flat_map(|chain| &chain.rules);
    let mut numbers: Vec<u16> = rules
        .flat_map(|rule| &rule.targets)
        .filter_map(|target| match target {
            Target::Queue { first, .. } => Some(*first),
            _ => None,
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
