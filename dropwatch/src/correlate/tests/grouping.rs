//! Which drops are one case, what it counts, and what happens when there are more than can be kept apart.

use std::net::Ipv4Addr;

use super::*;
use crate::{
    correlate::cases,
    facts::reader::samples,
    facts::ruleset::Ruleset,
    model::counts::{Kind, KindCount},
};

/// A drop by netfilter at INPUT to a port.
fn filtered(time_ns: u64, dport: u16) -> Box<Drop> {
    let mut drop = drop_at(time_ns, "NETFILTER_DROP", None);
    drop.location.symbol = Some("nf_hook_slow".into());
    drop.stack = ["nf_hook_slow", "ip_local_deliver"]
        .map(String::from)
        .to_vec();
    if let Some(packet) = &mut drop.packet {
        packet.dport = Some(dport);
        packet.sport = Some(40_000);
    }
    drop
}

fn rules(lines: &str) -> Fact {
    let saved = format!("*filter\n:INPUT ACCEPT [0:0]\n{lines}COMMIT\n");
    Fact::Ruleset(Ruleset {
        chains: samples::saved(&saved),
        ..Ruleset::default()
    })
}

const TWO_RULES: &str =
    "-A INPUT -p udp -m udp --dport 81 -j DROP\n-A INPUT -p udp -m udp --dport 82 -j DROP\n";

/// On a kernel where only iptables-legacy can have done it.
fn modern() -> Engine {
    let coverage = Coverage {
        rp_filter_reason: true,
        ..Coverage::default()
    };
    Engine::new(causes::all(), coverage.of_release("6.12.1"), true)
}

/// Pushes a drop and answers with these rules.
fn judged(engine: &mut Engine, drop: Box<Drop>, set: &Fact) -> Vec<Report> {
    let now = drop.time_ns;
    let (mut out, mut reports) = (Vec::new(), Vec::new());
    engine.dropped(drop, &mut out);
    while !out.is_empty() {
        for output in std::mem::take(&mut out) {
            match output {
                Output::Ask(key @ FactKey::Ruleset { .. }) => {
                    engine.fact(key, set.clone(), now, &mut out);
                }
                Output::Ask(key) => {
                    let fact = answer(&key);
                    engine.fact(key, fact, now, &mut out);
                }
                Output::Report(report) => reports.push(*report),
                _ => {}
            }
        }
    }
    reports
}

#[test]
fn two_rules_are_two_cases_each_with_its_own_count() {
    let (mut engine, set) = (modern(), rules(TWO_RULES));
    let mut told = Vec::new();
    for (n, port) in [81, 82, 82, 81, 82].into_iter().enumerate() {
        let time_ns = SECOND + n as u64;
        told.extend(judged(&mut engine, filtered(time_ns, port), &set));
    }
    let rules: Vec<_> = told
        .iter()
        .map(|t| t.explanation.facts["netfilter"]["rules"][0]["text"].clone())
        .collect();
    assert_eq!(rules.len(), 2, "{rules:?}");
    assert!(rules[0].to_string().contains("--dport 81"));
    assert!(rules[1].to_string().contains("--dport 82"));
    assert!(
        !told[0].explanation.title.contains("lxc1"),
        "a rule is of no device"
    );
    let totals: Vec<_> = engine.tallies().iter().map(|t| t.numbers.exact).collect();
    assert_eq!(totals, [Some(2), Some(3)]);
}

#[test]
fn one_rule_on_many_devices_is_one_case_that_lists_them() {
    let (mut engine, set) = (modern(), rules(TWO_RULES));
    let mut told = Vec::new();
    for n in 0..24_u32 {
        let mut drop = filtered(SECOND + u64::from(n), 81);
        drop.dev = Some(Dev {
            name: format!("lxc{n}"),
            ifindex: n + 10,
        });
        told.extend(judged(&mut engine, drop, &set));
    }
    assert_eq!(told.len(), 1);
    let tally = &engine.tallies()[0];
    assert_eq!((tally.numbers.total, tally.devices.len()), (24, 24));
    assert_eq!(tally.flows.len(), 1);
}

#[test]
fn members_of_a_rules_list_are_cases_up_to_a_number() {
    let set = rules("-A INPUT -p udp -m multiport --dports 1:1000,2000,2001 -j DROP\n");
    let mut engine = modern();
    for port in [2000, 2001, 2001, 7, 8] {
        judged(&mut engine, filtered(SECOND, port), &set);
    }
    let tallies = engine.tallies();
    let counts: Vec<_> = tallies
        .iter()
        .map(|tally| (tally.title.as_str(), tally.numbers.total))
        .collect();
    let rule = "dropped by iptables-legacy table filter chain INPUT rule 1";
    assert_eq!(
        counts,
        [
            (format!("{rule} (dport 2000)").as_str(), 1),
            (format!("{rule} (dport 2001)").as_str(), 2),
            (format!("{rule} (dport 1-1000)").as_str(), 2),
        ]
    );
    // A list may have very many.
    let ports: Vec<String> = (1..=100).map(|port| port.to_string()).collect();
    let set = rules(&format!(
        "-A INPUT -p udp -m multiport --dports {} -j DROP\n",
        ports.join(",")
    ));
    let mut engine = modern();
    for port in 1..=100 {
        judged(&mut engine, filtered(SECOND, port), &set);
    }
    let tallies = engine.tallies();
    assert!(tallies.len() < 40, "{}", tallies.len());
    let rest = tallies.last().map(|tally| tally.title.as_str());
    assert_eq!(rest, Some(format!("{rule}, further members").as_str()));
}

#[test]
fn rules_that_changed_are_asked_for_anew() {
    let mut engine = modern();
    let first = judged(&mut engine, filtered(SECOND, 81), &rules(TWO_RULES));
    assert_eq!(first.len(), 1);
    let other = rules("-A INPUT -p udp -j DROP\n");
    let soon = judged(&mut engine, filtered(SECOND + SECOND / 2, 81), &other);
    assert!(soon.is_empty(), "the rules read before are still good");
    let later = judged(&mut engine, filtered(8 * SECOND, 81), &other);
    let text = later[0].explanation.facts["netfilter"]["rules"][0]["text"].to_string();
    assert!(text.contains("-A INPUT -p udp -j DROP"), "{text}");
}

#[test]
fn sockets_differ_by_port_and_a_scan_is_summed_up() {
    let mut engine = modern();
    let mut titles = Vec::new();
    for port in 1..=1_000 {
        let mut drop = drop_at(SECOND, "NO_SOCKET", None);
        if let Some(packet) = &mut drop.packet {
            packet.dport = Some(port);
        }
        titles.extend(
            told(&mut engine, drop)
                .into_iter()
                .map(|t| t.explanation.title),
        );
    }
    assert_eq!(titles.len(), cases::MOST_OF_FAMILY + 1);
    assert!(titles[cases::MOST_OF_FAMILY].contains("further destinations"));
    let tallies = engine.tallies();
    let rest = tallies.last().expect("the rest");
    assert_eq!(rest.numbers.total, 1_000 - cases::MOST_OF_FAMILY as u64);
    assert!(rest.other_flows > 0);
}

/// Where the kernel does not say which check it was, what went to two ports or hosts is not one case all the same.
#[test]
fn destinations_are_told_apart_without_a_reason_too() {
    let destinations = |reason: Option<&str>, place: &str, proto: &str, flags: Option<&str>| {
        let mut engine = modern();
        let mut titles = Vec::new();
        for n in 1..=2 {
            let mut drop = drop_at(SECOND, "NOT_SPECIFIED", None);
            drop.reason.name = reason.map(str::to_owned);
            drop.location.symbol = Some(place.into());
            let packet = drop.packet.as_mut().expect("a packet");
            packet.proto = proto.parse().expect("a protocol");
            packet.tcp_flags = flags.map(|flags| flags.parse().expect("flags"));
            packet.dst = Ipv4Addr::new(10, 0, 1, n).into();
            packet.dport = Some(n.into());
            let reports = told(&mut engine, drop);
            titles.extend(reports.into_iter().map(|t| t.explanation.title));
        }
        titles.dedup();
        titles.len()
    };
    let silent = Some("NOT_SPECIFIED");
    for (reason, place, proto, flags) in [
        (silent, "__udp4_lib_rcv", "UDP", None),
        (silent, "udp_rcv", "UDP", None),
        (None, "tcp_v4_rcv", "TCP", Some("SYN")),
        (None, "__udp4_lib_rcv", "UDP", None),
        (None, "ip_forward", "UDP", None),
        (silent, "ip6_mc_input", "UDP", None),
    ] {
        let cases = destinations(reason, place, proto, flags);
        assert_eq!(cases, 2, "{reason:?} {place}");
    }
    // The ends of connections of a client, each from a port of its own.
    let ends = destinations(silent, "tcp_v4_rcv", "TCP", Some("FIN,ACK"));
    assert_eq!(ends, 1);
}

/// A source on each of three devices, and no route to any of them.
#[test]
fn a_setting_of_all_devices_is_one_case_whoever_has_no_route() {
    let cases = |all, device| {
        let mut engine = modern();
        let mut keep = Vec::new();
        for n in 1..=3 {
            let mut check = refused(all, device, true).expect("a check");
            check.lookup.as_mut().expect("a look-up").oif = 0;
            let mut drop = drop_at(SECOND, "IP_RPFILTER", Some(check));
            drop.packet.as_mut().expect("a packet").src = Ipv4Addr::new(10, 9, 0, n).into();
            drop.dev = Some(Dev {
                name: format!("lxc{n}"),
                ifindex: n.into(),
            });
            keep.extend(told(&mut engine, drop));
        }
        let tallies = engine.tallies();
        assert!(tallies.iter().all(|one| one.cause == Some("rp_filter")));
        (keep.len(), tallies[0].devices.len())
    };
    assert_eq!(cases(1, 0), (1, 3));
    assert_eq!(cases(0, 1), (3, 1), "each device has a setting of its own");
}

#[test]
fn what_there_is_no_room_for_is_blamed_on_nobody() {
    let mut engine = engine();
    let mut out = Vec::new();
    // As many kinds as there is room for, then a refusal by the reverse-path filter.
    for n in 0..cases::MOST as u64 {
        let mut drop = drop_at(SECOND, "DEV_READY", None);
        drop.location.address = 1_000 + n;
        told(&mut engine, drop);
    }
    let refusal = told(
        &mut engine,
        drop_at(SECOND, "IP_RPFILTER", refused(2, 2, false)),
    );
    assert_eq!(refusal[0].cause, None);
    assert_eq!(refusal[0].explanation.facts["kind"], "overflow");
    for n in 0..50 {
        let mut drop = drop_at(SECOND, "OTHERHOST", None);
        drop.location.address = 100_000 + n;
        assert!(told(&mut engine, drop).is_empty());
    }
    engine.finish(2 * SECOND, &mut out);
    let tallies = engine.tallies();
    assert!(tallies.iter().all(|t| t.cause.is_none()));
    let all = tallies.iter().map(|t| t.drops).sum::<u64>();
    assert_eq!(all, cases::MOST as u64 + 51);
    assert_eq!(engine.drops(), (all, 0));
}

#[test]
fn quiet_cases_make_room_and_nothing_is_lost() {
    let mut engine = engine();
    let mut reports = 0;
    for n in 0..6_000_u64 {
        // Twenty a second: never more at a time than there is room for.
        let now = SECOND + n * SECOND / 20;
        let mut drop = drop_at(now, "OTHERHOST", None);
        drop.location.address = n;
        reports += told(&mut engine, drop).len();
        if n % 100 == 0 {
            engine.advance(now, &mut Vec::new());
        }
    }
    assert_eq!(reports, 6_000);
    assert!(engine.tallies().len() <= cases::MOST);
    assert_eq!(engine.drops().0, 6_000);
    let closed = engine.closed();
    assert_eq!(closed.cases + engine.tallies().len() as u64, 6_000);
}

#[test]
fn the_next_owner_of_a_number_inherits_nothing() {
    let (mut engine, set) = (modern(), rules(TWO_RULES));
    let of_pod = |time_ns, cookie| {
        let mut drop = filtered(time_ns, 81);
        drop.netns_cookie = cookie;
        drop
    };
    let first = judged(&mut engine, of_pod(SECOND, 7), &set);
    assert_eq!(first.len(), 1);
    // The same number at once, with rules of its own.
    let other = rules("-A INPUT -s 10.0.0.113/32 -j DROP\n");
    let second = judged(&mut engine, of_pod(SECOND + 1, 8), &other);
    assert_eq!(second.len(), 1, "a case of its own");
    let text = second[0].explanation.facts["netfilter"]["rules"][0]["text"].to_string();
    assert!(text.contains("-s 10.0.0.113"), "{text}");
    let mut out = Vec::new();
    engine.dropped(of_pod(SECOND + 2, 9), &mut out);
    assert!(out.contains(&Output::Renewed(NETNS)));
}

#[test]
fn a_count_in_detail_is_never_told_as_a_total() {
    let mut engine = modern();
    let drop = drop_at(SECOND, "NO_SOCKET", None);
    let kind = Kind::of(&drop);
    told(&mut engine, drop);
    assert_eq!(engine.tallies()[0].numbers.exact, Some(1));
    let tick = Event::Tick {
        time_ns: 2 * SECOND,
        counted: vec![KindCount {
            kind,
            count: 700_000,
            suppressed: 699_999,
        }],
        keyless: false,
    };
    engine.take(&tick, &mut Vec::new());
    let numbers = engine.tallies()[0].numbers;
    assert_eq!((numbers.exact, numbers.of_kind), (None, Some(700_000)));
    assert_eq!(numbers.text(), "at least 1 of 700000 of this kind");
    // Captures from before there were ticks do not tell.
    let mut old = Engine::new(causes::all(), Coverage::default(), false);
    told(&mut old, drop_at(SECOND, "NO_SOCKET", None));
    assert_eq!(old.tallies()[0].numbers.text(), "at least 1");
}

#[test]
fn too_many_judgements_at_a_time_are_counted_together() {
    let mut engine = modern();
    let mut out = Vec::new();
    for n in 0..3_000 {
        let mut drop = filtered(SECOND, 81);
        if let Some(packet) = &mut drop.packet {
            packet.sport = Some(n);
        }
        engine.dropped(drop, &mut out);
    }
    // One question for all of them.
    let asked = out
        .iter()
        .filter(|o| matches!(o, Output::Ask(FactKey::Ruleset { .. })))
        .count();
    assert_eq!(asked, 1);
    out.clear();
    engine.finish(2 * SECOND, &mut out);
    assert_eq!(engine.drops().0, 3_000);
}

#[test]
fn a_drop_in_the_clients_namespace_belongs_to_the_wrong_reply() {
    use crate::model::{
        ipvs::{Endpoint, IpvsConnection, IpvsReply},
        tuple::Tuple,
    };
    let end = |last: u8, port| Endpoint {
        addr: Ipv4Addr::new(10, 0, 0, last).into(),
        port,
    };
    let (client, service) = (end(2, 40_000), end(8, 1_000));
    let reply = IpvsReply {
        time_ns: SECOND,
        cpu: 0,
        netns: NETNS,
        hook: None,
        connection: IpvsConnection {
            proto: 17,
            client,
            service,
            real_server: end(9, 1_000),
            flags: 0,
            fwmark: 0,
        },
        asked: Tuple {
            proto: 17,
            src: client.addr,
            dst: service.addr,
            sport: client.port,
            dport: 1_010,
        },
    };
    let mut at_client = drop_at(SECOND + 1, "NO_SOCKET", None);
    at_client.netns = NETNS + 1;
    if let Some(packet) = &mut at_client.packet {
        (packet.src, packet.sport) = (service.addr, Some(service.port));
        (packet.dst, packet.dport) = (client.addr, Some(client.port));
    }
    let (mut engine, mut out) = (modern(), Vec::new());
    engine.take(&Event::IpvsReply(Box::new(reply)), &mut out);
    engine.dropped(at_client, &mut out);
    engine.finish(2 * SECOND, &mut out);
    let tallies = engine.tallies();
    assert_eq!(tallies.len(), 1, "{tallies:?}");
    assert_eq!(tallies[0].cause, Some("ipvs_conntrack"));
    assert_eq!((tallies[0].numbers.total, tallies[0].drops), (1, 1));
}
