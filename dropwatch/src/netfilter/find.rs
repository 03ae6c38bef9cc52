//! Which rules send a packet to a program, and which translate it.

use super::{
    candidates::{Candidate, Candidates},
    chains::{Chains, priority},
    packet::Packet,
    walk::{Walk, Wanted},
};
use crate::{
    facts::ruleset::{
        Chain, Family, Hook, Nat, NatAction, Rule, Ruleset, State, Subsystem, Target, Test,
    },
    model::tuple::Tuple,
};

/// The rules that can have sent a packet to queue `number`, `packet` being what it was when queued.
#[must_use]
pub fn queued_by<'a>(
    set: &'a Ruleset,
    packet: &Packet,
    number: u16,
    only: Option<Subsystem>,
) -> Candidates<'a> {
    let to_it = |target: &Target| match target {
        Target::Queue { first, last, .. } => (*first..=*last).contains(&number),
        _ => false,
    };
    let chains = Chains::new(set);
    let wanted = Wanted {
        target: &to_it,
        policy: false,
        exact: true,
    };
    let mut found = Candidates {
        list: Vec::new(),
        complete: set.is_complete(only),
    };
    for (at, comes) in chains.bases(packet) {
        if only.is_some_and(|only| only != chains.get(at).backend.subsystem()) {
            continue;
        }
        let seen = packet.seen_at(priority(chains.get(at)));
        let known = !chains.changed_bits(at, &seen);
        let here = Walk::new(&chains, &seen, known, &wanted).run(at, comes, found.list.is_empty());
        found.complete &= here.complete;
        here.list.into_iter().for_each(|one| found.add(one));
    }
    found
}

/// The rules that can have translated a connection in one of these ways, `packet` being the first packet as
/// it came to the hook, with the mark that it had when it left it.
#[must_use]
pub fn translated_by<'a>(
    set: &'a Ruleset,
    packet: &Packet,
    actions: &[NatAction],
) -> Candidates<'a> {
    let one_of = |target: &Target| match target {
        Target::Nat(nat) => actions.contains(&nat.action),
        Target::Unknown(_) => true,
        _ => false,
    };
    let chains = Chains::new(set);
    let wanted = Wanted {
        target: &one_of,
        policy: false,
        exact: false,
    };
    let mut found = Candidates {
        list: Vec::new(),
        complete: set.is_complete(None),
    };
    let bases = chains.bases(packet);
    // Rules of any chain may have changed the mark since.
    let known = !bases
        .iter()
        .fold(0, |bits, (at, _)| bits | chains.changed_bits(*at, packet));
    for (at, comes) in bases {
        if !chains.translates(at) {
            continue;
        }
        let here = Walk::new(&chains, packet, known, &wanted).run(at, comes, found.list.is_empty());
        found.complete &= here.complete;
        // The first translation is the only one.
        let sure = here.list.iter().any(|one| one.sure);
        here.list.into_iter().for_each(|one| found.add(one));
        if sure {
            break;
        }
    }
    found
}

/// The rule that translated the destination of what a client sent, if only one can have: at PREROUTING, or at
/// OUTPUT for a client on this host.
#[must_use]
pub fn destination_rule<'a>(set: &'a Ruleset, asked: &Tuple) -> Option<NatRule<'a>> {
    let family = if asked.src.is_ipv4() {
        Family::Ip
    } else {
        Family::Ip6
    };
    [Hook::Prerouting, Hook::Output]
        .into_iter()
        .find_map(|hook| {
            let packet = Packet {
                protocol: Some(asked.proto),
                src: Some(asked.src),
                dst: Some(asked.dst),
                sport: Some(asked.sport),
                dport: Some(asked.dport),
                state: Some(State::New),
                ..Packet::at(family, hook)
            };
            let found = translated_by(set, &packet, &[NatAction::Dnat, NatAction::Redirect]);
            NatRule::of(found.only()?)
        })
}

/// A rule that translates addresses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NatRule<'a> {
    /// Chain that holds it.
    pub chain: &'a Chain,
    /// The rule.
    pub rule: &'a Rule,
    /// What it does.
    pub nat: &'a Nat,
}

impl<'a> NatRule<'a> {
    /// A candidate as such; `None` if it does something else.
    #[must_use]
    pub fn of(candidate: &Candidate<'a>) -> Option<Self> {
        match (candidate.rule, candidate.target) {
            (Some(rule), Some(Target::Nat(nat))) => Some(Self {
                chain: candidate.chain,
                rule,
                nat,
            }),
            _ => None,
        }
    }

    /// The rule with its place, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { chain, rule, .. } = self;
        let handle = rule
            .handle
            .map_or(String::new(), |h| format!(" handle {h}"));
        format!(
            "{} table {} chain {}{handle}: {}",
            chain.backend, chain.table, chain.name, rule.text
        )
    }

    /// What it asks for in one of its matches, if it does not ask for the contrary.
    pub(super) fn asked(&self, read: impl Fn(&Test) -> Option<String>) -> Option<String> {
        let mut asked = self.rule.matches.iter().filter(|one| !one.negated);
        asked.find_map(|one| read(&one.test))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{
        NatRuleFacts,
        samples::{legacy, nft, tcp},
    };
    use super::*;
    use crate::facts::ruleset::Hook;

    const SOURCE: [NatAction; 2] = [NatAction::Masquerade, NatAction::Snat];

    /// The pattern of kube-proxy: what is to be masqueraded is marked, and the mark taken off first.
    const KUBE: &str = "*nat\n:POSTROUTING ACCEPT [0:0]\n:KUBE-POSTROUTING - [0:0]\n\
        -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n\
        -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n\
        -A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n\
        -A KUBE-POSTROUTING -j MASQUERADE --random-fully\nCOMMIT\n";

    fn leaving() -> Packet {
        Packet {
            out_dev: Some("eth0".into()),
            mark: Some(0),
            ..tcp(Hook::Postrouting)
        }
    }

    fn only(set: &Ruleset, packet: &Packet) -> Option<Value> {
        let found = translated_by(set, packet, &SOURCE);
        let rule = NatRule::of(found.only()?)?;
        Some(json!(NatRuleFacts::of(&rule)))
    }

    #[test]
    fn the_rule_is_found_though_its_mark_was_taken_off() {
        let set = legacy(KUBE);
        let rule = only(&set, &leaving()).expect("a rule");
        assert_eq!(rule["chain"], "KUBE-POSTROUTING");
        assert_eq!(rule["fully_random"], true);
        let found = translated_by(&set, &leaving(), &SOURCE);
        assert_eq!(found.list[0].path.len(), 1);
        assert!(!found.list[0].sure, "whether it was marked is not known");
    }

    #[test]
    fn source_device_and_order_decide() {
        let rules =
            |lines: &str| legacy(&format!("*nat\n:POSTROUTING ACCEPT [0:0]\n{lines}COMMIT\n"));
        let set = rules(
            "-A POSTROUTING -s 10.9.0.0/16 -j MASQUERADE\n\
             -A POSTROUTING -o eth1 -j MASQUERADE\n\
             -A POSTROUTING -p udp -j MASQUERADE\n\
             -A POSTROUTING -d 10.1.0.0/16 -j ACCEPT\n\
             -A POSTROUTING -s 10.0.0.0/24 -o eth0 -p tcp -j SNAT --to-source 192.0.2.1:40000-40010\n\
             -A POSTROUTING -j MASQUERADE\n",
        );
        let expected = json!({
            "backend": "iptables-legacy", "table": "nat", "chain": "POSTROUTING",
            "text": "-A POSTROUTING -s 10.0.0.0/24 -o eth0 -p tcp -j SNAT --to-source 192.0.2.1:40000-40010",
            "handle": null, "action": "snat", "to": "192.0.2.1:40000-40010", "fully_random": false,
            "out_dev": "eth0", "source": "10.0.0.0/24", "proto": "tcp",
        });
        assert_eq!(only(&set, &leaving()), Some(expected));
        let elsewhere = Packet {
            out_dev: None,
            ..leaving()
        };
        assert_eq!(
            only(&set, &elsewhere),
            None,
            "it may have been the one for eth1"
        );
        let accepted = rules("-A POSTROUTING -j ACCEPT\n-A POSTROUTING -j MASQUERADE\n");
        assert_eq!(translated_by(&accepted, &leaving(), &SOURCE).list, []);
    }

    #[test]
    fn nothing_is_certain_where_something_is_missing() {
        let mut set = legacy(KUBE);
        assert!(only(&set, &leaving()).is_some());
        set.unreadable.push(crate::facts::ruleset::Unreadable {
            subsystem: Subsystem::NfTables,
            why: "nft is not installed".into(),
        });
        assert_eq!(only(&set, &leaving()), None);
    }

    #[test]
    fn nft_rules_have_a_handle() {
        let rule = json!({"rule": {"family": "ip", "table": "t", "chain": "post", "handle": 5, "expr": [
            {"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "eth0"}},
            {"masquerade": {"flags": "fully-random"}}]}});
        let set = nft(
            "ip",
            &[("post", Some(("nat", "postrouting", 100, "accept")))],
            &[rule],
        );
        let rule = only(&set, &leaving()).expect("a rule");
        assert_eq!(
            (&rule["handle"], &rule["table"]),
            (&json!(5), &json!("ip t"))
        );
        assert_eq!(
            (&rule["backend"], &rule["out_dev"]),
            (&json!("nft"), &json!("eth0"))
        );
    }

    #[test]
    fn queues_are_found_by_number_and_place() {
        let set = legacy(
            "*mangle\n:FORWARD ACCEPT [0:0]\n:INSPECT - [0:0]\n-A FORWARD -p tcp -j INSPECT\n\
             -A FORWARD -j NFQUEUE --queue-num 81\n\
             -A INSPECT -m mark ! --mark 0x1/0x1 -j NFQUEUE --queue-balance 80:83 --queue-bypass\nCOMMIT\n",
        );
        let queued = |number, mark| {
            let packet = Packet {
                mark: Some(mark),
                ..tcp(Hook::Forward)
            };
            let found = queued_by(&set, &packet, number, None);
            found
                .list
                .iter()
                .map(|one| one.chain.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(queued(80, 0), ["INSPECT"]);
        assert_eq!(queued(81, 0), ["INSPECT"], "the other is not reached");
        assert_eq!(queued(81, 1), ["FORWARD"]);
        assert_eq!(queued(80, 1), [""; 0]);
        assert_eq!(queued(9, 0), [""; 0]);
    }
}
