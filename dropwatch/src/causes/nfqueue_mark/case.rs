//! Everything that is known of one packet that came back with a deadly mark.

use serde_json::json;

use super::{
    facts::{self, Facts, Holder, Informant, IpFamily, MarkHistory, MarkedRule},
    fixes, text,
};
use crate::{
    facts::{
        Netns,
        ruleset::{MarkTest, Match, Ruleset, Test},
    },
    judge::{Key, View},
    model::{anchor::Drop, evidence::Reinjected, explanation::Explanation, hook::Hook},
    netfilter::{self, Candidate, Packet, Place, RuleFacts},
};

/// What a queue program changed in a packet's mark.
#[derive(Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) queue: u16,
    pub(super) before: u32,
    pub(super) after: u32,
    /// How long the packet was away.
    pub(super) held_ns: u64,
    pub(super) back: &'a Reinjected,
}

impl<'a> Change<'a> {
    /// `None` when it changed nothing, or said that the packet is to be dropped.
    pub(super) fn of(drop: &'a Drop) -> Option<Self> {
        let trip = drop.queue.as_ref()?;
        let (queued, back) = (trip.queued.as_ref()?, trip.back.as_ref()?);
        (!back.is_drop() && queued.mark != back.mark).then_some(Self {
            queue: queued.queue,
            before: queued.mark,
            after: back.mark,
            held_ns: back.time_ns.saturating_sub(queued.time_ns),
            back,
        })
    }

    /// Bits that are others now.
    pub(super) fn bits(&self) -> u32 {
        self.before ^ self.after
    }

    /// The mark that the packet would have had at its drop, had the program left it alone.
    pub(super) fn undone(&self, mark: u32) -> u32 {
        mark & !self.bits() | self.before & self.bits()
    }

    pub(super) fn held_ms(&self) -> f64 {
        self.held_ns as f64 / 1e6
    }
}

/// The packet, its way, and the rule that it met.
pub(super) struct Case<'a> {
    pub(super) drop: &'a Drop,
    pub(super) change: Change<'a>,
    pub(super) place: Place,
    pub(super) netns: Option<&'a Netns>,
    pub(super) set: &'a Ruleset,
    /// The rules that dropped it because of the bits: one, as a rule.
    pub(super) rules: Vec<Candidate<'a>>,
    /// Who sent it to the queue.
    pub(super) queue_rule: Option<Candidate<'a>>,
}

impl<'a> Case<'a> {
    /// `None` when it is not proven to be this, or while what decides is pending.
    pub(super) fn read(drop: &'a Drop, view: &View<'a>) -> Option<Self> {
        let change = Change::of(drop)?;
        let place = Place::of(drop)?;
        let netns = view.netns(drop.netns);
        let set = view.ruleset(drop.netns)?;
        let [(hook, after)] = netfilter::hooks(drop, &place, set)[..] else {
            return None;
        };
        let packet = netfilter::packet_at(drop, hook, after)?;
        let only = place.subsystem(view.coverage());
        let blame = netfilter::because_of_mark(set, &packet, change.undone(drop.mark), only);
        // Any rule that could have done it whatever the program did acquits the program.
        let others = blame.indirect.len() + blame.independent.len();
        if !blame.complete || others > 0 || !blame.direct.iter().any(|one| one.sure) {
            return None;
        }
        Some(Self {
            drop,
            change,
            place,
            netns,
            set,
            rules: blame.direct,
            queue_rule: queue_rule(drop, &change, set),
        })
    }

    /// The rule to name: the first that drops for sure.
    pub(super) fn rule(&self) -> Option<&Candidate<'a>> {
        self.rules.iter().find(|one| one.sure)
    }

    /// The test of the mark that decided, on the way to the rule or in it.
    pub(super) fn decisive(&self) -> Option<&'a MarkTest> {
        let one = self.rule()?;
        let on_the_way = one.path.iter().map(|step| step.rule);
        let mut tests = on_the_way
            .chain(one.rule)
            .flat_map(|rule| &rule.matches)
            .filter_map(|wanted| match wanted {
                Match {
                    test: Test::Mark(test),
                    ..
                } => Some(test),
                _ => None,
            });
        let bits = self.change.bits();
        tests.find(|test| test.mask & bits != 0)
    }

    /// Those of the changed bits that the rule asks for.
    pub(super) fn deadly(&self) -> u32 {
        let bits = self.change.bits();
        self.decisive().map_or(bits, |test| test.mask & bits)
    }

    /// A mask of as many bits as the program changed, none of them in use by the rules that are loaded.
    pub(super) fn free_mask(&self) -> Option<u32> {
        let used = netfilter::used_mark_bits(self.set);
        netfilter::propose_mask(used, self.change.bits().count_ones())
    }

    /// What makes two such packets one case: the same queue and program, the same change, the same rules.
    pub(super) fn key(&self) -> Key {
        Key::of(SameChange {
            queue: self.change.queue,
            program: self.change.back.process.comm.clone(),
            before: self.change.before,
            after: self.change.after,
            hook: self.place.hook,
            rules: self.rules.iter().map(netfilter::describe).collect(),
            queue_rule: self.queue_rule.as_ref().map(netfilter::describe),
        })
    }

    pub(super) fn explain(&self, mut unknown: Vec<String>) -> Explanation {
        if self.rules.len() > 1 {
            unknown.push(format!(
                "which of {} rules it was: all of them ask for bits that the program changed",
                self.rules.len()
            ));
        }
        if self.queue_rule.is_none() {
            unknown.push("which rule sent it to the queue".into());
        }
        if !self.set.unreadable.is_empty() {
            unknown.push("which further bits are in use: not all rules could be read".into());
            unknown.extend(self.set.unreadable.iter().map(|one| one.why.clone()));
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
        let trip = self.drop.queue.as_ref();
        let back = self.change.back;
        let rule = self.rule().map(|one| {
            let test = self.decisive();
            MarkedRule {
                rule: RuleFacts::of(one),
                value: test.and_then(|t| t.values.first()).map(|v| v.0),
                mask: test.map(|t| t.mask),
                path: one.path.iter().map(|s| s.rule.text.clone()).collect(),
            }
        });
        Facts {
            kind: facts::Kind::MarkSetByQueue,
            queue: self.change.queue,
            hook: trip.and_then(|t| t.hook),
            family: match trip.map(|t| t.l3) {
                Some(4) => Some(IpFamily::Ip),
                Some(6) => Some(IpFamily::Ip6),
                _ => None,
            },
            mark: MarkHistory {
                queued: self.change.before,
                reinjected: self.change.after,
                at_drop: self.drop.mark,
                changed: self.change.bits(),
            },
            verdict: text::verdict(back.verdict),
            holder: Holder {
                pid: back.process.pid,
                comm: back.process.comm.clone(),
                from: Informant::Kernel,
            },
            held_ms: self.change.held_ms(),
            rule,
            queue_rule: self.queue_rule.as_ref().map(RuleFacts::of),
            used_mask: netfilter::used_mark_bits(self.set),
            free_mask: self.free_mask(),
        }
    }
}

/// See [`Case::key`].
#[derive(Debug, PartialEq, Eq, Hash)]
struct SameChange {
    queue: u16,
    program: String,
    before: u32,
    after: u32,
    hook: Option<Hook>,
    rules: Vec<String>,
    queue_rule: Option<String>,
}

/// The rule that sent it to the queue: the only one that can have, at the hook where it was queued.
fn queue_rule<'a>(drop: &Drop, change: &Change<'_>, set: &'a Ruleset) -> Option<Candidate<'a>> {
    let hook = drop.queue.as_ref()?.hook?;
    let packet = Packet {
        mark: Some(change.before),
        ..Packet::at_drop(drop, hook)?
    };
    let found = netfilter::queued_by(set, &packet, change.queue, None);
    if let [only] = &found.list[..] {
        return Some(only.clone());
    }
    // On its way to another hook the packet may have been translated: then only the number counts.
    let moved = Packet {
        src: None,
        dst: None,
        sport: None,
        dport: None,
        in_dev: None,
        out_dev: None,
        ..packet
    };
    match &netfilter::queued_by(set, &moved, change.queue, None).list[..] {
        [only] => Some(only.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        facts::{
            Fact, FactKey,
            reader::samples,
            ruleset::{Subsystem, Unreadable},
        },
        judge::store::Store,
        model::{
            anchor::{self, Task},
            coverage::Coverage,
            evidence::{QueueTrip, Queued},
            hook::Hook,
            packet,
        },
    };

    const FIREWALL: &str = "*filter\n:FORWARD ACCEPT [0:0]\n\
        -A FORWARD -m mark --mark 0x8000/0x8000 -j DROP\nCOMMIT\n";

    fn drop() -> Drop {
        let mut drop = anchor::tests::drop();
        drop.location.symbol = Some("nf_hook_slow".into());
        drop.reason.name = Some("NETFILTER_DROP".into());
        drop.stack = ["nf_hook_slow", "ip_forward", "ip_rcv_finish"]
            .map(String::from)
            .to_vec();
        drop.mark = 0x8000;
        drop.packet = Some(packet::Packet {
            l3: 4,
            proto: crate::model::proto::Proto::UDP,
            src: Ipv4Addr::new(10, 0, 0, 113).into(),
            dst: Ipv4Addr::new(192, 0, 2, 1).into(),
            sport: Some(4000),
            dport: Some(53),
            tcp_flags: None,
            tcp_seq: None,
            icmp_type: None,
            icmp_code: None,
            ttl: 64,
            id: Some(1),
        });
        drop.queue = Some(QueueTrip {
            hook: Some(Hook::Prerouting),
            l3: 4,
            queued: Some(Queued {
                time_ns: 1,
                queue: 7,
                mark: 0,
            }),
            back: Some(Reinjected {
                time_ns: 2,
                mark: 0x8000,
                verdict: 1,
                process: Task {
                    pid: 1,
                    comm: "inspector".into(),
                },
            }),
        });
        drop
    }

    #[test]
    fn bits_are_only_free_as_far_as_rules_could_be_read() {
        for why in [None, Some("nft is not installed")] {
            let set = Ruleset {
                chains: samples::saved(FIREWALL),
                unreadable: why
                    .map(|why| Unreadable {
                        subsystem: Subsystem::NfTables,
                        why: why.into(),
                    })
                    .into_iter()
                    .collect(),
                ..Ruleset::default()
            };
            let mut store = Store::default();
            store.insert(FactKey::Ruleset { netns: 0 }, Fact::Ruleset(set), 2);
            let coverage = Coverage::default().of_release("6.12.1");
            let view = View::new(&store, &coverage, 1, 3, true);
            let drop = drop();
            let case = Case::read(&drop, &view).expect("its mark's doing");
            let told = case.explain(Vec::new());
            let said = told
                .unknown
                .iter()
                .any(|one| one.contains("which further bits"));
            assert_eq!(said, why.is_some(), "{:?}", told.unknown);
            let sure = told
                .fixes
                .iter()
                .any(|fix| fix.title.contains("no rule here uses"));
            assert_eq!(sure, why.is_none());
        }
    }
}
