//! Which member of a list, set or verdict map a packet met: another packet of the same rule may have met another.

use super::{candidates::Candidate, packet::Packet};
use crate::facts::ruleset::{Match, Rule, Test, protocol, test::Span};

/// What the packet met of the lists, sets and verdict maps that the rule asks for: `dport 53`, `saddr 10.0.0.0/24`. `None`
/// where it has none, or where that is not known.
#[must_use]
pub fn element(one: &Candidate<'_>, packet: &Packet) -> Option<String> {
    let rule = one.rule?;
    // A verdict map is a rule for each of its members, of one handle.
    let is_part = |other: &&Rule| rule.handle.is_some() && other.handle == rule.handle;
    let parts: Vec<&Rule> = one.chain.rules.iter().filter(is_part).collect();
    let met: Vec<String> = rule
        .matches
        .iter()
        .filter(|asked| !asked.negated)
        .filter_map(|asked| {
            let key_of_map = parts.iter().any(|part| !part.matches.contains(asked));
            member(asked, packet, key_of_map)
        })
        .collect();
    (!met.is_empty()).then(|| met.join(", "))
}

/// The member of one list that the packet met; of a list of one only where it is the key of a map.
fn member(asked: &Match, packet: &Packet, key_of_map: bool) -> Option<String> {
    let several = |members: usize| members > 1 || key_of_map;
    let (name, met) = match &asked.test {
        Test::SourcePort(list) if several(list.len()) => ("sport", span(list, packet.sport?)?),
        Test::DestinationPort(list) if several(list.len()) => ("dport", span(list, packet.dport?)?),
        Test::Source(list) if several(list.len()) => {
            let source = packet.src?;
            let met = list.iter().find(|addresses| addresses.contain(source))?;
            ("saddr", met.to_string())
        }
        Test::Destination(list) if several(list.len()) => {
            let destination = packet.dst?;
            let met = list
                .iter()
                .find(|addresses| addresses.contain(destination))?;
            ("daddr", met.to_string())
        }
        Test::Protocol(list) if several(list.len()) => {
            let met = packet.protocol.filter(|met| list.contains(met))?;
            ("protocol", protocol::name(met))
        }
        // Its members are not read: what of the packet was looked up in it is known all the same.
        Test::Other(text) if text.contains("\"@") || text.contains("match-set") => {
            return looked_up(text, packet);
        }
        _ => return None,
    };
    Some(format!("{name} {met}"))
}

fn span(list: &[Span<u16>], value: u16) -> Option<String> {
    let (first, last) = list
        .iter()
        .find(|(first, last)| (*first..=*last).contains(&value))?;
    Some(if first == last {
        first.to_string()
    } else {
        format!("{first}-{last}")
    })
}

/// What was looked up in a set with a name, from the rule as nft's JSON or iptables' words (`--match-set NAME src,dst`) have it.
fn looked_up(text: &str, packet: &Packet) -> Option<String> {
    let source = packet.src.map(|source| format!("saddr {source}"));
    let destination = packet.dst.map(|destination| format!("daddr {destination}"));
    let sport = packet.sport.map(|port| format!("sport {port}"));
    let dport = packet.dport.map(|port| format!("dport {port}"));
    // Whether iptables' sets hold addresses or ports is not said: the whole flow is told.
    let keys = [
        (source, ["\"saddr\"", "src"]),
        (destination, ["\"daddr\"", "dst"]),
        (sport, ["\"sport\"", "src"]),
        (dport, ["\"dport\"", "dst"]),
    ];
    let words: Vec<&str> = text.split([' ', ',']).collect();
    let asked = |names: &[&str; 2]| text.contains(names[0]) || words.contains(&names[1]);
    let met: Vec<String> = keys
        .into_iter()
        .filter_map(|(value, names)| value.filter(|_| asked(&names)))
        .collect();
    (!met.is_empty()).then(|| met.join(" . "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::samples::{legacy, nft, rule, tcp},
        *,
    };
    use crate::{model::hook::Hook, netfilter::suspects};

    fn met(set: &crate::facts::ruleset::Ruleset, dport: u16) -> Option<String> {
        let packet = Packet {
            dport: Some(dport),
            ..tcp(Hook::Input)
        };
        let found = suspects(set, &packet, None);
        element(found.list.first()?, &packet)
    }

    #[test]
    fn members_of_lists_sets_and_maps_are_told_apart() {
        let base = Some(("filter", "input", 0, "accept"));
        let port = json!({"payload": {"protocol": "tcp", "field": "dport"}});
        let is = |right| json!({"match": {"op": "==", "left": port, "right": right}});
        let one = |statements| nft("inet", &[("c", base)], &[rule("c", 4, statements)]);
        let list = one(json!([is(json!({"set": [53, {"range": [60, 70]}]})), {"drop": null}]));
        assert_eq!(met(&list, 53).as_deref(), Some("dport 53"));
        assert_eq!(met(&list, 65).as_deref(), Some("dport 60-70"));
        let single = one(json!([is(json!(53)), {"drop": null}]));
        assert_eq!(met(&single, 53), None);
        let named = one(json!([is(json!("@bad")), {"drop": null}]));
        assert_eq!(met(&named, 61).as_deref(), Some("dport 61"));
        let pairs = json!([[53, {"drop": null}], [54, {"drop": null}], [55, {"accept": null}]]);
        let map = one(json!([{"vmap": {"key": port, "data": {"set": pairs}}}]));
        assert_eq!(met(&map, 54).as_deref(), Some("dport 54"));
    }

    #[test]
    fn iptables_lists_ports_and_asks_for_sets() {
        let saved = |rule: &str| legacy(&format!("*filter\n:INPUT ACCEPT [0:0]\n{rule}\nCOMMIT\n"));
        let ports = saved("-A INPUT -p tcp -m multiport --dports 80,81 -j DROP");
        assert_eq!(met(&ports, 81).as_deref(), Some("dport 81"));
        let set = saved("-A INPUT -p tcp -m set --match-set bad src -j DROP");
        let told = met(&set, 81).expect("a set");
        assert!(
            told.starts_with("saddr ") && !told.contains("daddr"),
            "{told}"
        );
    }
}
