//! Marks, queues and translations in nft's JSON, and the targets of iptables in it.

use serde_json::Value;

use super::nft_statement::ANYTHING;
use super::nft_value::{addresses, span};
use crate::facts::ruleset::{HeaderField, MarkChange, Nat, NatAction, Target};

/// `mangle`: what it does to the packet's mark or that of its conntrack entry.
pub(super) fn mark_change(body: &Value) -> Option<Target> {
    let (key, value) = (&body["key"], &body["value"]);
    if key["meta"]["key"] == "mark" {
        let (change, from) = change(value, "meta", "ct").unwrap_or((ANYTHING, false));
        return Some(if from {
            Target::RestoreMark(change)
        } else {
            Target::SetMark(change)
        });
    }
    if key["ct"]["key"] == "mark" {
        let (change, from) = change(value, "ct", "meta").unwrap_or((ANYTHING, false));
        return Some(if from {
            Target::SaveMark
        } else {
            Target::SetConntrackMark(change)
        });
    }
    None
}

/// `mangle`: which field of a header it writes that rules are judged by.
pub(super) fn header_change(body: &Value) -> Option<Target> {
    let field = match body["key"]["payload"]["field"].as_str()? {
        "saddr" => HeaderField::Source,
        "daddr" => HeaderField::Destination,
        "sport" => HeaderField::SourcePort,
        "dport" => HeaderField::DestinationPort,
        _ => return None,
    };
    Some(Target::SetHeader(field))
}

/// A mark's new value as a change of `own`, and whether bits of the `other` mark come in.
fn change(value: &Value, own: &str, other: &str) -> Option<(MarkChange, bool)> {
    if let Some(value) = value.as_u64() {
        return Some((MarkChange::to(value.try_into().ok()?), false));
    }
    if value[own]["key"] == "mark" {
        return Some((MarkChange::default(), false));
    }
    if value[other]["key"] == "mark" {
        return Some((ANYTHING, true));
    }
    let (operator, operands) = value.as_object()?.iter().next()?;
    let [inner, bits] = operands.as_array()?.as_slice() else {
        return None;
    };
    let (old, from) = change(inner, own, other)?;
    let bits = u32::try_from(bits.as_u64()?).ok()?;
    let new = match operator.as_str() {
        "&" => MarkChange {
            clear: old.clear | !bits,
            flip: old.flip & bits,
            unknown: old.unknown & bits,
        },
        "|" => MarkChange {
            clear: old.clear | bits,
            flip: old.flip | bits,
            unknown: old.unknown & !bits,
        },
        "^" => MarkChange {
            flip: old.flip ^ bits,
            ..old
        },
        _ => return None,
    };
    Some((new, from))
}

/// `queue`: a number, a range, or an expression that chooses.
pub(super) fn queue(body: &Value) -> Target {
    let (first, last) = match &body["num"] {
        Value::Null => (0, 0),
        number => span(number).unwrap_or((0, u16::MAX)),
    };
    Target::Queue {
        first,
        last,
        bypass: has_flag(body, "bypass"),
    }
}

fn has_flag(body: &Value, wanted: &str) -> bool {
    match &body["flags"] {
        Value::Array(flags) => flags.iter().any(|flag| flag == wanted),
        flag => flag == wanted,
    }
}

/// A translation in nft's own words.
pub(super) fn nat(action: NatAction, body: &Value) -> Nat {
    Nat {
        action,
        to: new_place(body),
        fully_random: has_flag(body, "fully-random"),
    }
}

/// New addresses and ports; `None` for those that are looked up in a map.
fn new_place(body: &Value) -> Option<String> {
    // Without the length that a single address has as a prefix.
    let plain = |value: &Value| value.as_str().map(str::to_owned);
    let range = || addresses(&body["addr"]).map(|range| range.to_string());
    let ports = span::<u16>(&body["port"]).map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    match (plain(&body["addr"]).or_else(range), ports) {
        (Some(addresses), None) => Some(addresses),
        (Some(addresses), Some(ports)) if addresses.contains(':') => {
            Some(format!("[{}]:{ports}", addresses.replace('-', "]-[")))
        }
        (addresses, Some(ports)) => Some(format!("{}:{ports}", addresses.unwrap_or_default())),
        (None, None) => None,
    }
}

/// A translation by a target of iptables: the rule's text has the rest.
pub(super) fn nat_of_xt(action: NatAction, text: &str) -> Nat {
    let said = text.rsplit_once(action.name()).map_or("", |(_, said)| said);
    let mut words = said.split(' ').skip_while(|&word| word != "to");
    Nat {
        action,
        to: words.nth(1).map(str::to_owned),
        fully_random: said.contains("fully-random"),
    }
}

/// Any other target of iptables, of which nft tells the name only.
pub(super) fn xt(name: &str) -> Option<Target> {
    Some(match name {
        "REJECT" => Target::Reject,
        "MARK" | "HMARK" => Target::SetMark(ANYTHING),
        "CONNMARK" => Target::RestoreMark(ANYTHING),
        "NFQUEUE" => Target::Queue {
            first: 0,
            last: u16::MAX,
            bypass: false,
        },
        "LOG" | "NFLOG" | "CT" | "TCPMSS" | "TRACE" | "CHECKSUM" | "DSCP" | "TOS" | "SET" => {
            return None;
        }
        _ => Target::Unknown(format!("xt target {name}")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(value: &Value) -> Option<Target> {
        mark_change(&json!({"key": {"meta": {"key": "mark"}}, "value": value}))
    }

    fn change(clear: u32, flip: u32, unknown: u32) -> MarkChange {
        MarkChange {
            clear,
            flip,
            unknown,
        }
    }

    #[test]
    fn queues_have_numbers_and_flags() {
        let queue = |body| match queue(&body) {
            Target::Queue {
                first,
                last,
                bypass,
            } => (first, last, bypass),
            other => panic!("{other:?}"),
        };
        assert_eq!(queue(json!({"num": 80, "flags": "bypass"})), (80, 80, true));
        let fanout = json!({"num": {"range": [80, 83]}, "flags": ["bypass", "fanout"]});
        assert_eq!(queue(fanout), (80, 83, true));
        assert_eq!(queue(json!({"num": 5})), (5, 5, false));
        assert_eq!(queue(Value::Null), (0, 0, false));
        assert_eq!(queue(json!({"num": {"numgen": {}}})), (0, u16::MAX, false));
    }

    #[test]
    fn marks_are_set_by_operators_in_each_other() {
        let mark = json!({"meta": {"key": "mark"}});
        let of_entry = json!({"ct": {"key": "mark"}});
        let all = u32::MAX;
        for (value, expected) in [
            (json!(5), Target::SetMark(MarkChange::to(5))),
            (json!({"|": [mark, 16]}), Target::SetMark(change(16, 16, 0))),
            (
                json!({"&": [mark, 0xff]}),
                Target::SetMark(change(!0xff, 0, 0)),
            ),
            (json!({"^": [mark, 1]}), Target::SetMark(change(0, 1, 0))),
            (
                json!({"|": [{"&": [mark, 0xffff_44ff_u32]}, 0x4400]}),
                Target::SetMark(change(0xff00, 0x4400, 0)),
            ),
            (of_entry.clone(), Target::RestoreMark(change(all, 0, all))),
            (
                json!({"&": [of_entry, 0xff]}),
                Target::RestoreMark(change(all, 0, 0xff)),
            ),
            (
                json!({"numgen": {"mode": "inc"}}),
                Target::SetMark(ANYTHING),
            ),
        ] {
            assert_eq!(set(&value), Some(expected), "{value}");
        }
        let entry = |value| mark_change(&json!({"key": {"ct": {"key": "mark"}}, "value": value}));
        assert_eq!(entry(mark), Some(Target::SaveMark));
        assert_eq!(
            entry(json!(3)),
            Some(Target::SetConntrackMark(MarkChange::to(3)))
        );
        let other = json!({"key": {"payload": {"protocol": "ip", "field": "dscp"}}, "value": 1});
        assert_eq!(mark_change(&other), None);
    }

    #[test]
    fn targets_of_iptables_are_known_by_name() {
        assert_eq!(xt("LOG"), None);
        assert_eq!(xt("REJECT"), Some(Target::Reject));
        assert!(matches!(xt("SYNPROXY"), Some(Target::Unknown(_))));
    }
}
