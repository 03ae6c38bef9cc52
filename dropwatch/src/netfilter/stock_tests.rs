//! Rule sets in the style of the programs that make them on most machines: each drop must end in one rule.

use serde_json::{Value, json};

use super::super::{
    answer::Answer,
    samples::{legacy, nft, rule, tcp},
};
use super::*;
use crate::facts::ruleset::{Family, Hook, State};

/// A packet that opens a connection and was dropped with an entry.
fn new(hook: Hook) -> Packet {
    Packet {
        in_dev: Some("eth0".into()),
        state: Some(State::New),
        snat: Some(false),
        dnat: Some(false),
        own: vec![[10, 2, 0, 2].into()],
        ..tcp(hook)
    }
}

fn only<'a>(set: &'a Ruleset, packet: &Packet) -> Candidate<'a> {
    let found = suspects(set, packet, None);
    assert!(found.complete);
    let [one] = found.list.as_slice() else {
        panic!(
            "not one: {:#?}",
            found.list.iter().map(|c| c.rule).collect::<Vec<_>>()
        );
    };
    one.clone()
}

fn text<'a>(one: &Candidate<'a>) -> &'a str {
    assert_eq!(one.matches, Answer::Yes);
    one.rule.map_or("policy", |rule| &rule.text)
}

const HOST: &str = "*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n\
    :before-input - [0:0]\n:not-local - [0:0]\n:user-input - [0:0]\n:skip - [0:0]\n:after-input - [0:0]\n\
    -A INPUT -j before-input\n-A INPUT -j after-input\n\
    -A before-input -i lo -j ACCEPT\n\
    -A before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
    -A before-input -m conntrack --ctstate INVALID -j DROP\n\
    -A before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT\n\
    -A before-input -j not-local\n\
    -A before-input -j user-input\n\
    -A not-local -m addrtype --dst-type LOCAL -j RETURN\n\
    -A not-local -m addrtype --dst-type MULTICAST -j RETURN\n\
    -A not-local -m addrtype --dst-type BROADCAST -j RETURN\n\
    -A not-local -j DROP\n\
    -A user-input -p tcp -m tcp --dport 22 -j ACCEPT\n\
    -A after-input -p udp -m udp --dport 137 -j skip\n\
    -A skip -j DROP\nCOMMIT\n";

#[test]
fn a_host_firewall_of_many_chains_ends_in_its_policy() {
    let set = legacy(HOST);
    assert_eq!(text(&only(&set, &new(Hook::Input))), "policy");
    let elsewhere = Packet {
        own: Vec::new(),
        ..new(Hook::Input)
    };
    let found = suspects(&set, &elsewhere, None);
    assert_eq!(found.list.len(), 2, "it may not be for this machine");
    assert_eq!(found.certain(), None);
    let invalid = Packet {
        state: Some(State::Invalid),
        ..new(Hook::Input)
    };
    assert!(text(&only(&set, &invalid)).contains("--ctstate INVALID"));
    let unknown = Packet {
        state: None,
        ..new(Hook::Input)
    };
    assert_eq!(suspects(&set, &unknown, None).certain(), None);
}

fn matches(key: Value, right: Value) -> Value {
    json!({"match": {"op": "in", "left": key, "right": right}})
}

#[test]
fn a_firewall_of_zones_ends_in_its_reject() {
    let state = |names: Value| matches(json!({"ct": {"key": "state"}}), names);
    let status = json!({"match": {"op": "in", "left": {"ct": {"key": "status"}}, "right": "dnat"}});
    let lo = json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}});
    let port = json!({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}});
    let rules = [
        rule(
            "filter_INPUT",
            10,
            json!([state(json!(["established", "related"])), {"accept": null}]),
        ),
        rule("filter_INPUT", 11, json!([status, {"accept": null}])),
        rule("filter_INPUT", 12, json!([lo, {"accept": null}])),
        rule(
            "filter_INPUT",
            13,
            json!([state(json!("invalid")), {"drop": null}]),
        ),
        rule("filter_INPUT", 14, json!([{"jump": {"target": "zones"}}])),
        rule(
            "filter_INPUT",
            15,
            json!([{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}]),
        ),
        rule("zones", 16, json!([port, {"accept": null}])),
    ];
    let set = nft(
        "inet",
        &[
            ("filter_INPUT", Some(("filter", "input", 10, "accept"))),
            ("zones", None),
        ],
        &rules,
    );
    let one = only(&set, &new(Hook::Input));
    assert_eq!(one.id().handle, Some(15));
    assert_eq!(one.matches, Answer::Yes);
}

#[test]
fn published_ports_of_containers_end_in_the_forward_policy() {
    let set = legacy(
        "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n\
         -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n\
         -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n\
         -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n\
         *filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n:STAGE-1 - [0:0]\n:STAGE-2 - [0:0]\n\
         -A FORWARD -j DOCKER-USER\n-A FORWARD -j STAGE-1\n\
         -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n\
         -A DOCKER-USER -j RETURN\n\
         -A STAGE-1 -i docker0 ! -o docker0 -j STAGE-2\n-A STAGE-1 -j RETURN\n\
         -A STAGE-2 -o docker0 -j DROP\n-A STAGE-2 -j RETURN\nCOMMIT\n",
    );
    assert_eq!(text(&only(&set, &new(Hook::Forward))), "policy");
}

#[test]
fn of_two_tables_the_one_that_let_it_pass_is_told() {
    let mut set = nft(
        "inet",
        &[("first", Some(("filter", "input", -10, "accept")))],
        &[rule("first", 3, json!([{"accept": null}]))],
    );
    set.chains
        .extend(legacy("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j DROP\nCOMMIT\n").chains);
    let packet = new(Hook::Input);
    let one = only(&set, &packet);
    let before = passed_before(&set, &packet, &one);
    assert_eq!(before.len(), 1);
    assert_eq!(before[0].name, "first");
    // One behind it has no part in it.
    if let Some(base) = &mut set.chains[0].base {
        base.priority = 10;
    }
    let one = only(&set, &packet);
    assert!(passed_before(&set, &packet, &one).is_empty());
}

#[test]
fn translations_that_fail_are_suspects_until_they_were_passed() {
    let set = legacy(
        "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m addrtype --src-type MULTICAST -j DROP\nCOMMIT\n\
         *nat\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
         -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080\n\
         -A OUTPUT -p tcp --dport 80 -j REDIRECT --to-ports 8080\n\
         -A POSTROUTING -j MASQUERADE\nCOMMIT\n",
    );
    let one = only(&set, &new(Hook::Prerouting));
    assert_eq!(one.matches, Answer::Maybe);
    let why = one.why().expect("it drops by itself");
    assert!(why.starts_with("REDIRECT") && why.contains("DNAT to an address"));
    assert!(only(&set, &new(Hook::Postrouting)).why().is_some());
    let none = |packet: Packet| suspects(&set, &packet, None).list.is_empty();
    assert!(
        none(new(Hook::Output)),
        "there it is redirected to the loopback address"
    );
    for hook in [Hook::Prerouting, Hook::Postrouting] {
        let passed = Packet {
            nat_passed: true,
            ..new(hook)
        };
        assert!(none(passed));
    }
    let known = Packet {
        state: Some(State::Established),
        ..new(Hook::Prerouting)
    };
    assert!(none(known), "such chains see the first packet only");
    let multicast = Packet {
        src: Some([224, 0, 0, 1].into()),
        ..new(Hook::Prerouting)
    };
    assert!(text(&only(&set, &multicast)).contains("MULTICAST"));
    assert_eq!(multicast.family, Family::Ip);
}
