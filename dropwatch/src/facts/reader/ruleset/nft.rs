//! Rules in what `nft -j list table` prints (libnftables-json(5)).

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::nft_statement::rules;
use crate::facts::ruleset::{Backend, Base, Chain, Family, Hook, Kind, Policy};

/// Reads the chains; `texts` has their rules' text by handle. The objects are read one at a time, for a
/// whole listing as JSON takes many times the room of the text.
pub(super) fn parse(
    json: &str,
    texts: &HashMap<u64, String>,
    backend: Backend,
) -> Result<Vec<Chain>, String> {
    let mut listing = Listing {
        backend,
        texts,
        chains: Vec::new(),
        places: HashMap::new(),
    };
    let mut reader = serde_json::Deserializer::from_str(json);
    Document(&mut listing)
        .deserialize(&mut reader)
        .map_err(|e| format!("nft: JSON: {e}"))?;
    Ok(listing.chains)
}

/// Whether what `nft list table` prints is a table that is switched off: its chains see no packets.
pub(super) fn is_dormant(listing: &str) -> bool {
    // Before the first set or chain.
    let own = listing
        .lines()
        .skip(1)
        .take_while(|line| !line.contains('{'));
    let mut flags = own.filter_map(|line| line.trim().strip_prefix("flags "));
    flags.any(|flags| flags.split([',', ' ']).any(|flag| flag == "dormant"))
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

/// What was read so far.
struct Listing<'a> {
    backend: Backend,
    texts: &'a HashMap<u64, String>,
    chains: Vec<Chain>,
    /// Index of a chain by its name.
    places: HashMap<String, usize>,
}

impl Listing<'_> {
    /// Takes down a chain or a rule; nft lists the chains first.
    fn take(&mut self, object: &Value) {
        if let Some(chain) = object.get("chain") {
            let Some(chain) = self.chain(chain) else {
                return;
            };
            self.places.insert(chain.name.clone(), self.chains.len());
            self.chains.push(chain);
        } else if let Some(rule) = object.get("rule") {
            let name = rule["chain"].as_str().unwrap_or_default();
            let Some(&place) = self.places.get(name) else {
                return;
            };
            let handle = rule["handle"].as_u64();
            let text = handle.and_then(|handle| self.texts.get(&handle));
            let text = text.map_or("", String::as_str);
            let expressions = rule["expr"].as_array().map_or(&[][..], Vec::as_slice);
            let chain = &mut self.chains[place];
            let parts = rules(expressions, chain.family, text);
            chain.rules.extend(parts.into_iter().map(|mut part| {
                part.handle = handle;
                part
            }));
        }
    }

    fn chain(&self, json: &Value) -> Option<Chain> {
        let family = json["family"].as_str()?;
        Some(Chain {
            backend: self.backend,
            family: Family::by_name(family)?,
            table: format!("{family} {}", json["table"].as_str()?),
            name: json["name"].as_str()?.to_owned(),
            base: base(json),
            rules: Vec::new(),
        })
    }
}

fn base(chain: &Value) -> Option<Base> {
    let devices = match &chain["dev"] {
        Value::String(one) => vec![one.clone()],
        Value::Array(several) => {
            let names = several.iter().filter_map(Value::as_str);
            names.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    Some(Base {
        hook: Hook::by_name(chain["hook"].as_str()?)?,
        priority: chain["prio"].as_i64().unwrap_or(0),
        policy: match chain["policy"].as_str() {
            Some("drop") => Policy::Drop,
            _ => Policy::Accept,
        },
        kind: match chain["type"].as_str() {
            Some("nat") => Kind::Nat,
            Some("route") => Kind::Route,
            _ => Kind::Filter,
        },
        devices,
    })
}

/// The whole text: an object with the list `nftables`.
struct Document<'a, 'b>(&'a mut Listing<'b>);

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with nftables")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "nftables" {
                map.next_value_seed(Objects(self.0))?;
                found = true;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        let missing = || serde::de::Error::missing_field("nftables");
        found.then_some(()).ok_or_else(missing)
    }
}

/// The list of objects.
struct Objects<'a, 'b>(&'a mut Listing<'b>);

impl<'de> DeserializeSeed<'de> for Objects<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Objects<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(object) = list.next_element::<Value>()? {
            self.0.take(&object);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "nft_tests.rs"]
mod tests;
