//! What an expression of nft's JSON asks for.

use serde_json::Value;

use super::nft_value::{
    addresses, device, icmp_type, members, protocol_number, span, state, tcp_flags, version,
};
use crate::facts::ruleset::test::{AddressType, MarkTest};
use crate::facts::ruleset::{Family, Match, State, Test};

/// The conditions of a `match` statement: its own, and those that go without saying.
pub(super) fn matches(wanted: &Value, family: Family) -> Vec<Match> {
    let (op, left, right) = (&wanted["op"], &wanted["left"], &wanted["right"]);
    let mut all = implied(left, family);
    let op = op.as_str().unwrap_or_default();
    if op == "==" {
        all.extend(upper_protocol(left, right));
    }
    let own = compare(op, left, right);
    all.push(own.unwrap_or_else(|| Match::is(Test::Other(wanted.to_string()))));
    all
}

/// The conditions under which a key has one of the values (or the only one), as in a verdict map.
pub(super) fn key_is(key: &Value, value: &Value, family: Family) -> Vec<Match> {
    let mut all = implied(key, family);
    let own = test(key, value).filter(|_| value != "*");
    let other = || Test::Other(format!("{key} == {value}"));
    all.push(Match::is(own.unwrap_or_else(other)));
    all
}

/// What a packet must have for `key` to be written: a header that is known, or something else.
pub(super) fn implied_by_change(key: &Value, family: Family) -> Vec<Match> {
    if key["meta"].is_object() || key["ct"].is_object() {
        return Vec::new();
    }
    let mut all = implied(key, family);
    // Only for addresses and ports is that all that is asked.
    if !matches!(payload(key).1, "saddr" | "daddr" | "sport" | "dport") || all.is_empty() {
        all.push(Match::is(Test::Other(format!("has {key}"))));
    }
    all
}

/// A match on a header is one on the packet having it.
fn implied(left: &Value, family: Family) -> Vec<Match> {
    let left = left["&"].get(0).unwrap_or(left);
    let (header, _) = payload(left);
    let version = match header {
        "ip" | "icmp" => Some(4),
        "ip6" | "icmpv6" => Some(6),
        _ => None,
    };
    // Tables of one version see no other.
    let version = version.filter(|_| !matches!(family, Family::Ip | Family::Ip6));
    let protocol = match header {
        "tcp" => Some(6),
        "udp" => Some(17),
        "dccp" => Some(33),
        "sctp" => Some(132),
        "udplite" => Some(136),
        "icmp" => Some(1),
        "icmpv6" => Some(58),
        _ => None,
    };
    let version = version.map(|version| Match::is(Test::IpVersion(version)));
    let protocol = protocol.map(|number| Match::is(Test::Protocol(vec![number])));
    version.into_iter().chain(protocol).collect()
}

/// IPv6's first next header is the protocol only of packets without extension headers, which is not known of any. What
/// names protocols alone asks for one of these at least.
fn upper_protocol(left: &Value, right: &Value) -> Option<Match> {
    if payload(left) != ("ip6", "nexthdr") {
        return None;
    }
    let numbers = each(&members(right)?, protocol_number)?;
    let upper = |number: &u8| matches!(number, 6 | 17 | 33 | 58 | 132 | 136);
    numbers
        .iter()
        .all(upper)
        .then_some(Match::is(Test::Protocol(numbers)))
}

/// Header and field.
fn payload(left: &Value) -> (&str, &str) {
    let payload = &left["payload"];
    let word = |name: &str| payload[name].as_str().unwrap_or_default();
    (word("protocol"), word("field"))
}

/// The comparison itself; `None` when it is not understood.
fn compare(op: &str, left: &Value, right: &Value) -> Option<Match> {
    match op {
        "==" if !right.is_array() => Some(Match::is(test(left, right)?)),
        "!=" if !right.is_array() => Some(Match::is_not(test(left, right)?)),
        // Some of the bits, or none of them.
        "in" | "!" => {
            let bits = test_bits(left, right)?;
            Some(Match {
                negated: (op == "!") != bits.negated,
                test: bits.test,
            })
        }
        "<" | "<=" | ">" | ">=" => {
            let value = right.as_u64()?;
            let (first, last) = match op {
                "<" => (0, value.checked_sub(1)?),
                "<=" => (0, value),
                ">" => (value.checked_add(1)?, u64::MAX),
                _ => (value, u64::MAX),
            };
            Some(Match::is(ordered(left, first, last)?))
        }
        _ => None,
    }
}

/// The key as one of the values.
fn test(left: &Value, right: &Value) -> Option<Test> {
    if let Some([key, mask]) = left["&"].as_array().map(Vec::as_slice) {
        return masked(key, mask, right);
    }
    let values = members(right)?;
    if let Some(key) = left["meta"]["key"].as_str() {
        return match key {
            "mark" => Some(Test::Mark(marks(u32::MAX, &values)?)),
            "l4proto" => Some(Test::Protocol(each(&values, protocol_number)?)),
            "iifname" | "iif" => Some(Test::InDevice(each(&values, device)?)),
            "oifname" | "oif" => Some(Test::OutDevice(each(&values, device)?)),
            "nfproto" | "protocol" => match values.as_slice() {
                [one] => Some(Test::IpVersion(version(one)?)),
                _ => None,
            },
            _ => None,
        };
    }
    if let Some(key) = left["ct"]["key"].as_str() {
        return match key {
            "mark" => Some(Test::ConntrackMark(marks(u32::MAX, &values)?)),
            "state" => Some(Test::ConntrackState(each(&values, state)?)),
            _ => None,
        };
    }
    // `fib daddr type local`; one that looks at a device too asks for something else.
    if left["fib"]["result"] == "type" {
        let types = each(&values, |value| Some(AddressType::by_name(value.as_str()?)))?;
        let flags = &left["fib"]["flags"];
        return match flags.as_str().or_else(|| single(flags)) {
            Some("saddr") => Some(Test::SourceType(types)),
            Some("daddr") => Some(Test::DestinationType(types)),
            _ => None,
        };
    }
    match payload(left) {
        ("ip" | "ip6", "saddr") => Some(Test::Source(each(&values, addresses)?)),
        ("ip" | "ip6", "daddr") => Some(Test::Destination(each(&values, addresses)?)),
        ("ip", "protocol") => Some(Test::Protocol(each(&values, protocol_number)?)),
        ("tcp" | "udp" | "th" | "sctp" | "dccp" | "udplite", "sport") => {
            Some(Test::SourcePort(each(&values, span)?))
        }
        ("tcp" | "udp" | "th" | "sctp" | "dccp" | "udplite", "dport") => {
            Some(Test::DestinationPort(each(&values, span)?))
        }
        ("tcp", "flags") => match values.as_slice() {
            [one] => Some(Test::TcpFlags {
                mask: u8::MAX,
                value: tcp_flags(one)?,
            }),
            _ => None,
        },
        (header @ ("icmp" | "icmpv6"), "type") => match values.as_slice() {
            [one] => Some(Test::IcmpType(icmp_type(one, header == "icmpv6")?)),
            _ => None,
        },
        _ => None,
    }
}

/// The only word of a list.
fn single(list: &Value) -> Option<&str> {
    match list.as_array()?.as_slice() {
        [one] => one.as_str(),
        _ => None,
    }
}

/// Some bits of the key as one of the values.
fn masked(key: &Value, mask: &Value, right: &Value) -> Option<Test> {
    if payload(key) == ("tcp", "flags") {
        return Some(Test::TcpFlags {
            mask: tcp_flags(mask)?,
            value: tcp_flags(right)?,
        });
    }
    let mask = u32::try_from(mask.as_u64()?).ok()?;
    let marks = marks(mask, &members(right)?)?;
    if key["meta"]["key"] == "mark" {
        Some(Test::Mark(marks))
    } else if key["ct"]["key"] == "mark" {
        Some(Test::ConntrackMark(marks))
    } else {
        None
    }
}

/// Whether any of the bits is set.
fn test_bits(left: &Value, right: &Value) -> Option<Match> {
    if left["ct"]["key"] == "state" {
        let several = right.as_array().map(|several| several.iter().collect());
        let names: Vec<_> = several.unwrap_or_else(|| vec![right]);
        return Some(Match::is(Test::ConntrackState(each(&names, state)?)));
    }
    // Whether a connection is translated is asked like a state.
    if left["ct"]["key"] == "status" {
        let of_nat = state(right).filter(|one| matches!(one, State::Snat | State::Dnat));
        return Some(Match::is(Test::ConntrackState(vec![of_nat?])));
    }
    let none = |mask| MarkTest {
        mask,
        values: vec![(0, 0)],
    };
    if left["meta"]["key"] == "mark" {
        let mask = u32::try_from(right.as_u64()?).ok()?;
        return Some(Match::is_not(Test::Mark(none(mask))));
    }
    if payload(left) == ("tcp", "flags") {
        let mask = tcp_flags(right)?;
        return Some(Match::is_not(Test::TcpFlags { mask, value: 0 }));
    }
    None
}

/// The key between two numbers.
fn ordered(left: &Value, first: u64, last: u64) -> Option<Test> {
    let ports = || {
        Some(vec![(
            u16::try_from(first).ok()?,
            u16::try_from(last).unwrap_or(u16::MAX),
        )])
    };
    match payload(left) {
        ("tcp" | "udp" | "th" | "sctp" | "dccp" | "udplite", "sport") => {
            Some(Test::SourcePort(ports()?))
        }
        ("tcp" | "udp" | "th" | "sctp" | "dccp" | "udplite", "dport") => {
            Some(Test::DestinationPort(ports()?))
        }
        _ if left["meta"]["key"] == "mark" => {
            let first = u32::try_from(first).ok()?;
            let last = u32::try_from(last).unwrap_or(u32::MAX);
            Some(Test::Mark(MarkTest {
                mask: u32::MAX,
                values: vec![(first, last)],
            }))
        }
        _ => None,
    }
}

fn marks(mask: u32, values: &[&Value]) -> Option<MarkTest> {
    Some(MarkTest {
        mask,
        values: each(values, span)?,
    })
}

fn each<T>(values: &[&Value], read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    values.iter().map(|value| read(value)).collect()
}
