//! NAT rules in what `nft -j list table` prints (libnftables-json(5)).

use std::collections::HashMap;

use serde_json::Value;

use super::nat_chains::{Chain, Line, hook, prefix};
use crate::facts::NatRule;

/// The actions that translate, in nft's own words.
const ACTIONS: [&str; 4] = ["masquerade", "snat", "dnat", "redirect"];
/// Protocols with ports: a match on their header is a match on the protocol.
const PROTOCOLS: [&str; 7] = ["tcp", "udp", "udplite", "sctp", "dccp", "icmp", "icmpv6"];

/// The chains of a table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) chains: Vec<Chain>,
    /// Whether iptables made it: it has its extensions in it.
    pub(super) iptables: bool,
}

/// Reads the table; `texts` has its rules' text by handle.
pub(super) fn parse(json: &str, texts: &HashMap<u64, String>) -> Result<Table, String> {
    let json: Value = serde_json::from_str(json).map_err(|e| format!("nft: JSON: {e}"))?;
    let objects = json["nftables"]
        .as_array()
        .ok_or("nft: JSON: no nftables")?;
    let mut table = Table::default();
    let mut places = HashMap::new();
    for object in objects {
        if let Some(chain) = object.get("chain") {
            let hook = chain["hook"].as_str().and_then(hook);
            let hook = hook.filter(|_| chain["type"] == "nat");
            let (in_table, name) = (table_name(chain), string(&chain["name"]));
            places.insert((in_table.clone(), name.clone()), table.chains.len());
            table.chains.push(Chain {
                table: in_table,
                name,
                base: hook.map(|hook| (hook, chain["prio"].as_i64().unwrap_or(0))),
                lines: Vec::new(),
            });
        }
    }
    for object in objects {
        let Some(json) = object.get("rule") else {
            continue;
        };
        let (name, chain) = (table_name(json), string(&json["chain"]));
        let expressions = json["expr"].as_array().map_or(&[][..], Vec::as_slice);
        table.iptables |= expressions.iter().any(|one| one.get("xt").is_some());
        let handle = json["handle"].as_u64();
        let mut line = Line {
            handle,
            ..Line::default()
        };
        expressions
            .iter()
            .for_each(|one| jumps(one, &mut line.jumps));
        let text = handle.and_then(|handle| texts.get(&handle));
        line.rule = rule(expressions, text).map(|rule| NatRule {
            backend: "nft".to_owned(),
            table: name.clone(),
            chain: chain.clone(),
            handle,
            ..rule
        });
        if let Some(&place) = places.get(&(name, chain)) {
            table.chains[place].lines.push(line);
        }
    }
    Ok(table)
}

/// The rules in what `nft -a list table` prints, by handle.
pub(super) fn texts(listing: &str) -> HashMap<u64, String> {
    let lines = listing.lines().filter_map(|line| {
        let (text, handle) = line.rsplit_once(" # handle ")?;
        let is_rule = !text.ends_with('{');
        is_rule.then_some((handle.trim().parse().ok()?, text.trim().to_owned()))
    });
    lines.collect()
}

/// What a rule translates, with what it asks for.
fn rule(expressions: &[Value], text: Option<&String>) -> Option<NatRule> {
    let mut rule = NatRule::default();
    for one in expressions {
        if let Some(wanted) = one.get("match").filter(|wanted| wanted["op"] == "==") {
            asked(&mut rule, &wanted["left"], &wanted["right"]);
        }
        for action in ACTIONS {
            if let Some(statement) = one.get(action) {
                action.clone_into(&mut rule.action);
                rule.to = target(statement);
                rule.fully_random = match &statement["flags"] {
                    Value::Array(flags) => flags.iter().any(|flag| flag == "fully-random"),
                    flag => flag == "fully-random",
                };
            }
        }
        // An iptables target: the text has the rest.
        if let Some(name) = one["xt"]["name"].as_str().map(str::to_lowercase)
            && one["xt"]["type"] == "target"
            && ACTIONS.contains(&name.as_str())
        {
            let said = text.map(String::as_str).unwrap_or_default();
            let said = said.rsplit_once(&name).map_or("", |(_, said)| said);
            let mut words = said.split(' ').skip_while(|&word| word != "to");
            rule.to = words.nth(1).map(str::to_owned);
            rule.fully_random = said.contains("fully-random");
            rule.action = name;
        }
    }
    if rule.action.is_empty() {
        return None;
    }
    rule.text = text.map_or_else(|| made_up(&rule), Clone::clone);
    Some(rule)
}

/// The rule's text, should nft not have printed it.
fn made_up(rule: &NatRule) -> String {
    let to = rule.to.as_ref().map(|to| format!(" to {to}"));
    let random = if rule.fully_random {
        " fully-random"
    } else {
        ""
    };
    format!("{}{}{random}", rule.action, to.unwrap_or_default())
}

/// Takes down a match, if it is one that [`NatRule`] has.
fn asked(rule: &mut NatRule, left: &Value, right: &Value) {
    let right = match right["set"].as_array().map(Vec::as_slice) {
        Some([only]) => only,
        _ => right,
    };
    let key = left["meta"]["key"].as_str();
    let payload = &left["payload"];
    let header = payload["protocol"].as_str().unwrap_or_default();
    let field = payload["field"].as_str().unwrap_or_default();
    match (key, header, field) {
        (Some("oifname" | "oif"), ..) => rule.out_dev = single(right),
        (Some("l4proto"), ..) | (_, "ip", "protocol") | (_, "ip6", "nexthdr") => {
            rule.proto = single(right);
        }
        (_, "ip" | "ip6", "saddr") => {
            rule.source = match address_prefix(right) {
                Some(whole) => Some(whole),
                None => single(right)
                    .filter(|one| !one.starts_with('@'))
                    .map(|one| prefix(&one)),
            };
        }
        (None, protocol, _) if PROTOCOLS.contains(&protocol) => {
            rule.proto = Some(protocol.to_owned());
        }
        _ => {}
    }
}

/// New addresses and ports; `None` for those that are looked up in a map.
fn target(statement: &Value) -> Option<String> {
    let addresses = range(&statement["addr"]);
    let ports = range(&statement["port"]);
    match (addresses, ports) {
        (Some(addresses), None) => Some(addresses),
        (Some(addresses), Some(ports)) if addresses.contains(':') => {
            Some(format!("[{}]:{ports}", addresses.replace('-', "]-[")))
        }
        (addresses, Some(ports)) => Some(format!("{}:{ports}", addresses.unwrap_or_default())),
        (None, None) => None,
    }
}

fn range(value: &Value) -> Option<String> {
    if let Some([from, to]) = value["range"].as_array().map(Vec::as_slice) {
        return Some(format!("{}-{}", single(from)?, single(to)?));
    }
    address_prefix(value).or_else(|| single(value))
}

fn address_prefix(value: &Value) -> Option<String> {
    let prefix = value.get("prefix")?;
    Some(format!(
        "{}/{}",
        prefix["addr"].as_str()?,
        prefix["len"].as_u64()?
    ))
}

/// A single name or number.
fn single(value: &Value) -> Option<String> {
    match value {
        Value::String(name) => Some(name.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The chains that an expression goes to, however deep they are named in it.
fn jumps(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match (name.as_str(), field["target"].as_str()) {
                    ("jump" | "goto", Some(chain)) => found.push(chain.to_owned()),
                    _ => jumps(field, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| jumps(value, found)),
        _ => {}
    }
}

fn table_name(object: &Value) -> String {
    format!("{} {}", string(&object["family"]), string(&object["table"]))
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
