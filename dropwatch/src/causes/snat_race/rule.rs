//! The rule that translated a connection, and the ports that it leaves.

use std::{net::IpAddr, ops::RangeInclusive};

use crate::{
    facts::ruleset::{Family, Hook, Nat, NatAction, Ruleset, State},
    judge::View,
    model::{anchor::Drop, evidence::Insertion},
    netfilter::{NatRule, Packet, translated_by},
};

/// The rule that made the translation, if exactly one of those that are loaded can have; else why it is not known.
pub fn find<'a>(
    drop: &Drop,
    insertion: &Insertion,
    view: &View<'a>,
) -> Result<NatRule<'a>, Vec<String>> {
    let Some(set) = view.ruleset(drop.netns) else {
        return Err(vec![
            "which rule translated it: the rules could not be read, or not in time".into(),
        ]);
    };
    if let Some(rule) = only(set, drop, insertion) {
        if leaves(rule.nat, insertion) {
            return Ok(rule);
        }
        return Err(vec![format!(
            "which rule translated it: the only one that fits now ({}) does not make this translation, so the rules \
             were changed meanwhile",
            rule.rule.text
        )]);
    }
    let mut why = vec![if set.unreadable.is_empty() {
        "which rule translated it: none of those that are loaded fits for sure".to_owned()
    } else {
        "which rule translated it: not all rules could be read".to_owned()
    }];
    why.extend(set.unreadable.iter().map(|one| one.why.clone()));
    Err(why)
}

fn only<'a>(set: &'a Ruleset, drop: &Drop, insertion: &Insertion) -> Option<NatRule<'a>> {
    let Insertion {
        original, reply, ..
    } = insertion;
    let family = if original.src.is_ipv4() {
        Family::Ip
    } else {
        Family::Ip6
    };
    let actions = [NatAction::Masquerade, NatAction::Snat, NatAction::Netmap];
    // Behind a translation of the destination, which comes first.
    let packet = |hook| Packet {
        protocol: Some(original.proto),
        src: Some(original.src),
        dst: Some(reply.src),
        sport: Some(original.sport),
        dport: Some(reply.sport),
        mark: Some(drop.mark),
        state: Some(State::New),
        out_dev: drop.dev.as_ref().map(|dev| dev.name.clone()),
        ..Packet::at(family, hook)
    };
    let leaving = translated_by(set, &packet(Hook::Postrouting), &actions);
    let coming = translated_by(set, &packet(Hook::Input), &actions);
    match (leaving.list.is_empty(), coming.list.is_empty()) {
        (false, true) => NatRule::of(leaving.only()?),
        (true, false) => NatRule::of(coming.only()?),
        _ => None,
    }
}

/// Whether it can have made this translation: one that was changed since cannot.
fn leaves(nat: &Nat, insertion: &Insertion) -> bool {
    let (to, port) = (insertion.reply.dst, insertion.reply.dport);
    let (address, range) = split(nat);
    let address: Option<IpAddr> = address.and_then(|text| text.parse().ok());
    address.is_none_or(|address| address == to) && range.is_none_or(|range| range.contains(&port))
}

/// The ports that the translation may choose from: the rule's own, else the kernel's choice by the original
/// port (`nf_nat_l4proto_unique_tuple`, net/netfilter/nf_nat_core.c, 5.10 to 7.2). `None` where the rule looks them
/// up, or its own words are not known.
pub fn ports(rule: &NatRule<'_>, original: u16) -> Option<RangeInclusive<u16>> {
    let NatRule { rule, nat, .. } = rule;
    let own = split(nat).1;
    let text = &rule.text;
    let plain = !text.is_empty() && !text.contains(" map ") && !text.contains("xt target");
    let named = nat.to.is_some() || nat.action != NatAction::Snat;
    if own.is_none() && !(plain && named) {
        return None;
    }
    Some(own.unwrap_or(match original {
        0..=511 => 1..=511,
        512..=1023 => 600..=1023,
        _ => 1024..=u16::MAX,
    }))
}

/// Address and ports as the rule names them.
fn split(nat: &Nat) -> (Option<&str>, Option<RangeInclusive<u16>>) {
    let Some(to) = nat.to.as_deref() else {
        return (None, None);
    };
    let bare = |text: &str| !text.contains(':') || text.ends_with(']');
    let (address, ports) = match to.rsplit_once(':') {
        // An IPv6 address stands in brackets when a port follows.
        Some((address, ports)) if bare(address) => (address, Some(ports)),
        _ => (to, None),
    };
    let range = ports.and_then(|ports| {
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    (Some(address.trim_matches(['[', ']'])), range)
}

/// Whether it gives ports at random, so that a connection keeps its own only by chance.
pub fn is_random(rule: &NatRule<'_>) -> bool {
    rule.nat.fully_random || rule.rule.text.contains("random")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use dropwatch_common::record::ct_insert::status;

    use super::*;
    use crate::{
        facts::ruleset::{Backend, Chain, Rule, Target},
        model::{evidence::CtState, tuple::Tuple},
    };

    fn nat(to: &str) -> Nat {
        Nat {
            action: NatAction::Snat,
            to: Some(to.into()),
            fully_random: false,
        }
    }

    fn ports_of(nat: Nat, text: &str, original: u16) -> Option<RangeInclusive<u16>> {
        let chain = Chain {
            backend: Backend::Nft,
            family: Family::Ip,
            table: "ip nat".into(),
            name: "POSTROUTING".into(),
            base: None,
            rules: vec![Rule {
                text: text.into(),
                targets: vec![Target::Nat(nat)],
                ..Rule::default()
            }],
        };
        let rule = &chain.rules[0];
        let Target::Nat(nat) = &rule.targets[0] else {
            return None;
        };
        let chain = &chain;
        ports(&NatRule { chain, rule, nat }, original)
    }

    #[test]
    fn the_rule_decides_the_ports_and_the_kernel_without_one() {
        let of = |to: &str| ports_of(nat(to), "snat to somewhere", 5000);
        assert_eq!(of("10.0.0.1:40000-40001"), Some(40000..=40001));
        assert_eq!(of("10.0.0.1:40000"), Some(40000..=40000));
        assert_eq!(of("10.0.0.1"), Some(1024..=65535));
        assert_eq!(of("fd00::1"), Some(1024..=65535));
        assert_eq!(of("[fd00::1]:7"), Some(7..=7));
        assert_eq!(of(":7-9"), Some(7..=9));
        let masquerade = Nat {
            action: NatAction::Masquerade,
            to: None,
            fully_random: false,
        };
        assert_eq!(
            ports_of(masquerade.clone(), "masquerade", 53),
            Some(1..=511)
        );
        assert_eq!(
            ports_of(masquerade.clone(), "masquerade", 800),
            Some(600..=1023)
        );
        // Ports that are looked up, or words that are not known, may be any.
        for text in [
            "masquerade to : tcp sport map @few",
            "xt target \"MASQUERADE\"",
            "",
        ] {
            assert_eq!(ports_of(masquerade.clone(), text, 5000), None, "{text}");
        }
        let looked_up = Nat {
            action: NatAction::Snat,
            ..masquerade
        };
        assert_eq!(ports_of(looked_up, "snat to @places", 5000), None);
    }

    #[test]
    fn a_rule_that_translates_otherwise_did_not_do_it() {
        let server = Ipv4Addr::new(192, 0, 2, 1).into();
        let insertion = Insertion {
            state: CtState::New,
            status: status::SRC_NAT,
            zone: 0,
            original: Tuple {
                proto: 17,
                src: Ipv4Addr::new(10, 0, 0, 2).into(),
                dst: server,
                sport: 5000,
                dport: 53,
            },
            reply: Tuple {
                proto: 17,
                src: server,
                dst: Ipv4Addr::new(10, 0, 0, 1).into(),
                sport: 53,
                dport: 40001,
            },
        };
        for (to, can) in [
            ("10.0.0.1", true),
            ("10.0.0.1:40000-40001", true),
            (":40001", true),
            ("10.0.0.1-10.0.0.9:40001", true),
            ("10.0.0.1:40000", false),
            ("10.0.0.9", false),
        ] {
            assert_eq!(leaves(&nat(to), &insertion), can, "{to}");
        }
    }
}
