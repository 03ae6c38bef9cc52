use super::*;
use crate::{
    facts::{
        Fact, FactKey,
        ipvs::{IpvsDestination, IpvsService, IpvsState},
        queues::Queue,
        reader::ruleset::samples,
    },
    judge::store::Store,
    model::{
        anchor::{Task, tests::drop},
        coverage::Coverage,
        evidence::{Queued, Reinjected},
        ipvs::Endpoint,
        packet,
        proto::Proto,
        tcp_flags::TcpFlags,
    },
};

/// A TCP packet to port 80 that was freed in a function which these called.
fn dropped(freed: &str, stack: &[&str]) -> Drop {
    let mut drop = drop();
    drop.location.symbol = Some(freed.into());
    drop.stack = stack.iter().map(ToString::to_string).collect();
    drop.packet = Some(packet::Packet {
        l3: 4,
        proto: Proto::TCP,
        src: [10, 0, 0, 1].into(),
        dst: [10, 0, 0, 2].into(),
        sport: Some(41000),
        dport: Some(80),
        tcp_flags: Some(TcpFlags::SYN),
        tcp_seq: None,
        icmp_type: None,
        icmp_code: None,
        ttl: 64,
        id: None,
    });
    drop
}

/// What is said where no rules are loaded.
fn said(drop: &Drop, facts: Vec<(FactKey, Fact)>) -> Said {
    with_rules(drop, Ruleset::default(), facts)
}

fn with_rules(drop: &Drop, set: Ruleset, facts: Vec<(FactKey, Fact)>) -> Said {
    let netns = drop.netns;
    let mut store = Store::default();
    store.insert(FactKey::Ruleset { netns }, Fact::Ruleset(set), 1);
    for (key, fact) in facts {
        store.insert(key, fact, 1);
    }
    let coverage = Coverage::default().of_release("6.12.0");
    let view = View::new(&store, &coverage, 1, 1, true);
    explain(drop, &view).expect("netfilter's")
}

fn ipvs(weights: &[i32]) -> Said {
    let drop = dropped("nf_hook_slow", &["nf_hook_slow", "ip_local_deliver"]);
    let end = |addr: [u8; 4], port| Endpoint {
        addr: addr.into(),
        port,
    };
    let (client, service) = (end([10, 0, 0, 1], 41000), end([10, 0, 0, 2], 80));
    let destinations = weights.iter().map(|weight| IpvsDestination {
        endpoint: end([10, 1, 0, 1], 8080),
        weight: *weight,
    });
    let state = IpvsState {
        services: vec![IpvsService {
            proto: "TCP".into(),
            endpoint: Some(service),
            fwmark: 0,
            scheduler: "rr".into(),
            destinations: destinations.collect(),
        }],
        ..IpvsState::default()
    };
    let key = FactKey::Ipvs {
        netns: drop.netns,
        client,
        service,
    };
    said(&drop, vec![(key, Fact::Ipvs(state))])
}

#[test]
fn a_service_of_ipvs_without_real_servers_is_named() {
    for (weights, why) in [
        (&[][..], "it has none"),
        (&[0], "its only one has weight 0"),
        (&[0, 0], "all 2 have weight 0"),
    ] {
        let said = ipvs(weights);
        assert_eq!(said.kind, Some(PlainKind::IpvsNoDestination));
        assert!(said.what.contains(why), "{}", said.what);
    }
    let usable = ipvs(&[0, 1]);
    assert_eq!(usable.kind, None);
    assert!(usable.what.ends_with("not evaluated."), "{}", usable.what);
    assert_eq!(usable.unknown.len(), 1);
}

/// A packet that came back from queue 80 with a verdict, where a program still listens or none does.
fn returned(verdict: u32, stack: &[&str], bound: bool) -> Said {
    let mut drop = dropped("nfqnl_reinject", stack);
    drop.queue = Some(QueueTrip {
        hook: Some(Hook::Input),
        l3: 4,
        queued: Some(Queued {
            time_ns: 1,
            queue: 80,
            mark: 0,
        }),
        back: Some(Reinjected {
            time_ns: 2,
            mark: 0,
            verdict,
            process: Task {
                pid: 7,
                comm: "inspector".into(),
            },
        }),
    });
    let queue = Queue {
        number: 80,
        port: 7,
        holder: None,
        waiting: 0,
        copy_mode: Some(2),
        dropped: 0,
        user_dropped: 0,
    };
    let queues = Queues {
        queues: if bound { vec![queue] } else { Vec::new() },
    };
    let key = FactKey::Queues { netns: drop.netns };
    said(&drop, vec![(key, Fact::Queues(queues))])
}

#[test]
fn only_a_verdict_to_drop_is_called_one() {
    let verdict = ["nfqnl_reinject", "nfqnl_recv_verdict"];
    let dropped = returned(0, &verdict, true);
    assert_eq!(dropped.kind, Some(PlainKind::QueueDrop));
    assert!(dropped.what.contains("its verdict was DROP"));
    for (number, name) in [(1, "ACCEPT"), (4, "REPEAT"), (5, "STOP")] {
        let said = returned(number, &verdict, true);
        assert_eq!(said.kind, None);
        let title = said.title.expect("a title");
        assert!(title.ends_with("by what is not known"), "{title}");
        assert!(said.lines[0].text.contains(&format!("verdict {name}")));
    }
}

#[test]
fn a_program_that_went_away_gave_no_verdict() {
    let down = ["nfqnl_reinject", "nfqnl_flush", "instance_destroy_rcu"];
    let gone = returned(0, &down, false);
    assert_eq!(gone.kind, Some(PlainKind::QueueGone));
    assert!(gone.what.contains("No program gave a verdict"));
    let way = &gone.lines[0].text;
    assert!(way.ends_with("thrown out while inspector[7] ran"), "{way}");
    assert!(!way.contains("verdict"), "{way}");
    let likely = returned(0, &[], false);
    assert_eq!(likely.kind, Some(PlainKind::QueueGone));
    assert!(likely.what.contains("most likely"), "{}", likely.what);
    let ended_later = returned(0, &["nfqnl_reinject", "nfqnl_recv_verdict"], false);
    assert_eq!(ended_later.kind, Some(PlainKind::QueueDrop));
}

#[test]
fn rules_that_were_read_late_or_while_they_changed_are_said_to_be() {
    let drop = dropped("nf_hook_slow", &["nf_hook_slow", "ip_forward"]);
    let after = |ns: u64| Ruleset {
        read_ns: Some(drop.time_ns + ns),
        ..Ruleset::default()
    };
    assert_eq!(late(&drop, &after(900_000_000)), None);
    let said = late(&drop, &after(2_500_000_000)).expect("late");
    assert!(said.contains("2.5 s after the drop"), "{said}");
    let earlier = Ruleset {
        read_ns: Some(0),
        ..Ruleset::default()
    };
    assert_eq!(late(&drop, &earlier), None, "another case had asked before");
    let changed = Ruleset {
        changed: true,
        ..Ruleset::default()
    };
    let on = |release| {
        let coverage = Coverage::default().of_release(release);
        Attribution::of(&drop, &changed, &coverage).expect("netfilter's")
    };
    assert!(
        on("6.1.0")
            .words()
            .contains("they changed while they were read")
    );
    assert!(
        on("6.12.0").not_evaluated.is_empty(),
        "it was a rule of iptables"
    );
}

/// What is said of a packet that came back from queue 80, where a rule of INPUT drops such packets.
fn behind_a_queue(verdict: Option<u32>) -> Said {
    let mut drop = dropped("nfqnl_reinject", &["nfqnl_reinject", "nfqnl_recv_verdict"]);
    drop.queue = verdict.map(|verdict| QueueTrip {
        queued: Some(Queued {
            queue: 80,
            mark: 0,
            time_ns: 0,
        }),
        back: Some(Reinjected {
            verdict,
            mark: 0,
            time_ns: 0,
            process: Task {
                pid: 7,
                comm: "ids".into(),
            },
        }),
        hook: Some(Hook::Input),
        l3: 4,
    });
    let rules = "*mangle\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j NFQUEUE --queue-num 80\nCOMMIT\n\
        *filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 80 -j DROP\nCOMMIT\n";
    let set = Ruleset {
        chains: samples::saved(rules),
        ..Ruleset::default()
    };
    with_rules(&drop, set, Vec::new())
}

#[test]
fn who_drops_behind_a_queue_is_known_only_where_its_verdict_was_seen() {
    let seen = behind_a_queue(Some(1));
    assert!(seen.what.contains("let it pass"), "{}", seen.what);
    assert_eq!(
        seen.title.as_deref(),
        Some(
            "dropped by iptables-legacy table filter chain INPUT rule 1, behind queue 80 (NFQUEUE)"
        )
    );
    assert!(seen.facts.certain);
    let by_program = behind_a_queue(Some(0));
    assert!(by_program.what.contains("the program wanted it so"));
    // What takes packets back frees both alike.
    let unseen = behind_a_queue(None);
    assert!(
        unseen.what.contains("which was not seen"),
        "{}",
        unseen.what
    );
    assert!(
        unseen.what.contains("chain INPUT rule 1"),
        "{}",
        unseen.what
    );
    assert!(!unseen.facts.certain);
    let title = unseen.title.expect("a title");
    assert!(!title.contains("rule"), "{title}");
}
