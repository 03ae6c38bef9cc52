use serde_json::json;

use super::super::nft_statement::rules;
use super::super::nft_value::device;
use super::*;
use crate::facts::ruleset::test::MarkTest;
use crate::facts::ruleset::{MarkChange, Match, Nat, NatAction, Rule, State, Target, Test};

// As nft 1.0.6 prints them.
const NATIVE: &str = include_str!("fixtures/native.json");
const NATIVE_TEXT: &str = include_str!("fixtures/native.txt");
const IPTABLES: &str = include_str!("fixtures/iptables.json");
const IPTABLES_TEXT: &str = include_str!("fixtures/iptables.txt");
const FILTER: &str = include_str!("fixtures/filter.json");
const FILTER_TEXT: &str = include_str!("fixtures/filter.txt");

fn read(json: &str, text: &str) -> Vec<Chain> {
    parse(json, &texts(text), Backend::Nft).expect("valid")
}

fn chain<'a>(chains: &'a [Chain], name: &str) -> &'a Chain {
    let mut found = chains.iter().filter(|chain| chain.name == name);
    found.next().expect("the chain")
}

/// The rules of the handle in the chain.
fn of(chain: &Chain, handle: u64) -> Vec<&Rule> {
    let same = chain
        .rules
        .iter()
        .filter(|rule| rule.handle == Some(handle));
    same.collect()
}

fn nats(chain: &Chain) -> Vec<&Nat> {
    let targets = chain.rules.iter().flat_map(|rule| &rule.targets);
    let nats = targets.filter_map(|target| match target {
        Target::Nat(nat) => Some(nat),
        _ => None,
    });
    nats.collect()
}

#[test]
fn base_chains_have_their_place() {
    let chains = read(FILTER, FILTER_TEXT);
    let base = |name: &str| {
        let base = chain(&chains, name).base.as_ref().expect("a base chain");
        (base.hook, base.priority, base.policy, base.kind)
    };
    assert_eq!(base("in"), (Hook::Input, 0, Policy::Drop, Kind::Filter));
    assert_eq!(
        base("fw2"),
        (Hook::Forward, -5, Policy::Accept, Kind::Filter)
    );
    assert_eq!(
        base("post"),
        (Hook::Postrouting, 100, Policy::Accept, Kind::Nat)
    );
    assert_eq!(chain(&chains, "sub").base, None);
    let ingress = chain(&chains, "ing");
    assert_eq!(
        (ingress.family, ingress.table.as_str()),
        (Family::Netdev, "netdev nd")
    );
    let base = ingress.base.as_ref().expect("a base chain");
    assert_eq!(
        (base.hook, &base.devices[..]),
        (Hook::Ingress, &[][..]),
        "this nft does not tell"
    );
    assert_eq!(chain(&chains, "f").family, Family::Bridge);
}

#[test]
fn devices_of_a_netdev_chain_are_one_or_several() {
    let devices = |dev: Value| {
        let chain = json!({"family": "netdev", "table": "t", "name": "c", "type": "filter",
            "hook": "ingress", "prio": 0, "policy": "accept", "dev": dev});
        let text = json!({"nftables": [{"chain": chain}]}).to_string();
        read(&text, "")[0]
            .base
            .clone()
            .expect("a base chain")
            .devices
    };
    assert_eq!(devices(json!("lo")), ["lo"]);
    assert_eq!(devices(json!(["a", "b"])), ["a", "b"]);
}

#[test]
fn marks_are_understood() {
    let chains = read(FILTER, FILTER_TEXT);
    let sub = chain(&chains, "sub");
    let marked = |mask, values: &[(u32, u32)]| MarkTest {
        mask,
        values: values.to_vec(),
    };
    let all = u32::MAX;
    for (handle, expected) in [
        (7, Match::is(Test::mark(0x8000, 0x8000))),
        (8, Match::is(Test::mark(7, all))),
        (9, Match::is_not(Test::mark(7, all))),
        (10, Match::is_not(Test::mark(0x100, 0xff00))),
        (12, Match::is(Test::Mark(marked(all, &[(1, 2), (5, 9)])))),
        (22, Match::is(Test::ConntrackMark(marked(all, &[(1, 1)])))),
        (23, Match::is(Test::ConntrackMark(marked(15, &[(1, 1)])))),
    ] {
        assert_eq!(of(sub, handle)[0].matches, [expected], "{handle}");
    }
    let first = of(sub, 7)[0];
    assert_eq!(first.text, "meta mark & 0x00008000 == 0x00008000 drop");
    assert_eq!(first.targets, [Target::Drop]);
    assert_eq!(of(sub, 13)[0].targets, [Target::SetMark(MarkChange::to(5))]);
    assert_eq!(of(sub, 20)[0].targets, [Target::SaveMark]);
    assert_eq!(of(sub, 24)[0].targets, [Target::Return]);
}

#[test]
fn states_ports_addresses_and_devices_are_understood() {
    let chains = read(FILTER, FILTER_TEXT);
    let input = chain(&chains, "in");
    let states = |names: &[State]| Test::ConntrackState(names.to_vec());
    let tcp = || Match::is(Test::Protocol(vec![6]));
    let ports = |spans: &[(u16, u16)]| Test::DestinationPort(spans.to_vec());
    let net = |text: &str| text.parse().expect("addresses");
    let devices = |names: &[&str]| Test::InDevice(names.iter().map(ToString::to_string).collect());
    let (v4, v6) = (Match::is(Test::IpVersion(4)), Match::is(Test::IpVersion(6)));
    use State::{Established, Invalid, New, Related};
    for (handle, expected) in [
        (28, vec![Match::is(states(&[Invalid]))]),
        (30, vec![Match::is(states(&[Established, New]))]),
        (31, vec![Match::is(states(&[Established, Related]))]),
        (32, vec![Match::is_not(states(&[Invalid]))]),
        (33, vec![Match::is_not(states(&[Invalid]))]),
        (37, vec![tcp(), Match::is(ports(&[(22, 22), (80, 90)]))]),
        (38, vec![tcp(), Match::is(ports(&[(22, 30)]))]),
        (39, vec![tcp(), Match::is_not(ports(&[(22, 22)]))]),
        (40, vec![tcp(), Match::is(ports(&[(1025, 65535)]))]),
        (42, vec![Match::is(ports(&[(53, 53)]))]),
        (
            45,
            vec![
                v4.clone(),
                Match::is(Test::Source(vec![
                    net("1.2.3.4"),
                    net("10.0.0.0/8"),
                    net("192.168.0.1-192.168.0.5"),
                ])),
            ],
        ),
        (
            46,
            vec![v6, Match::is(Test::Source(vec![net("fd00::/64")]))],
        ),
        (
            47,
            vec![
                v4.clone(),
                Match::is_not(Test::Destination(vec![net("127.0.0.0/8")])),
            ],
        ),
        (48, vec![Match::is(devices(&["eth*"]))]),
        (50, vec![Match::is(devices(&["a", "b"]))]),
        (51, vec![Match::is(devices(&["lo"]))]),
        (52, vec![Match::is_not(devices(&["lo"]))]),
        (54, vec![Match::is(Test::Protocol(vec![6, 17]))]),
        (55, vec![Match::is_not(Test::Protocol(vec![6]))]),
        (58, vec![v4.clone()]),
        (59, vec![v4.clone()]),
        (64, vec![]),
        (
            65,
            vec![tcp(), Match::is_not(Test::TcpFlags { mask: 2, value: 0 })],
        ),
        (
            67,
            vec![
                v4,
                Match::is(Test::Protocol(vec![1])),
                Match::is(Test::IcmpType(8)),
            ],
        ),
    ] {
        assert_eq!(of(input, handle)[0].matches, expected, "{handle}");
    }
}

#[test]
fn what_is_not_understood_stays_a_condition() {
    let chains = read(FILTER, FILTER_TEXT);
    let input = chain(&chains, "in");
    // A named set, a limit, the user, the routes and a concatenation.
    for handle in [43, 63, 68, 69, 71] {
        let rule = of(input, handle)[0];
        let others = rule
            .matches
            .iter()
            .filter(|one| matches!(one.test, Test::Other(_)));
        assert_eq!(others.count(), 1, "{handle}: {rule:?}");
    }
    let named = of(input, 62)[0];
    assert!(matches!(named.targets[..], [Target::Unknown(_)]));
}

#[test]
fn verdict_maps_are_rules_of_their_own() {
    let chains = read(FILTER, FILTER_TEXT);
    let input = chain(&chains, "in");
    let parts = of(input, 35);
    let brief: Vec<_> = parts
        .iter()
        .map(|part| (&part.matches[1].test, &part.targets[0]))
        .collect();
    let ports = |first, last| Test::DestinationPort(vec![(first, last)]);
    let expected = [
        (&ports(22, 22), &Target::Accept),
        (&ports(80, 90), &Target::Drop),
        (&ports(100, 100), &Target::Goto("other".into())),
    ];
    assert_eq!(brief, expected);
    assert!(
        parts
            .iter()
            .all(|part| part.text.starts_with("tcp dport vmap {"))
    );
    let states = of(input, 27);
    assert_eq!(states.len(), 4);
    assert_eq!(states[3].targets, [Target::Jump("sub".into())]);
    let marks = of(input, 61);
    assert_eq!(marks[0].matches, [Match::is(Test::mark(1, u32::MAX))]);
}

#[test]
fn a_match_behind_a_change_of_the_mark_is_another_rule() {
    let expressions = [
        json!({"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": 1}}),
        json!({"mangle": {"key": {"meta": {"key": "mark"}}, "value": 2}}),
        json!({"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": "udp"}}),
        json!({"queue": {"num": 80, "flags": "bypass"}}),
    ];
    let parts = rules(&expressions, Family::Ip, "x");
    assert_eq!(parts.len(), 2);
    assert_eq!(parts[0].targets, [Target::SetMark(MarkChange::to(2))]);
    assert_eq!(parts[0].matches, [Match::is(Test::mark(1, u32::MAX))]);
    let queue = Target::Queue {
        first: 80,
        last: 80,
        bypass: true,
    };
    assert_eq!(parts[1].targets, [queue]);
    assert!(matches!(parts[1].matches[0].test, Test::Other(_)));
    assert_eq!(parts[1].matches[1], Match::is(Test::Protocol(vec![17])));
}

#[test]
fn translations_are_read() {
    let chains = read(NATIVE, NATIVE_TEXT);
    let brief = |name: &str| -> Vec<_> {
        let nats = nats(chain(&chains, name)).into_iter();
        nats.map(|nat| (nat.action, nat.to.as_deref(), nat.fully_random))
            .collect()
    };
    use NatAction::{Dnat, Masquerade, Redirect, Snat};
    assert_eq!(
        brief("sub"),
        [(Dnat, None, false), (Redirect, Some(":8081"), false)]
    );
    assert_eq!(brief("pre"), [(Dnat, Some("10.0.0.9"), false)]);
    let post = [
        (Masquerade, Some(":40000-40010"), true),
        (Snat, Some("192.0.2.1:1000-1005"), false),
        (Snat, Some("192.0.2.1-192.0.2.5"), false),
        (Snat, Some("[fd01::1]:40000-40010"), false),
        (Masquerade, None, true),
    ];
    assert_eq!(brief("post"), post);
    assert_eq!(
        chain(&chains, "post").rules[0].text,
        "oifname \"eth0\" ip saddr 10.0.0.0/24 meta l4proto tcp masquerade to :40000-40010 \
         fully-random comment \"hello\""
    );
}

#[test]
fn targets_of_iptables_are_read_from_the_text() {
    let chains = read(IPTABLES, IPTABLES_TEXT);
    let rules = &chain(&chains, "POSTROUTING").rules;
    let nats = nats(chain(&chains, "POSTROUTING"));
    let (masquerade, snat) = (nats[0], nats[1]);
    assert_eq!(masquerade.action, NatAction::Masquerade);
    assert!(masquerade.fully_random && masquerade.to.is_none());
    assert_eq!(snat.to.as_deref(), Some("192.0.2.1:40000-40010"));
    assert!(!snat.fully_random);
    assert_eq!(rules[0].handle, Some(2));
}

#[test]
fn captures_give_back_every_rule() {
    for chain in read(FILTER, FILTER_TEXT)
        .into_iter()
        .chain(read(NATIVE, NATIVE_TEXT))
    {
        let json = serde_json::to_string(&chain).expect("plain data");
        assert_eq!(
            serde_json::from_str::<Chain>(&json).expect("its own form"),
            chain
        );
    }
}

#[test]
fn what_is_not_nft_is_an_error() {
    let read = |json| parse(json, &HashMap::new(), Backend::Nft);
    assert!(read("{}").is_err());
    assert!(read("").is_err());
    let odd = r#"{"nftables": [{"rule": 1}, {"chain": null}, 7, {"chain": {"family": "x"}},
        {"chain": {"family": "ip", "table": "t", "name": "c", "hook": "nowhere"}},
        {"rule": {"family": "ip", "table": "t", "chain": "c", "handle": "x", "expr": [[], 3, {"drop": null}]}}]}"#;
    let chains = read(odd).expect("valid JSON");
    assert_eq!(chains.len(), 1);
    assert_eq!(chains[0].base, None);
    let unknown = |text: &str| Target::Unknown(text.into());
    assert_eq!(
        chains[0].rules[0].targets,
        [unknown("[]"), unknown("3"), Target::Drop]
    );
}

#[test]
fn a_table_that_is_switched_off_is_known_by_its_text() {
    assert!(is_dormant(
        "table ip t1 { # handle 1\n\tflags dormant\n\n\tchain c { # handle 1\n\t}\n}\n"
    ));
    assert!(!is_dormant(
        "table ip t1 { # handle 1\n\tset s { # handle 2\n\t\tflags dormant\n\t}\n}\n"
    ));
    assert!(!is_dormant(""));
}

#[test]
fn devices_with_stars_and_pluses_are_those_of_nft() {
    let name = |name: &str| device(&Value::from(name));
    assert_eq!(name("eth*").as_deref(), Some("eth*"));
    assert_eq!(name("e9\\*").as_deref(), Some("e9\\*"));
    assert_eq!(name("e+").as_deref(), Some("e\\+"));
}

#[test]
fn counters_count_what_comes_to_the_end_of_a_rule() {
    let packets = |expressions: Value| {
        let expressions = expressions.as_array().expect("a list").clone();
        let parts = rules(&expressions, Family::Inet, "");
        parts.iter().map(|part| part.packets).collect::<Vec<_>>()
    };
    let counter = json!({"counter": {"packets": 5, "bytes": 300}});
    let port = json!({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}});
    assert_eq!(packets(json!([port, counter, {"drop": null}])), [Some(5)]);
    let limit = json!({"limit": {"rate": 1, "per": "second"}});
    for before in [port, limit] {
        assert_eq!(packets(json!([counter, before, {"drop": null}])), [None]);
    }
    let vmap = json!({"vmap": {"key": {"meta": {"key": "mark"}},
        "data": {"set": [[1, {"accept": null}], [0, {"drop": null}]]}}});
    assert_eq!(packets(json!([counter, vmap])), [None, None]);
    assert_eq!(
        packets(json!([{"counter": "named"}, {"drop": null}])),
        [None]
    );
}

/// Anyone with a user namespace can make such a rule, and it costs an element at a time.
#[test]
fn large_verdict_maps_are_bounded() {
    let map = |elements: usize| {
        let pairs: Vec<Value> = (0..elements)
            .map(|port| json!([port, {"drop": null}]))
            .collect();
        json!({"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": pairs}}})
    };
    let addresses: Vec<String> = (0..30_000u32)
        .map(|n| std::net::Ipv4Addr::from(n).to_string())
        .collect();
    let set = json!({"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": {"set": addresses}}});
    let change = json!({"mangle": {"key": {"meta": {"key": "mark"}}, "value": 1}});
    let text = "x".repeat(1 << 20);
    let size = |rules: &[Rule]| serde_json::to_string(rules).expect("plain data").len();
    let anything = |rule: &Rule| matches!(rule.targets.last(), Some(Target::Unknown(_)));

    // Few elements are still told apart, though the text is long.
    let few = rules(&[map(1000)], Family::Ip, &text);
    assert_eq!(few.len(), 1000);
    assert!(few.iter().all(|part| part.targets == [Target::Drop]));
    assert!(few.iter().all(|part| part.whole_text().is_none()));
    assert!(size(&few) < 2 << 20);

    for many in [
        vec![map(10_000)],
        vec![set.clone(), map(1000)],
        [
            vec![set.clone()],
            [change, set].iter().cycle().take(60).cloned().collect(),
        ]
        .concat(),
    ] {
        let parts = rules(&many, Family::Ip, &text);
        assert!(parts.iter().any(anything), "it may match and do anything");
        assert!(size(&parts) < 16 << 20, "{}", size(&parts));
    }
}
