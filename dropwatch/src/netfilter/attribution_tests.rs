use serde_json::{Value, json};

use super::super::samples::{legacy, nft, rule};
use super::*;
use crate::{
    facts::ruleset::Unreadable,
    model::{
        anchor::{Dev, tests::drop},
        packet::{self, Packet as Headers},
        proto::Proto,
        tcp_flags::TcpFlags,
    },
};

const NFT: &str = "nft_do_chain";
const HOOKS: &str = "nf_hook_slow";

/// A TCP packet for port 80 that was freed in a function which these called.
fn dropped(freed: &str, stack: &[&str]) -> Drop {
    let mut drop = drop();
    drop.location.symbol = Some(freed.into());
    drop.reason.name = Some("NETFILTER_DROP".into());
    drop.stack = stack.iter().map(ToString::to_string).collect();
    drop.packet = Some(headers());
    drop
}

fn headers() -> Headers {
    packet::Packet {
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
    }
}

fn modern() -> Coverage {
    Coverage::default().of_release("6.12.0")
}

fn said(drop: &Drop, set: &Ruleset) -> String {
    let attribution = Attribution::of(drop, set, &modern()).expect("netfilter's");
    attribution.words()
}

/// One rule in a chain of this family and hook.
fn one_rule(family: &str, hook: &str, expressions: Value) -> Ruleset {
    let base = Some(("filter", hook, 0, "accept"));
    nft(family, &[("c", base)], &[rule("c", 4, expressions)])
}

#[test]
fn devices_and_bridges_have_rules_of_their_own() {
    let port = json!({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}});
    for (family, hook, stack) in [
        (
            "inet",
            "ingress",
            &[
                "nft_do_chain_inet_ingress",
                HOOKS,
                "__netif_receive_skb_core",
            ][..],
        ),
        (
            "bridge",
            "prerouting",
            &[
                "nft_do_chain_bridge",
                "br_handle_frame",
                "__netif_receive_skb_core",
            ],
        ),
        (
            "bridge",
            "input",
            &["nft_do_chain_bridge", HOOKS, "br_pass_frame_up"],
        ),
        (
            "ip",
            "forward",
            &[
                "nft_do_chain_ipv4",
                HOOKS,
                "br_nf_forward_ip",
                HOOKS,
                "__br_forward",
            ],
        ),
    ] {
        let set = one_rule(family, hook, json!([port, {"drop": null}]));
        let words = said(&dropped(NFT, stack), &set);
        let expected = format!("at hook {hook}: nft table {family} t chain c handle 4");
        assert!(words.contains(&expected), "{words}");
        let other = one_rule(family, "output", json!([port, {"drop": null}]));
        let words = said(&dropped(NFT, stack), &other);
        assert!(
            words.ends_with("as they were read after the drop, drops such a packet."),
            "{words}"
        );
    }
}

#[test]
fn the_devices_of_a_bridged_frame_are_not_the_packets_own() {
    let wanted =
        json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "br0"}});
    let set = one_rule("ip", "forward", json!([wanted, {"drop": null}]));
    let stack = [
        "nft_do_chain_ipv4",
        HOOKS,
        "br_nf_forward_ip",
        HOOKS,
        "__br_forward",
    ];
    let found = Attribution::of(&dropped(NFT, &stack), &set, &modern()).expect("netfilter's");
    assert_eq!(found.suspects.list.len(), 1);
    assert!(found.suspects.certain().is_none());
}

/// At some of a bridge's hooks the frame is of another device than the one that rules see.
#[test]
fn rules_of_a_bridge_see_its_ports() {
    let by = |key: &str, hook: &str, dev: &str, caller: &[&str]| {
        let asks = json!({"match": {"op": "==", "left": {"meta": {"key": key}}, "right": dev}});
        let set = one_rule("bridge", hook, json!([asks, {"drop": null}]));
        let stack = [&["nft_do_chain_bridge", HOOKS], caller].concat();
        let mut drop = dropped(HOOKS, &stack);
        drop.dev = Some(Dev {
            name: "port2".into(),
            ifindex: 3,
        });
        let old = Coverage::default().of_release("6.1.0");
        let found = Attribution::of(&drop, &set, &old).expect("netfilter's");
        found.suspects.list.first().map(|one| one.matches)
    };
    let through = ["__br_forward", "br_handle_frame_finish"];
    let sent = ["__br_forward", "br_dev_xmit"];
    let up = ["br_pass_frame_up"];
    for (key, hook, dev, caller, expected) in [
        (
            "oifname",
            "forward",
            "port2",
            &through[..],
            Some(Answer::Yes),
        ),
        ("oifname", "forward", "port1", &through, None),
        ("iifname", "forward", "port1", &through, Some(Answer::Maybe)),
        ("oifname", "output", "port2", &sent, Some(Answer::Yes)),
        ("iifname", "input", "port1", &up, Some(Answer::Maybe)),
    ] {
        assert_eq!(by(key, hook, dev, caller), expected, "{key} {hook} {dev}");
    }
}

#[test]
fn the_only_rule_that_can_have_done_it_did_where_it_must_have_been_one() {
    let other = json!({"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": 7}});
    let set = one_rule("ip", "input", json!([other, {"drop": null}]));
    let stack = ["nft_do_chain_ipv4", HOOKS, "ip_local_deliver"];
    let by_rule = Attribution::of(&dropped(NFT, &stack), &set, &modern()).expect("netfilter's");
    assert!(by_rule.certain().is_some());
    // What runs all hooks frees for conntrack too.
    let unknown = dropped(HOOKS, &stack[1..]);
    let old = Coverage::default().of_release("6.1.0");
    let by_hooks = Attribution::of(&unknown, &set, &old).expect("netfilter's");
    assert!(by_hooks.certain().is_none());
    let two = json!([other, {"drop": null}]);
    let base = Some(("filter", "input", 0, "accept"));
    let rules = [rule("c", 4, two.clone()), rule("c", 5, two)];
    let set = nft("ip", &[("c", base)], &rules);
    let one_of_two = Attribution::of(&dropped(NFT, &stack), &set, &modern()).expect("netfilter's");
    assert!(one_of_two.certain().is_none());
}

#[test]
fn packets_without_ip_headers_are_judged_by_their_place() {
    let arp = Drop {
        packet: None,
        ..dropped(NFT, &["nft_do_chain_arp", HOOKS, "arp_rcv"])
    };
    let set = one_rule("arp", "input", json!([{"drop": null}]));
    assert!(said(&arp, &set).contains("nft table arp t chain c handle 4"));
}

#[test]
fn what_was_not_looked_at_is_named() {
    let nothing = Ruleset::default();
    let frame = dropped(HOOKS, &[HOOKS, "br_pass_frame_up"]);
    let words = said(&frame, &nothing);
    assert!(words.contains("not evaluated: ebtables"), "{words}");
    let arp = dropped(HOOKS, &[HOOKS, "arp_rcv"]);
    assert!(said(&arp, &nothing).contains("not evaluated: arptables"));
    let none = Ruleset {
        arptables: Some(false),
        ..Ruleset::default()
    };
    assert!(said(&arp, &none).contains("none of the rules"));
    let somewhere = dropped(HOOKS, &[HOOKS, "a_function_of_tomorrow"]);
    let words = said(&somewhere, &nothing);
    assert!(
        words.contains("at an unknown hook; not evaluated: the rules"),
        "{words}"
    );
    let missing = Ruleset {
        unreadable: vec![Unreadable {
            subsystem: Subsystem::IpTables,
            why: "iptables-legacy-save is not installed".into(),
        }],
        ..Ruleset::default()
    };
    let input = dropped(HOOKS, &[HOOKS, "ip_local_deliver"]);
    let words = said(&input, &missing);
    assert!(
        words.ends_with(
            "not evaluated: rules of ip_tables (iptables-legacy-save is not installed)."
        ),
        "{words}"
    );
    // What nf_tables frees itself is none of theirs.
    let by_nft = dropped(NFT, &["nft_do_chain_ipv4", HOOKS, "ip_local_deliver"]);
    assert!(said(&by_nft, &missing).contains("none of the rules"));
}

#[test]
fn what_rules_ask_for_and_nobody_can_tell_is_named() {
    let drop = dropped(HOOKS, &[HOOKS, "ip_local_deliver"]);
    let set = legacy(
        "*filter\n:INPUT ACCEPT [0:0]\n:A - [0:0]\n-A INPUT -m limit --limit 1/sec -j A\n-A A -p tcp -m connmark --mark 0x1 -j DROP\n\
         -A INPUT -p tcp -m string --string xx --algo bm -j DROP\nCOMMIT\n",
    );
    let found = Attribution::of(&drop, &set, &modern()).expect("netfilter's");
    let expected = [
        "-m limit --limit 1/sec",
        "the mark of its conntrack entry",
        "-m string --string xx --algo bm",
    ];
    assert_eq!(found.open(), expected);
    let of_set = json!({"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": "@bad"}});
    let other = json!({"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": 7}});
    let base = Some(("filter", "input", 0, "accept"));
    let drops = |handle, asks: &Value| rule("c", handle, json!([asks, {"drop": null}]));
    let set = nft("ip", &[("c", base)], &[drops(4, &of_set), drops(5, &other)]);
    let stack = ["nft_do_chain_ipv4", HOOKS, "ip_local_deliver"];
    let found = Attribution::of(&dropped(NFT, &stack), &set, &modern()).expect("netfilter's");
    let expected = [
        "whether set @bad holds it",
        "all that nft table ip t chain c handle 5 asks for",
    ];
    assert_eq!(found.open(), expected);
    // Where there is no choice it was that one, whatever it asks for.
    let set = nft("ip", &[("c", base)], &[drops(4, &of_set)]);
    let found = Attribution::of(&dropped(NFT, &stack), &set, &modern()).expect("netfilter's");
    assert_eq!(found.open(), [""; 0]);
}

#[test]
fn a_healthy_rule_set_still_names_its_rule() {
    let set = legacy("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --dport 80 -j DROP\nCOMMIT\n");
    let drop = dropped(HOOKS, &[HOOKS, "ip_local_deliver"]);
    assert_eq!(
        said(&drop, &set),
        "Netfilter dropped it at hook input: iptables-legacy table filter chain INPUT rule 1: \
         -A INPUT -p tcp --dport 80 -j DROP."
    );
}
