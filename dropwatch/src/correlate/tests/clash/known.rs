//! What is said of two connections with one port when facts are late, unreadable or missing.

use super::*;
use crate::{
    facts::{
        ConntrackTimeouts,
        reader::samples,
        ruleset::{Subsystem, Unreadable},
    },
    model::{
        evidence::{QueueTrip, Queued, Reinjected},
        hook::Hook,
    },
};

/// The sentence that is the opposite of a race's cure.
const NO_RANDOM: &str = "random ports do not";

/// What conntrack and the rules answer, and when.
struct World {
    /// Entries of the table.
    entries: Vec<ConntrackEntry>,
    /// How many there are.
    count: u64,
    /// `None` = there is no answer.
    rules: Option<Ruleset>,
    /// Conntrack answers this long after the drop.
    conntrack_ns: u64,
    /// Refused packets, as counted before the drop and after it.
    refused: (Option<u64>, u64),
    /// The namespace.
    netns: Netns,
}

impl World {
    fn new(entries: &[ConntrackEntry]) -> Self {
        Self {
            entries: entries.to_vec(),
            count: 50,
            rules: Some(Ruleset::default()),
            conntrack_ns: 1_000_000,
            refused: (None, 3),
            netns: Netns {
                own: true,
                ..Netns::default()
            },
        }
    }

    fn stats(&self, drop: u64) -> Fact {
        Fact::ConntrackStats(ConntrackStats {
            drop,
            timeouts: Some(ConntrackTimeouts::default()),
            ..stats(self.count)
        })
    }

    fn conntrack(&self, tuple: &Tuple) -> Fact {
        let holds = |e: &&ConntrackEntry| [e.original, e.reply].contains(&Some(*tuple));
        let entry = self.entries.iter().find(holds).cloned();
        Fact::Conntrack(entry.unwrap_or_default())
    }

    /// What is told of a drop when all answers that there are have come.
    fn told(&self, sees_clashes: bool, drop: Box<Drop>) -> Report {
        let mut engine = kernel(sees_clashes);
        let (dropped, mut out) = (drop.time_ns, Vec::new());
        let key = FactKey::ConntrackStats { netns: NETNS };
        if let Some(before) = self.refused.0 {
            engine.fact(key, self.stats(before), dropped / 2, &mut out);
        }
        engine.dropped(drop, &mut out);
        while let Some(output) = out.pop() {
            let Output::Ask(key) = output else {
                if let Output::Report(told) = output {
                    return *told;
                }
                continue;
            };
            let (fact, after_ns) = match &key {
                FactKey::Conntrack { tuple, .. } => (self.conntrack(tuple), self.conntrack_ns),
                FactKey::ConntrackStats { .. } => (self.stats(self.refused.1), 1),
                FactKey::Ruleset { .. } => match &self.rules {
                    Some(rules) => (Fact::Ruleset(rules.clone()), 1),
                    None => continue,
                },
                FactKey::Netns { .. } => (Fact::Netns(self.netns.clone()), 1),
                other => (answer(other), 1),
            };
            engine.fact(key, fact, dropped + after_ns, &mut out);
        }
        engine.advance(dropped + 5 * SECOND, &mut out);
        let told = out.into_iter().find_map(|output| match output {
            Output::Report(told) => Some(*told),
            _ => None,
        });
        told.expect("told when patience ends")
    }
}

fn kind_of(told: &Report) -> &str {
    told.explanation.facts["kind"].as_str().unwrap_or("none")
}

fn unknown_of(told: &Report) -> String {
    told.explanation.unknown.join("\n")
}

/// The packet that lost, with the winner as the kernel's clash path saw it.
fn lost(insertion: Insertion, entry: &ConntrackEntry) -> Box<Drop> {
    let mut drop = refused_at("ip_output", Some(insertion));
    drop.clash = Some(clash(entry));
    drop
}

fn snat(to: &str) -> Ruleset {
    let text = format!(
        "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -p udp -j SNAT --to-source {to}\nCOMMIT\n"
    );
    Ruleset {
        chains: samples::saved(&text),
        ..Ruleset::default()
    }
}

/// A connection that holds one of the translated ports.
fn holder(last: u8, sport: u16, port: u16) -> ConntrackEntry {
    ConntrackEntry {
        original: Some(tuple(pod(last), sport, SERVER, 53)),
        reply: Some(tuple(SERVER, 53, NODE, port)),
        ..winner()
    }
}

/// A third client of a rule with two ports.
fn third() -> Insertion {
    Insertion {
        original: tuple(pod(114), 6000, SERVER, 53),
        reply: tuple(SERVER, 53, NODE, 40_001),
        ..loser()
    }
}

#[test]
fn rules_that_come_too_late_turn_no_race_into_a_used_up_range() {
    for sees in [true, false] {
        let mut drop = lost(loser(), &winner());
        drop.clash = drop.clash.filter(|_| sees);
        let late = World {
            rules: None,
            ..World::new(&[winner()])
        };
        let told = late.told(sees, drop);
        assert!(!told.explanation.summary.contains(NO_RANDOM), "{told:?}");
        assert!(unknown_of(&told).contains("no answer in time"));
        if sees {
            assert_eq!(told.cause, Some("snat_race"));
            assert_eq!(told.explanation.facts["proof"], "kept_port");
            assert!(
                unknown_of(&told).contains("which rule translated it: the rules could not be read")
            );
        } else {
            // A rule of nf_tables could have dropped it there on such a kernel.
            assert_eq!(kind_of(&told), "nat_clash");
        }
    }
}

#[test]
fn what_conntrack_says_late_is_counted_from_the_drop() {
    // Four seconds later a new connection's time-out is four seconds shorter.
    let by_then = ConntrackEntry {
        timeout_s: Some(26),
        ..winner()
    };
    let late = World {
        conntrack_ns: 3_900_000_000,
        rules: None,
        ..World::new(&[by_then])
    };
    let told = late.told(true, lost(loser(), &winner()));
    assert_eq!(told.cause, Some("snat_race"));
    // One that was there four seconds before is not taken for new.
    let by_then = ConntrackEntry {
        timeout_s: Some(22),
        ..winner()
    };
    let late = World {
        entries: vec![by_then],
        ..late
    };
    let told = late.told(true, lost(loser(), &winner()));
    assert_eq!(kind_of(&told), "nat_clash");
    assert!(told.explanation.summary.contains("no new one"));
}

#[test]
fn a_used_up_range_is_said_with_its_rule_and_every_port_held() {
    let held = [holder(113, 5001, 40_000), holder(113, 5002, 40_001)];
    let world = World {
        rules: Some(snat("172.26.50.200:40000-40001")),
        ..World::new(&held)
    };
    let told = world.told(true, lost(third(), &held[1]));
    assert_eq!((told.cause, kind_of(&told)), (None, "exhausted"));
    assert!(told.explanation.summary.contains(NO_RANDOM));
    assert!(told.explanation.summary.contains("40000-40001"));
    // With the rules unreadable nobody knows, though both are new.
    let unreadable = Ruleset {
        unreadable: vec![Unreadable {
            subsystem: Subsystem::NfTables,
            why: "nft is not installed".into(),
        }],
        ..snat("172.26.50.200:40000-40001")
    };
    for rules in [None, Some(unreadable)] {
        let world = World {
            rules,
            ..World::new(&held)
        };
        let told = world.told(true, lost(third(), &held[1]));
        assert_eq!((told.cause, kind_of(&told)), (None, "nat_clash"));
        assert!(!told.explanation.summary.contains(NO_RANDOM));
        assert!(unknown_of(&told).contains("which rule translated it"));
    }
    // A port is free: the search would have found it.
    let world = World {
        rules: Some(snat("172.26.50.200:40000-40001")),
        ..World::new(&held[1..])
    };
    let told = world.told(true, lost(third(), &held[1]));
    assert_eq!(told.explanation.facts["proof"], "free_port");
}

#[test]
fn a_hint_enters_the_namespace_once() {
    let held = [holder(113, 5001, 40_000), holder(113, 5002, 40_001)];
    let world = World {
        rules: Some(snat("172.26.50.200:40000-40001")),
        netns: Netns {
            name: Some("pod".into()),
            path: Some("/run/netns/pod".into()),
            ..Netns::default()
        },
        ..World::new(&held)
    };
    let told = world.told(true, lost(third(), &held[1]));
    let look = told
        .explanation
        .evidence
        .iter()
        .find(|line| line.label == "look at");
    let look = &look.expect("a hint").text;
    assert!(
        look.starts_with("`ip netns exec pod conntrack -L -p udp"),
        "{look}"
    );
}

/// A rule behind the translation that drops what goes to port 53.
const LATE_DROP: &str = r#"{"nftables": [
    {"table": {"family": "ip", "name": "late", "handle": 1}},
    {"chain": {"family": "ip", "table": "late", "name": "out", "handle": 1, "type": "filter",
               "hook": "postrouting", "prio": 200, "policy": "accept"}},
    {"rule": {"family": "ip", "table": "late", "chain": "out", "handle": 2, "expr": [
        {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 53}},
        {"drop": null}]}}]}"#;

#[test]
fn what_a_rule_drops_before_it_can_clash_is_the_rules() {
    let world = World {
        rules: Some(Ruleset {
            chains: samples::listed(LATE_DROP, &std::collections::HashMap::new()),
            ..Ruleset::default()
        }),
        ..World::new(&[winner()])
    };
    // Where clashes may be missed, and rules of nf_tables are freed at the same place.
    let mut drop = lost(loser(), &winner());
    drop.clash = None;
    if let Some(packet) = &mut drop.packet {
        packet.dport = Some(53);
    }
    let told = world.told(false, drop.clone());
    assert_eq!((told.cause, kind_of(&told)), (None, "none"), "{told:?}");
    // A clash that was seen is one.
    drop.clash = Some(clash(&winner()));
    let told = world.told(true, drop);
    assert_eq!(told.cause, Some("snat_race"));
}

#[test]
fn a_port_that_may_have_been_given_is_not_taken_for_kept() {
    // Without its rule, two ports for all look like a race where the last one happens to be the client's own.
    let given = holder(113, 7000, 5001);
    let kept = holder(113, 5001, 5001);
    for (next, race) in [(given, false), (kept, true)] {
        let world = World {
            rules: None,
            ..World::new(&[winner(), next])
        };
        let told = world.told(true, lost(loser(), &winner()));
        assert_eq!(told.cause == Some("snat_race"), race, "{told:?}");
    }
}

#[test]
fn ports_asked_too_late_prove_nothing() {
    let world = |entries: &[ConntrackEntry]| World {
        rules: Some(snat("172.26.50.200:40000-40001")),
        conntrack_ns: 3 * SECOND,
        ..World::new(entries)
    };
    // Free by then, taken by then: neither is known of the moment of the drop.
    let one = ConntrackEntry {
        timeout_s: Some(10),
        ..holder(113, 5002, 40_001)
    };
    let since = holder(113, 5001, 40_000);
    for entries in [vec![one.clone()], vec![one.clone(), since]] {
        let told = world(&entries).told(true, lost(third(), &one));
        assert_eq!(
            (told.cause, kind_of(&told)),
            (None, "nat_clash"),
            "{entries:?}"
        );
    }
    // Time-outs that are older than the asking took: held then already.
    let before = ConntrackEntry {
        timeout_s: Some(11),
        ..holder(113, 5001, 40_000)
    };
    let told = world(&[one.clone(), before]).told(true, lost(third(), &one));
    assert_eq!(kind_of(&told), "exhausted");
}

#[test]
fn a_rule_that_was_changed_meanwhile_is_not_the_one() {
    let held = [holder(113, 5001, 40_000), holder(113, 5002, 40_001)];
    let world = World {
        rules: Some(snat("172.26.50.200:50000-50001")),
        ..World::new(&held)
    };
    let told = world.told(true, lost(third(), &held[1]));
    assert_eq!(kind_of(&told), "nat_clash");
    assert!(unknown_of(&told).contains("changed meanwhile"));
}

/// A queue behind the translation holds a packet back that has its port; by the time it comes back, the other
/// connection is answered.
fn held_back(ms: u64) -> Box<Drop> {
    let answered = ConntrackEntry {
        status: winner().status | status::SEEN_REPLY | status::ASSURED,
        ..winner()
    };
    let mut drop = lost(loser(), &answered);
    drop.location.symbol = Some("nfqnl_reinject".into());
    drop.stack = ["sk_skb_reason_drop", "nfqnl_reinject", "nfqnl_recv_verdict"]
        .map(String::from)
        .to_vec();
    drop.queue = Some(QueueTrip {
        hook: Some(Hook::Postrouting),
        l3: 4,
        queued: Some(Queued {
            time_ns: drop.time_ns - ms * 1_000_000,
            queue: 7,
            mark: 0,
        }),
        back: Some(Reinjected {
            time_ns: drop.time_ns,
            mark: 0,
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
fn a_winner_that_was_answered_while_the_loser_was_held_back_is_no_older_one() {
    let answered = |timeout_s| ConntrackEntry {
        status: winner().status | status::SEEN_REPLY | status::ASSURED,
        timeout_s: Some(timeout_s),
        ..winner()
    };
    // A stream's time-out is 120 s; that one had a packet while the loser was in the queue.
    let world = World {
        rules: None,
        ..World::new(&[answered(119)])
    };
    let told = world.told(true, held_back(600));
    assert_eq!(told.cause, Some("snat_race"), "{told:?}");
    assert!(told.explanation.summary.contains("queue 7 for 600 ms"));
    // Older than the time in the queue: not known to be a race, and not said to be a used-up range.
    let world = World {
        rules: None,
        ..World::new(&[answered(90)])
    };
    let told = world.told(true, held_back(600));
    assert_eq!((told.cause, kind_of(&told)), (None, "nat_clash"));
    assert!(!told.explanation.summary.contains(NO_RANDOM));
}

#[test]
fn a_range_that_filled_up_while_the_loser_was_held_back_was_not_used_up() {
    let held = [holder(113, 5001, 40_000), holder(113, 5002, 40_001)];
    let mut drop = held_back(600);
    drop.insertion = Some(third());
    drop.clash = Some(clash(&held[1]));
    let world = World {
        rules: Some(snat("172.26.50.200:40000-40001")),
        ..World::new(&held)
    };
    let told = world.told(true, drop);
    assert_eq!(kind_of(&told), "nat_clash");
}

#[test]
fn a_silent_conntrack_is_no_sign_that_nothing_was_in_the_way() {
    let drop = refused_at("ip_output", Some(loser()));
    let mut engine = kernel(false);
    let mut out = Vec::new();
    engine.dropped(drop, &mut out);
    out.clear();
    engine.advance(7 * SECOND, &mut out);
    let Some(Output::Report(told)) = out.first() else {
        panic!("not told: {out:?}");
    };
    assert_eq!(kind_of(told), "not_inserted");
    assert!(!told.explanation.summary.contains("No other connection"));
    assert!(unknown_of(told).contains("whether another connection holds its place"));
}

#[test]
fn an_entry_that_the_kernel_showed_is_not_denied() {
    let mut drop = lost(loser(), &winner());
    let stranger = tuple(pod(7), 7, pod(8), 8);
    if let Some(clash) = &mut drop.clash {
        (clash.original, clash.reply) = (stranger, stranger);
    }
    let told = World::new(&[]).told(true, drop);
    assert_eq!(kind_of(&told), "not_inserted");
    assert!(told.explanation.summary.contains("was in the way"));
}

#[test]
fn a_full_table_is_proven_by_what_was_counted() {
    let told = |before: Option<u64>, after: u64| {
        let world = World {
            count: 100,
            refused: (before, after),
            ..World::new(&[])
        };
        world.told(true, refused_at("ip_rcv", None))
    };
    let counted = told(Some(3), 4);
    assert_eq!(kind_of(&counted), "table_full");
    assert!(
        counted
            .explanation
            .summary
            .starts_with("The conntrack table was full")
    );
    // Nothing was refused: whoever dropped it, it was not that.
    assert_eq!(kind_of(&told(Some(4), 4)), "none");
    let guessed = told(None, 4);
    assert!(guessed.explanation.summary.starts_with("Most likely"));
    assert!(unknown_of(&guessed).contains("had not been read before"));
}
