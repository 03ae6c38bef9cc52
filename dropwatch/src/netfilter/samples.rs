//! Rule sets and packets for tests.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::packet::Packet;
use crate::facts::{
    reader::samples,
    ruleset::{Family, Hook, Ruleset},
};

/// As iptables-save prints kube-proxy's and kubelet's rules.
pub(super) const KUBE_FIREWALL: &str = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
    :KUBE-MARK-DROP - [0:0]\n:KUBE-MARK-MASQ - [0:0]\n\
    -A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000\n\
    -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\nCOMMIT\n\
    *filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:KUBE-FIREWALL - [0:0]\n\
    -A INPUT -j KUBE-FIREWALL\n-A OUTPUT -j KUBE-FIREWALL\n\
    -A KUBE-FIREWALL -m comment --comment \"kubernetes firewall for dropping marked packets\" -m mark --mark 0x8000/0x8000 -j DROP\n\
    -A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment \"block incoming localnet connections\" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n\
    COMMIT\n";

/// The rule set of iptables-legacy.
pub(super) fn legacy(saved: &str) -> Ruleset {
    Ruleset {
        chains: samples::saved(saved),
        ..Ruleset::default()
    }
}

/// Type, hook, priority and policy.
pub(super) type Base<'a> = Option<(&'a str, &'a str, i64, &'a str)>;

/// A table `t` of nft's with chains and rules.
pub(super) fn nft(family: &str, chains: &[(&str, Base<'_>)], rules: &[Value]) -> Ruleset {
    let chains = chains.iter().map(|(name, base)| {
        let mut chain = json!({"family": family, "table": "t", "name": name});
        if let Some((kind, hook, prio, policy)) = base {
            chain["type"] = json!(kind);
            chain["hook"] = json!(hook);
            chain["prio"] = json!(prio);
            chain["policy"] = json!(policy);
        }
        json!({"chain": chain})
    });
    let objects: Vec<Value> = chains.chain(rules.iter().cloned()).collect();
    let text = json!({"nftables": objects}).to_string();
    Ruleset {
        chains: samples::listed(&text, &HashMap::new()),
        ..Ruleset::default()
    }
}

/// A rule in a chain of the table `t`.
pub(super) fn rule(chain: &str, handle: u64, expressions: Value) -> Value {
    json!({"rule": {"family": "inet", "table": "t", "chain": chain, "handle": handle, "expr": expressions}})
}

/// A TCP packet.
pub(super) fn tcp(hook: Hook) -> Packet {
    Packet {
        protocol: Some(6),
        src: Some([10, 0, 0, 1].into()),
        dst: Some([10, 2, 0, 2].into()),
        sport: Some(41000),
        dport: Some(80),
        tcp_flags: Some(2),
        mark: Some(0),
        ..Packet::at(Family::Ip, hook)
    }
}
