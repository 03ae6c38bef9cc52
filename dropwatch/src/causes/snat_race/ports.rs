//! Which translated ports others hold, asked port by port.

use std::ops::RangeInclusive;

use super::{
    age::{self, SECOND_NS},
    weigh::{Clash, is_icmp},
};
use crate::{
    facts::FactKey,
    model::{evidence::Insertion, tuple::Tuple},
};

/// Port ranges up to this size are asked port by port whether they are used up. Whole ones of this size are searched
/// by the kernel (`NF_NAT_MAX_ATTEMPTS` is 128).
pub const MOST_PORTS: usize = 64;

/// Whether a port was free when this one was chosen.
pub enum Free {
    /// Other connections held every one.
    None,
    /// At least one, or as good as: a search that tries a few hundred finds one.
    Some,
    /// Not known, and why.
    Unknown(String),
}

impl Clash<'_, '_> {
    /// Whether a port next to this one was given to a connection that came with another one: then a rule that leaves
    /// few ports may have given this one too, and that it was the connection's own is chance. `None` while that is
    /// not known.
    pub fn next_ports_given(&self) -> Option<bool> {
        let Insertion {
            original,
            reply,
            zone,
            ..
        } = *self.insertion;
        if is_icmp(original.proto) {
            return Some(false);
        }
        let next = [reply.dport.checked_sub(1), reply.dport.checked_add(1)];
        // Both questions are asked before any answer is here.
        let answers: Vec<_> = next
            .into_iter()
            .flatten()
            .map(|port| {
                let tuple = Tuple {
                    dport: port,
                    ..reply
                };
                let entry = self.view.conntrack(self.drop.netns, tuple, zone)?;
                let own = entry.original.is_none_or(|original| original.sport == port);
                Some(entry.found && !own)
            })
            .collect();
        if answers.contains(&Some(true)) {
            return Some(true);
        }
        (!answers.contains(&None)).then_some(false)
    }

    /// Whether one of the ports was free, in a table with so many entries.
    pub fn free(&self, ports: &RangeInclusive<u16>, entries: Option<u64>) -> Free {
        let count = ports.clone().count();
        // A table with fewer entries than ports cannot hold them all; many ports are not asked one by one.
        if entries.is_some_and(|entries| entries.saturating_mul(2) < count as u64) {
            return Free::Some;
        }
        if count > MOST_PORTS || is_icmp(self.insertion.original.proto) {
            return Free::Unknown(format!(
                "whether any of the {count} ports that the rule leaves was free"
            ));
        }
        self.asked(ports)
    }

    /// Asks for every port who holds it.
    fn asked(&self, ports: &RangeInclusive<u16>) -> Free {
        let Self { drop, view, .. } = self;
        let reply = self.insertion.reply;
        let zone = self.insertion.zone;
        // All questions are asked before any answer is here.
        let answers: Vec<_> = ports
            .clone()
            .map(|port| {
                let tuple = Tuple {
                    dport: port,
                    ..reply
                };
                let entry = view.conntrack(drop.netns, tuple, zone);
                let key = FactKey::Conntrack {
                    netns: drop.netns,
                    tuple,
                    zone,
                };
                entry.zip(view.read_after_ns(&key))
            })
            .collect();
        let range = format!("{}-{}", ports.start(), ports.end());
        let mut all_known = true;
        let mut late_ns = 0;
        let mut free = false;
        for answer in answers {
            let Some((entry, after_ns)) = answer else {
                all_known = false;
                continue;
            };
            // What this connection holds by now was free for it.
            let held = entry.found && entry.original != Some(self.insertion.original);
            if !held {
                free = true;
                late_ns = late_ns.max(after_ns);
                continue;
            }
            let idle = age::entry_idle_ns(reply.proto, entry, self.timeouts);
            let stood = if self.held_ns == 0 {
                after_ns <= SECOND_NS || idle.is_some_and(|idle| idle >= after_ns)
            } else {
                // Before the time in the queue, and whole seconds may be one too much.
                let since_ns = after_ns
                    .saturating_add(self.held_ns)
                    .saturating_add(SECOND_NS);
                idle.is_some_and(|idle| idle >= since_ns)
            };
            all_known &= stood;
        }
        if free && late_ns <= SECOND_NS {
            Free::Some
        } else if free {
            Free::Unknown(format!(
                "whether a port of {range} was free at the drop: one was, asked {:.1} s later",
                late_ns as f64 / 1e9
            ))
        } else if all_known {
            Free::None
        } else {
            Free::Unknown(format!(
                "whether every port of {range} was held when this one was chosen"
            ))
        }
    }
}
