//! Values of nft's JSON: numbers, addresses, names, ranges and sets of them.

use serde_json::Value;

use super::iptables_match::flags;
use crate::facts::ruleset::{Addresses, State, protocol};

/// The members of a set, or the value itself. `None` for a named set, whose members are not listed.
pub(super) fn members(value: &Value) -> Option<Vec<&Value>> {
    match value {
        Value::String(name) if name.starts_with('@') => None,
        Value::Object(fields) => match fields.get("set") {
            Some(Value::Array(set)) => Some(set.iter().map(bare).collect()),
            Some(one) => Some(vec![bare(one)]),
            None => Some(vec![value]),
        },
        _ => Some(vec![value]),
    }
}

/// A member without its comment or time-out.
fn bare(member: &Value) -> &Value {
    member.get("elem").map_or(member, |elem| &elem["val"])
}

/// First and last of a range, or the value twice.
fn ends(value: &Value) -> (&Value, &Value) {
    match value["range"].as_array().map(Vec::as_slice) {
        Some([first, last]) => (first, last),
        _ => (value, value),
    }
}

/// A number, or all of a range.
pub(super) fn span<T: TryFrom<u64>>(value: &Value) -> Option<(T, T)> {
    let number = |value: &Value| T::try_from(value.as_u64()?).ok();
    let (first, last) = ends(value);
    Some((number(first)?, number(last)?))
}

pub(super) fn addresses(value: &Value) -> Option<Addresses> {
    if let Some(prefix) = value.get("prefix") {
        let (net, length) = (prefix["addr"].as_str()?, prefix["len"].as_u64()?);
        return format!("{net}/{length}").parse().ok();
    }
    match ends(value) {
        (one, last) if one == last => one.as_str()?.parse().ok(),
        (first, last) => format!("{}-{}", first.as_str()?, last.as_str()?)
            .parse()
            .ok(),
    }
}

/// The name of a device; one that is gone is a number, which says nothing.
pub(super) fn device(value: &Value) -> Option<String> {
    let name = value.as_str()?;
    // Only iptables gives it a meaning. nft's own `\*` is the form that is kept.
    Some(match name.strip_suffix('+') {
        Some(start) => format!("{start}\\+"),
        None => name.to_owned(),
    })
}

pub(super) fn protocol_number(value: &Value) -> Option<u8> {
    match value {
        Value::String(name) => protocol::number(name),
        number => number.as_u64()?.try_into().ok(),
    }
}

pub(super) fn state(value: &Value) -> Option<State> {
    State::by_name(value.as_str()?)
}

/// IP version by the name of its network protocol.
pub(super) fn version(value: &Value) -> Option<u8> {
    match value.as_str()? {
        "ip" | "ipv4" => Some(4),
        "ip6" | "ipv6" => Some(6),
        _ => None,
    }
}

/// The types of ICMP that packets are usually dropped for.
pub(super) fn icmp_type(value: &Value, v6: bool) -> Option<u8> {
    let Some(name) = value.as_str() else {
        return value.as_u64()?.try_into().ok();
    };
    Some(match (name, v6) {
        ("echo-request", false) => 8,
        ("echo-reply", false) => 0,
        ("destination-unreachable", false) => 3,
        ("redirect", false) => 5,
        ("time-exceeded", false) => 11,
        ("echo-request", true) => 128,
        ("echo-reply", true) => 129,
        ("destination-unreachable", true) => 1,
        ("packet-too-big", true) => 2,
        ("time-exceeded", true) => 3,
        _ => return None,
    })
}

/// TCP flags: a name, several of them, or a number.
pub(super) fn tcp_flags(value: &Value) -> Option<u8> {
    match value {
        Value::String(name) => flags(name),
        Value::Array(several) => {
            let mut each = several.iter().map(tcp_flags);
            each.try_fold(0, |all, one| Some(all | one?))
        }
        // Flags that nft could not name, as `fin | syn`.
        Value::Object(fields) => tcp_flags(fields.get("|")?),
        number => number.as_u64()?.try_into().ok(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sets_ranges_and_names() {
        assert_eq!(members(&json!("@named")), None);
        assert_eq!(members(&json!(7)), Some(vec![&json!(7)]));
        let set = json!({"set": [1, {"range": [5, 9]}, {"elem": {"val": 3, "comment": "x"}}]});
        let spans: Option<Vec<(u16, u16)>> = members(&set)
            .expect("listed")
            .into_iter()
            .map(span)
            .collect();
        assert_eq!(spans, Some(vec![(1, 1), (5, 9), (3, 3)]));
        assert_eq!(span::<u16>(&json!(70_000)), None);
        assert_eq!(span::<u16>(&json!("http")), None);
    }

    #[test]
    fn addresses_in_all_their_forms() {
        for (value, expected) in [
            (json!("1.2.3.4"), Some("1.2.3.4/32")),
            (
                json!({"prefix": {"addr": "10.0.0.0", "len": 8}}),
                Some("10.0.0.0/8"),
            ),
            (
                json!({"range": ["10.0.0.1", "10.0.0.9"]}),
                Some("10.0.0.1-10.0.0.9"),
            ),
            (json!({"fib": {}}), None),
        ] {
            let read = addresses(&value).map(|one| one.to_string());
            assert_eq!(read.as_deref(), expected);
        }
    }

    #[test]
    fn flags_of_tcp() {
        assert_eq!(tcp_flags(&json!("syn")), Some(2));
        assert_eq!(tcp_flags(&json!(["syn", "rst"])), Some(6));
        assert_eq!(tcp_flags(&json!({"|": ["fin", "syn"]})), Some(3));
        assert_eq!(tcp_flags(&json!({"^": 1})), None);
    }
}
