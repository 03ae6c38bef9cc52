use serde_json::json;

use super::super::answer::Answer::{Maybe, Yes};
use super::super::hooks::other_queues;
use super::super::packet::Passed;
use super::super::samples::{KUBE_FIREWALL, legacy, nft, rule, tcp};
use super::*;
use crate::facts::ruleset::{Hook, State, Unreadable};

fn filter(lines: &str) -> Ruleset {
    legacy(&format!(
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:A - [0:0]\n:B - [0:0]\n{lines}COMMIT\n"
    ))
}

/// Chain and rule (or `policy`) of each, with `!` if it is sure and `?` if it may not match.
fn brief(found: &Candidates<'_>) -> Vec<String> {
    let texts = found.list.iter().map(|one| {
        let text = one.rule.map_or("policy", |rule| match rule.text.as_str() {
            "" => "rule",
            text => text.rsplit("-A ").next().unwrap_or_default(),
        });
        let handle = one.rule.and_then(|rule| rule.handle);
        let handle = handle.map_or(String::new(), |handle| format!(" {handle}"));
        let mark = match (one.sure, one.matches) {
            (true, _) => "!",
            (_, Yes) => "",
            _ => "?",
        };
        format!("{}: {text}{handle}{mark}", one.chain.name)
    });
    texts.collect()
}

fn at(hook: Hook, lines: &str) -> Vec<String> {
    brief(&suspects(&filter(lines), &tcp(hook), None))
}

fn input(lines: &str) -> Vec<String> {
    at(Hook::Input, lines)
}

#[test]
fn a_marked_packet_dies_in_the_firewall_of_kubernetes() {
    let set = legacy(KUBE_FIREWALL);
    let packet = |mark| Packet {
        mark: Some(mark),
        ..tcp(Hook::Input)
    };
    let found = suspects(&set, &packet(0x8000), None);
    let one = found.certain().expect("one");
    assert_eq!(
        (one.base.name.as_str(), one.chain.name.as_str()),
        ("INPUT", "KUBE-FIREWALL")
    );
    assert_eq!(one.path[0].rule.text, "-A INPUT -j KUBE-FIREWALL");
    assert!(one.sure);
    assert_eq!(suspects(&set, &packet(0x4000), None).list, []);
    let local = Packet {
        dst: Some([127, 0, 0, 1].into()),
        ..packet(0)
    };
    let found = suspects(&set, &local, None);
    assert_eq!(found.list.len(), 1);
    assert_eq!(found.certain(), None, "the state is not known");
    assert!(found.only().is_some());
    let new = Packet {
        state: Some(State::New),
        ..local
    };
    assert_eq!(
        suspects(&set, &new, None).certain(),
        None,
        "nor whether it is translated"
    );
}

#[test]
fn rules_behind_one_that_ends_the_chain_are_none() {
    assert_eq!(
        input("-A INPUT -p tcp -j ACCEPT\n-A INPUT -j DROP\n"),
        [""; 0]
    );
    assert_eq!(
        input("-A INPUT -p udp -j ACCEPT\n-A INPUT -j DROP\n"),
        ["INPUT: INPUT -j DROP!"]
    );
    let maybe = "-A INPUT -m limit --limit 1/s -j ACCEPT\n-A INPUT -j DROP\n";
    assert_eq!(input(maybe), ["INPUT: INPUT -j DROP"]);
    assert_eq!(
        input("-A INPUT -j NFQUEUE --queue-num 1\n-A INPUT -j DROP\n"),
        [""; 0]
    );
    assert_eq!(input("-A INPUT -j RETURN\n-A INPUT -j DROP\n"), [""; 0]);
    let two = "-A INPUT -j REJECT --reject-with tcp-reset\n-A INPUT -j DROP\n";
    assert_eq!(
        input(two),
        ["INPUT: INPUT -j REJECT --reject-with tcp-reset!"]
    );
    let open = "-A INPUT -m limit --limit 1/s -j DROP\n-A INPUT -s 10.0.0.0/8 -j DROP\n";
    let expected = [
        "INPUT: INPUT -m limit --limit 1/s -j DROP?",
        "INPUT: INPUT -s 10.0.0.0/8 -j DROP",
    ];
    assert_eq!(input(open), expected);
}

#[test]
fn policies_drop_what_comes_to_the_end() {
    let forward = |lines: &str| at(Hook::Forward, lines);
    assert_eq!(forward(""), ["FORWARD: policy!"]);
    assert_eq!(forward("-A FORWARD -j ACCEPT\n"), [""; 0]);
    assert_eq!(forward("-A FORWARD -j RETURN\n"), ["FORWARD: policy!"]);
    assert_eq!(
        forward("-A FORWARD -m state --state NEW -j ACCEPT\n"),
        ["FORWARD: policy"]
    );
    assert_eq!(
        forward("-A FORWARD -j A\n-A A -j RETURN\n"),
        ["FORWARD: policy!"]
    );
    assert_eq!(
        forward("-A FORWARD -g A\n-A FORWARD -j ACCEPT\n"),
        ["FORWARD: policy!"]
    );
    assert_eq!(forward("-A FORWARD -j A\n-A FORWARD -j ACCEPT\n"), [""; 0]);
    assert_eq!(forward("-A FORWARD -j A\n-A A -j ACCEPT\n"), [""; 0]);
    assert_eq!(
        forward("-A FORWARD -j A\n-A A -g B\n-A A -j DROP\n-A B -p tcp -j RETURN\n-A B -j DROP\n"),
        ["FORWARD: policy!"]
    );
}

#[test]
fn jumps_returns_and_gotos_are_followed() {
    let rules = "-A INPUT -p tcp -j A\n-A INPUT -j DROP\n-A A -s 10.0.0.0/24 -j B\n-A A -j ACCEPT\n-A B -p udp -j DROP\n-A B -j RETURN\n-A B -j DROP\n";
    assert_eq!(input(rules), [""; 0], "back from B, accepted in A");
    let rules = "-A INPUT -p tcp -g A\n-A INPUT -j DROP\n-A A -p udp -j DROP\n";
    assert_eq!(
        input(rules),
        [""; 0],
        "not back to INPUT, but to its policy"
    );
    let rules = "-A INPUT -m limit --limit 1/s -j A\n-A INPUT -j DROP\n-A A -j RETURN\n";
    assert_eq!(
        input(rules),
        ["INPUT: INPUT -j DROP!"],
        "it comes back from A in any case"
    );
    let rules = "-A INPUT -m limit --limit 1/s -j A\n-A INPUT -j DROP\n-A A -j ACCEPT\n";
    assert_eq!(input(rules), ["INPUT: INPUT -j DROP"]);
    let rules = "-A INPUT -m limit --limit 1/s -j A\n-A INPUT -p tcp -j A\n-A A -j DROP\n";
    let set = filter(rules);
    let found = suspects(&set, &tcp(Hook::Input), None);
    assert_eq!(brief(&found), ["A: A -j DROP"], "one rule, whichever way");
    assert_eq!(
        found.list[0].path[0].rule.text, "-A INPUT -p tcp -j A",
        "the way that is sure"
    );
    let rules = "-A INPUT -p udp -j A\n-A INPUT -p tcp -j A\n-A A -j DROP\n";
    let set = filter(rules);
    assert!(suspects(&set, &tcp(Hook::Input), None).certain().is_some());
    // Conntrack may have dropped what was let pass.
    let rules = "-A INPUT -m limit --limit 1/s -j ACCEPT\n-A INPUT -j DROP\n";
    let set = filter(rules);
    let found = suspects(&set, &tcp(Hook::Input), None);
    assert_eq!(brief(&found).len(), 1);
    assert_eq!(found.certain(), None);
}

#[test]
fn loops_end_and_make_it_incomplete() {
    let set = filter("-A INPUT -j A\n-A A -j B\n-A B -j A\n-A B -j DROP\n");
    let found = suspects(&set, &tcp(Hook::Input), None);
    assert!(!found.complete);
    assert_eq!(found.certain(), None);
    // Ten jumps in each of forty chains would be 10^40 ways.
    let mut rules: Vec<_> = (0..400_u64)
        .map(|n| {
            rule(
                &format!("c{}", n / 10),
                n,
                json!([{"jump": {"target": format!("c{}", n / 10 + 1)}}]),
            )
        })
        .collect();
    rules.push(rule("in", 500, json!([{"jump": {"target": "c0"}}])));
    let names: Vec<String> = (0..=40).map(|n| format!("c{n}")).collect();
    let mut chains: Vec<_> = names.iter().map(|name| (name.as_str(), None)).collect();
    chains.push(("in", Some(("filter", "input", 0, "accept"))));
    let set = nft("inet", &chains, &rules);
    assert!(!suspects(&set, &tcp(Hook::Input), None).complete);
}

#[test]
fn marks_set_on_the_way_are_not_taken_for_those_at_the_drop() {
    let packet = Packet {
        mark: Some(0x1),
        ..tcp(Hook::Input)
    };
    let judged = |lines: &str| brief(&suspects(&filter(lines), &packet, None));
    let set = "-A INPUT -m mark --mark 0x1/0x1 -j ACCEPT\n-A INPUT -j MARK --set-xmark 0x1/0x1\n-A INPUT -j DROP\n";
    assert_eq!(
        judged(set),
        ["INPUT: INPUT -j DROP"],
        "the mark was another at the first rule"
    );
    let other = set.replace("0x1/0x1\n-A INPUT -j DROP", "0x2/0x2\n-A INPUT -j DROP");
    assert_eq!(judged(&other), [""; 0], "another bit is set");
    let udp = set.replace("-j MARK", "-p udp -j MARK");
    assert_eq!(judged(&udp), [""; 0], "for other packets");
    let drops = "-A INPUT -j MARK --set-xmark 0x1/0x1\n-A INPUT -m mark --mark 0x1/0x1 -j DROP\n";
    assert_eq!(
        judged(drops),
        ["INPUT: INPUT -m mark --mark 0x1/0x1 -j DROP!"]
    );
}

#[test]
fn a_sure_drop_hides_what_comes_later() {
    let tables = |raw: &str, mangle: &str| {
        let set = legacy(&format!(
            "*raw\n:PREROUTING ACCEPT [0:0]\n{raw}COMMIT\n*mangle\n:PREROUTING ACCEPT [0:0]\n{mangle}COMMIT\n\
             *nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"
        ));
        let packet = Packet {
            mark: Some(1),
            ..tcp(Hook::Prerouting)
        };
        brief(&suspects(&set, &packet, None))
    };
    let drop = "-A PREROUTING -p tcp -j DROP\n";
    assert_eq!(
        tables(drop, drop),
        ["PREROUTING: PREROUTING -p tcp -j DROP!"]
    );
    // NAT comes between: had mangle dropped it, raw would have seen the same.
    let port = "-A PREROUTING -p tcp -m tcp --dport 80 -j DROP\n";
    assert_eq!(tables(port, drop).len(), 2);
    // A mark set or a queue in between.
    let mark = "-A PREROUTING -m mark --mark 0x1 -j DROP\n";
    assert_eq!(tables(mark, drop).len(), 1);
    let set = "-A PREROUTING -j MARK --set-xmark 0x1/0x1\n";
    assert_eq!(tables(mark, &format!("{set}{drop}")).len(), 2);
    let queue = "-A PREROUTING -m limit --limit 1/s -j NFQUEUE --queue-num 1\n";
    assert_eq!(tables(mark, &format!("{queue}{drop}")).len(), 2);
}

#[test]
fn hooks_families_and_subsystems_are_kept_apart() {
    let mut set = filter("-A INPUT -p tcp -j DROP\n");
    let drop = |chain: &str| rule(chain, 7, json!([{"drop": null}]));
    let base = |hook, prio| Some(("filter", hook, prio, "accept"));
    set.chains
        .extend(nft("inet", &[("in", base("input", -5))], &[drop("in")]).chains);
    set.chains
        .extend(nft("ip6", &[("in6", base("input", -6))], &[drop("in6")]).chains);
    set.chains
        .extend(nft("inet", &[("fwd", base("forward", -6))], &[drop("fwd")]).chains);
    let packet = tcp(Hook::Input);
    let judged = |only| brief(&suspects(&set, &packet, only));
    assert_eq!(judged(None), ["in: rule 7!"], "it comes first");
    assert_eq!(judged(Some(Subsystem::NfTables)), ["in: rule 7!"]);
    assert_eq!(
        judged(Some(Subsystem::IpTables)),
        ["INPUT: INPUT -p tcp -j DROP!"]
    );
    let queued = Packet {
        after: Some(Passed {
            below: 0,
            chain: None,
        }),
        ..packet
    };
    assert_eq!(
        brief(&suspects(&set, &queued, None)),
        ["INPUT: INPUT -p tcp -j DROP!"]
    );
    // The chain that queued it is behind it, whatever it has in front of the queue's rule.
    let chain = set.chains.iter().position(|chain| chain.name == "INPUT");
    let behind = Packet {
        after: Some(Passed { below: 0, chain }),
        ..queued
    };
    assert!(brief(&suspects(&set, &behind, None)).is_empty());
}

#[test]
fn what_is_not_understood_is_a_suspect() {
    let set = filter("-A INPUT -j SYNPROXY --mss 1460\n-A INPUT -p tcp -j DROP\n");
    let found = suspects(&set, &tcp(Hook::Input), None);
    assert_eq!(
        brief(&found),
        [
            "INPUT: INPUT -j SYNPROXY --mss 1460?",
            "INPUT: INPUT -p tcp -j DROP"
        ]
    );
    assert_eq!(found.certain(), None);
    let mut set = filter("-A INPUT -p tcp -j DROP\n");
    set.unreadable.push(Unreadable {
        subsystem: Subsystem::NfTables,
        why: "nft is not installed".into(),
    });
    assert_eq!(suspects(&set, &tcp(Hook::Input), None).certain(), None);
    assert!(
        suspects(&set, &tcp(Hook::Input), Some(Subsystem::IpTables))
            .certain()
            .is_some()
    );
}

#[test]
fn verdict_maps_and_sets_of_nft() {
    let state = |state: &str, verdict: serde_json::Value| json!([state, verdict]);
    let map = json!([{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [
        state("established", json!({"accept": null})),
        state("invalid", json!({"drop": null})),
        state("new", json!({"jump": {"target": "sub"}}))]}}}]);
    let key = json!({"payload": {"protocol": "tcp", "field": "dport"}});
    let ports = json!([{"match": {"op": "==", "left": key, "right": {"set": [22, {"range": [80, 90]}]}}}, {"drop": null}]);
    let named = json!([{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@bad"}}, {"drop": null}]);
    let chains = [("in", Some(("filter", "input", 0, "drop"))), ("sub", None)];
    let set = nft(
        "inet",
        &chains,
        &[
            rule("in", 1, map),
            rule("sub", 2, named),
            rule("sub", 3, ports),
        ],
    );
    let judged = |state| {
        let packet = Packet {
            state,
            ..tcp(Hook::Input)
        };
        brief(&suspects(&set, &packet, None))
    };
    assert_eq!(judged(Some(State::Established)), [""; 0]);
    assert_eq!(judged(Some(State::Invalid)), ["in: rule 1!"]);
    assert_eq!(judged(Some(State::New)), ["sub: rule 2?", "sub: rule 3"]);
    assert_eq!(
        judged(None),
        ["in: rule 1?", "sub: rule 2?", "sub: rule 3?", "in: policy"]
    );
}

#[test]
fn nat_chains_see_what_opens_a_connection() {
    let chains = [("out", Some(("nat", "output", -100, "accept")))];
    let set = nft("inet", &chains, &[rule("out", 1, json!([{"drop": null}]))]);
    let found = |state| {
        let packet = Packet {
            state,
            ..tcp(Hook::Output)
        };
        suspects(&set, &packet, None)
            .list
            .first()
            .map(|one| one.matches)
    };
    assert_eq!(found(Some(State::New)), Some(Yes));
    assert_eq!(found(Some(State::Established)), None);
    assert_eq!(found(None), Some(Maybe));
}

/// Of a range of queues only the first is listed: it must not pass for another queue than that of its range.
#[test]
fn the_queue_it_came_from_is_none_of_the_others() {
    let set = legacy(
        "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j NFQUEUE --queue-balance 0:3\n\
         -A INPUT -j NFQUEUE --queue-num 9\nCOMMIT\n",
    );
    let drop = crate::model::anchor::tests::drop();
    let others = |from| other_queues(&set, &drop, Some(Hook::Input), from);
    assert_eq!(others(2), [9]);
    assert_eq!(others(9), [0]);
}

/// A chain at hook input.
fn input_chain(name: &str, priority: i64) -> (&str, super::super::samples::Base<'static>) {
    (name, Some(("filter", "input", priority, "accept")))
}

fn to_80() -> serde_json::Value {
    json!({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}})
}

#[test]
fn of_two_chains_of_one_priority_none_is_known_to_come_first() {
    let drop = || json!([to_80(), {"drop": null}]);
    let set = |second: i64| {
        nft(
            "inet",
            &[input_chain("a", 0), input_chain("b", second)],
            &[rule("a", 3, drop()), rule("b", 4, drop())],
        )
    };
    let found = |set: &Ruleset| brief(&suspects(set, &tcp(Hook::Input), None));
    assert_eq!(found(&set(0)), ["a: rule 3", "b: rule 4"]);
    assert_eq!(found(&set(1)), ["a: rule 3!"]);
    // What lets such packets on does not matter to the other one.
    let set = nft(
        "inet",
        &[input_chain("a", 0), input_chain("b", 0)],
        &[
            rule("a", 3, drop()),
            rule("b", 4, json!([to_80(), {"accept": null}])),
        ],
    );
    assert_eq!(found(&set), ["a: rule 3!"]);
}

#[test]
fn a_statement_without_json_may_be_the_one_that_drops() {
    let set = nft(
        "inet",
        &[input_chain("c", 0)],
        &[
            rule("c", 5, json!([to_80(), "jump {\n\tdrop\n}"])),
            rule("c", 6, json!([to_80(), {"drop": null}])),
        ],
    );
    assert_eq!(
        brief(&suspects(&set, &tcp(Hook::Input), None)),
        ["c: rule 5?", "c: rule 6"]
    );
}

#[test]
fn what_is_written_must_be_there_and_was_another_before() {
    let write = |header: &str, field: &str| json!({"mangle": {"key": {"payload": {"protocol": header, "field": field}}, "value": 81}});
    let set = |first: serde_json::Value| {
        nft(
            "inet",
            &[input_chain("c", 0)],
            &[
                rule("c", 3, json!([first, {"drop": null}])),
                rule("c", 4, json!([to_80(), {"drop": null}])),
            ],
        )
    };
    let found = |set: &Ruleset| brief(&suspects(set, &tcp(Hook::Input), None));
    assert_eq!(found(&set(write("udp", "dport"))), ["c: rule 4?"]);
    assert_eq!(found(&set(write("tcp", "dport"))), ["c: rule 3!"]);
    assert_eq!(found(&set(write("ip6", "dscp"))), ["c: rule 4!"]);
    assert_eq!(
        found(&set(write("ip", "dscp"))),
        ["c: rule 3?", "c: rule 4"]
    );
    // The rule that leads to the change saw the port that was there before.
    let set = nft(
        "inet",
        &[input_chain("c", 0), ("x", None)],
        &[
            rule(
                "c",
                3,
                json!([
                    {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 5001}},
                    {"jump": {"target": "x"}}
                ]),
            ),
            rule("x", 4, json!([write("tcp", "dport"), {"drop": null}])),
        ],
    );
    assert_eq!(found(&set), ["x: rule 4?"]);
}

#[test]
fn a_next_header_is_not_the_protocol() {
    let next = |number: &str| json!({"match": {"op": "==", "left": {"payload": {"protocol": "ip6", "field": "nexthdr"}}, "right": number}});
    let set = |number: &str| {
        nft(
            "inet",
            &[input_chain("c", 0)],
            &[rule("c", 3, json!([next(number), {"drop": null}]))],
        )
    };
    let packet = Packet {
        src: Some("fd00::1".parse().expect("an address")),
        dst: Some("fd00::2".parse().expect("an address")),
        ..Packet {
            family: crate::facts::ruleset::Family::Ip6,
            ..tcp(Hook::Input)
        }
    };
    let found = |number: &str| brief(&suspects(&set(number), &packet, None));
    assert_eq!(found("tcp"), ["c: rule 3?"]);
    assert!(found("udp").is_empty());
    assert_eq!(found("esp"), ["c: rule 3?"]);
}
