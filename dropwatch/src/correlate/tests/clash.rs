//! Packets that conntrack refused: each kind as itself, and what becomes of the connection.

use std::net::Ipv4Addr;

use dropwatch_common::record::ct_insert::status;

use super::*;

mod known;

use crate::{
    facts::{ConntrackEntry, ConntrackStats, Followed, ruleset::Ruleset},
    model::{
        coverage::ProbeStatus,
        evidence::{Clash, CtState, Insertion},
        tuple::Tuple,
    },
};

const SNAT: u32 = status::SRC_NAT | status::SRC_NAT_DONE;
const NODE: Ipv4Addr = Ipv4Addr::new(172, 26, 50, 200);
const SERVER: Ipv4Addr = Ipv4Addr::new(172, 26, 50, 1);

fn tuple(src: Ipv4Addr, sport: u16, dst: Ipv4Addr, dport: u16) -> Tuple {
    Tuple {
        proto: 17,
        src: src.into(),
        dst: dst.into(),
        sport,
        dport,
    }
}

fn pod(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

fn loser() -> Insertion {
    Insertion {
        state: CtState::New,
        status: SNAT,
        zone: 0,
        original: tuple(pod(114), 5000, SERVER, 53),
        reply: tuple(SERVER, 53, NODE, 5000),
    }
}

/// The connection that has the loser's place.
fn winner() -> ConntrackEntry {
    ConntrackEntry {
        found: true,
        original: Some(tuple(pod(113), 5000, SERVER, 53)),
        reply: Some(loser().reply),
        status: SNAT | status::CONFIRMED,
        timeout_s: Some(30),
        tcp_state: None,
    }
}

fn clash(entry: &ConntrackEntry) -> Clash {
    Clash {
        status: entry.status,
        reply_side: true,
        original: entry.original.expect("a tuple"),
        reply: entry.reply.expect("a tuple"),
        timeout_ms: None,
        tcp_state: None,
    }
}

/// A drop by `nf_hook_slow`, called by this function.
fn refused_at(caller: &str, insertion: Option<Insertion>) -> Box<Drop> {
    let mut drop = drop_at(SECOND, "NETFILTER_DROP", None);
    drop.location.symbol = Some("nf_hook_slow".into());
    drop.insertion = insertion;
    drop.stack = [
        "sk_skb_reason_drop",
        "nf_hook_slow",
        caller,
        "process_backlog",
    ]
    .map(String::from)
    .to_vec();
    drop
}

fn stats(entries: u64) -> ConntrackStats {
    ConntrackStats {
        insert_failed: 7,
        drop: 3,
        entries: Some(entries),
        max: Some(100),
        ..ConntrackStats::default()
    }
}

/// An engine on a kernel with or without the probe of conntrack's clash path.
fn kernel(sees_clashes: bool) -> Engine {
    let mut coverage = Coverage::default();
    coverage.update(ProbeStatus {
        hook: "ct_insert".into(),
        probe: "clash".into(),
        symbol: "nf_ct_resolve_clash".into(),
        flavour: sees_clashes.then(|| "fentry".into()),
        attached: sees_clashes,
        why: None,
        awaits: None,
    });
    Engine::new(causes::all(), coverage, true)
}

/// Judges a drop where conntrack's table holds one entry.
fn judged(
    engine: &mut Engine,
    drop: Box<Drop>,
    entry: &ConntrackEntry,
    entries: u64,
) -> (Report, Vec<FactKey>) {
    let now = drop.time_ns + 1;
    let (mut out, mut told, mut follow) = (Vec::new(), None, Vec::new());
    engine.dropped(drop, &mut out);
    while let Some(output) = out.pop() {
        match output {
            Output::Ask(key) => {
                let fact = match key {
                    FactKey::Conntrack { tuple, .. } => Fact::Conntrack(
                        Some(entry.clone())
                            .filter(|e| [e.original, e.reply].contains(&Some(tuple)))
                            .unwrap_or_default(),
                    ),
                    FactKey::ConntrackStats { .. } => Fact::ConntrackStats(stats(entries)),
                    FactKey::Ruleset { .. } => Fact::Ruleset(Ruleset::default()),
                    FactKey::Followed { .. } => {
                        follow.push(key);
                        continue;
                    }
                    ref other => answer(other),
                };
                engine.fact(key, fact, now, &mut out);
            }
            Output::Report(case) => told = Some(*case),
            Output::Repeat(_) | Output::Update(_) | Output::Renewed(_) => panic!("{output:?}"),
        }
    }
    (told.expect("told"), follow)
}

fn kind(engine: &mut Engine, drop: Box<Drop>, entry: &ConntrackEntry) -> (bool, String) {
    let (told, _) = judged(engine, drop, entry, 50);
    let kind = &told.explanation.facts["kind"];
    (
        told.cause == Some("snat_race"),
        kind.as_str().unwrap_or("none").to_owned(),
    )
}

#[test]
fn the_winner_is_taken_from_the_kernel_or_else_asked_for() {
    let mut seen = refused_at("ip_output", Some(loser()));
    seen.clash = Some(clash(&winner()));
    let gone = ConntrackEntry::default();
    let (told, _) = judged(&mut kernel(true), seen, &gone, 50);
    assert_eq!(told.cause, Some("snat_race"), "gone by then, but seen");
    assert_eq!(told.explanation.facts["winner"]["from"], "kernel");

    let unseen = || refused_at("ip_output", Some(loser()));
    let (told, _) = judged(&mut kernel(false), unseen(), &winner(), 50);
    assert_eq!(told.cause, Some("snat_race"));
    assert_eq!(told.explanation.facts["winner"]["from"], "conntrack");
    // Where clashes are seen, one that was not seen was none.
    let (told, _) = judged(&mut kernel(true), unseen(), &winner(), 50);
    assert_eq!(told.cause, None);
    assert_eq!(told.explanation.facts["kind"], "not_inserted");
}

#[test]
fn an_older_winner_is_no_race_and_without_a_rule_no_used_up_range_either() {
    let old = ConntrackEntry {
        timeout_s: Some(20),
        ..winner()
    };
    let assured = ConntrackEntry {
        status: winner().status | status::ASSURED,
        ..winner()
    };
    for entry in [old, assured] {
        for sees in [true, false] {
            let mut drop = refused_at("ip_output", Some(loser()));
            drop.clash = Some(clash(&entry)).filter(|_| sees);
            let kind = kind(&mut kernel(sees), drop, &entry);
            assert_eq!(kind, (false, "nat_clash".into()), "{sees} {entry:?}");
        }
    }
}

#[test]
fn destinations_made_the_same_are_no_race_for_a_port() {
    let vip = |last| Ipv4Addr::new(10, 96, 0, last);
    let insertion = Insertion {
        status: status::DST_NAT | status::SRC_NAT_DONE,
        original: tuple(pod(114), 5000, vip(1), 53),
        reply: tuple(SERVER, 53, pod(114), 5000),
        ..loser()
    };
    let entry = ConntrackEntry {
        original: Some(tuple(pod(114), 5000, vip(2), 53)),
        reply: Some(insertion.reply),
        ..winner()
    };
    for sees in [true, false] {
        let mut drop = refused_at("ip_output", Some(insertion.clone()));
        drop.clash = Some(clash(&entry)).filter(|_| sees);
        let kind = kind(&mut kernel(sees), drop, &entry);
        assert_eq!(kind, (false, "dnat_clash".into()));
    }
}

#[test]
fn the_same_packet_twice_is_no_clash_of_two() {
    let insertion = Insertion {
        status: 0,
        reply: tuple(SERVER, 53, pod(114), 5000),
        ..loser()
    };
    let entry = ConntrackEntry {
        original: Some(insertion.original),
        reply: Some(insertion.reply),
        ..winner()
    };
    for sees in [true, false] {
        let mut drop = refused_at("ip_local_deliver", Some(insertion.clone()));
        drop.clash = Some(clash(&entry)).filter(|_| sees);
        let (told, _) = judged(&mut kernel(sees), drop, &entry, 50);
        assert_eq!(told.explanation.facts["kind"], "duplicate");
        // No rules, so none of them can have dropped it.
        assert!(told.explanation.summary.starts_with("The same packet"));
    }
}

#[test]
fn what_rules_drop_is_left_to_the_rules() {
    let none = ConntrackEntry::default();
    let before = Insertion {
        status: 0,
        reply: tuple(SERVER, 53, pod(114), 5000),
        ..loser()
    };
    let entered = Insertion {
        state: CtState::Established,
        status: SNAT | status::CONFIRMED,
        ..loser()
    };
    for (caller, insertion) in [
        ("ip_local_deliver", before.clone()),
        ("ip_forward", before),
        ("ip_forward", loser()),
        ("ip_output", entered),
    ] {
        let drop = refused_at(caller, Some(insertion));
        let kind = kind(&mut kernel(false), drop, &none);
        assert_eq!(kind, (false, "none".into()), "{caller}");
    }
}

#[test]
fn a_full_table_is_told_from_a_rule_by_its_size() {
    let none = ConntrackEntry::default();
    for (caller, entries, wanted) in [
        ("ip_rcv", 100, "table_full"),
        ("ip_rcv", 99, ""),
        ("__ip_local_out", 101, "table_full"),
        ("ip_forward", 100, ""),
    ] {
        let drop = refused_at(caller, None);
        let (told, _) = judged(&mut kernel(false), drop, &none, entries);
        let kind = told.explanation.facts["kind"].as_str().unwrap_or("");
        assert_eq!((told.cause, kind), (None, wanted), "{caller} {entries}");
    }
}

#[test]
fn counters_read_before_the_drop_are_compared_with_those_after() {
    let mut engine = kernel(false);
    let key = FactKey::ConntrackStats { netns: NETNS };
    let earlier = ConntrackStats {
        insert_failed: 2,
        ..stats(50)
    };
    engine.fact(
        key,
        Fact::ConntrackStats(earlier),
        SECOND / 2,
        &mut Vec::new(),
    );
    let drop = refused_at("ip_output", Some(loser()));
    let (told, _) = judged(&mut engine, drop, &winner(), 50);
    let facts = &told.explanation.facts;
    assert_eq!(facts["insert_failed_before"], 2);
    assert_eq!(facts["insert_failed"], 7, "not the reading from before");

    let drop = refused_at("ip_output", Some(loser()));
    let (told, _) = judged(&mut kernel(false), drop, &winner(), 50);
    assert!(told.explanation.facts["insert_failed_before"].is_null());
}

fn fate(key: FactKey, through: bool, after_ms: u64) -> (FactKey, Fact) {
    let fate = Followed {
        through,
        after_ms,
        resolution_ms: 100,
        state: None,
        answered: through,
    };
    (key, Fact::Followed(fate))
}

#[test]
fn the_first_connection_is_followed_aloud_and_the_others_counted() {
    let mut engine = kernel(false);
    let drop = refused_at("ip_output", Some(loser()));
    let (_, first) = judged(&mut engine, drop, &winner(), 50);
    assert_eq!(first.len(), 1);
    let mut out = Vec::new();
    // 63 more fit; the last two do not, and the first one's packet that is lost again is the same connection.
    for n in 0..66 {
        let mut insertion = loser();
        insertion.original.src = Ipv4Addr::new(10, 0, n, 114).into();
        engine.dropped(refused_at("ip_output", Some(insertion)), &mut out);
    }
    let keys: Vec<_> = out
        .drain(..)
        .filter_map(|o| match o {
            Output::Ask(key) => Some(key),
            _ => None,
        })
        .collect();
    assert_eq!(keys.len(), 63);

    let (key, fact) = fate(keys[0].clone(), true, 3000);
    engine.fact(key, fact, 4 * SECOND, &mut out);
    assert!(out.is_empty(), "{out:?}");
    let (key, fact) = fate(first[0].clone(), true, 1043);
    engine.fact(key, fact, 4 * SECOND, &mut out);
    let [Output::Update(update)] = &out[..] else {
        panic!("{out:?}");
    };
    assert_eq!(update.facts.followed.outcome.after_ms, 1043);
    assert!(update.text.contains("after about 1.0 s"), "{}", update.text);
    let (key, fact) = fate(keys[1].clone(), false, 10_000);
    engine.fact(key, fact, 12 * SECOND, &mut out);
    let unknown = Fact::Unknown { why: "gone".into() };
    engine.fact(keys[2].clone(), unknown, 12 * SECOND, &mut out);

    engine.finish(20 * SECOND, &mut out);
    let tally = engine.tallies();
    let outcomes = tally[0].outcomes.as_ref().expect("followed");
    assert_eq!((outcomes.followed, outcomes.open), (63, 60));
    assert_eq!((outcomes.through, outcomes.never), (2, 1));
    assert_eq!(outcomes.not_followed, 3);
    assert_eq!(outcomes.median_ms, Some(1043));
}

#[test]
fn losses_of_another_reason_are_not_followed() {
    let mut engine = kernel(false);
    let old = ConntrackEntry {
        timeout_s: Some(20),
        ..winner()
    };
    let drop = refused_at("ip_output", Some(loser()));
    let (_, follow) = judged(&mut engine, drop, &old, 50);
    assert!(follow.is_empty());
    engine.finish(20 * SECOND, &mut Vec::new());
    let tally = engine.tallies();
    assert_eq!(tally[0].outcomes, None);
}

#[test]
fn a_winner_that_was_answered_meanwhile_is_a_newcomer_if_it_was_not_at_the_clash() {
    let established = ConntrackEntry {
        status: winner().status | status::SEEN_REPLY | status::ASSURED,
        timeout_s: Some(431_999),
        tcp_state: Some("ESTABLISHED".into()),
        ..winner()
    };
    let mut seen = refused_at("ip_output", Some(loser()));
    seen.clash = Some(clash(&winner()));
    let (told, _) = judged(&mut kernel(true), seen, &established, 50);
    assert_eq!(told.cause, Some("snat_race"));
    assert_eq!(told.explanation.facts["winner"]["state"], "ESTABLISHED");
    // Where only conntrack can be asked and no rule shows that ports were free, it may be an old one.
    let unseen = refused_at("ip_output", Some(loser()));
    let (told, _) = judged(&mut kernel(false), unseen, &established, 50);
    assert_eq!(told.explanation.facts["kind"], "nat_clash");
}
