//! The tables of nf_tables, asked of the kernel: which there are, how big they are and who made them.

use std::collections::HashMap;
use std::time::Instant;

use nix::errno::Errno;

use super::super::module;
use super::super::netlink::{
    Command, Failure, NFT_GETCHAIN, NFT_GETGEN, NFT_GETRULE, Netlink, Request,
};
use super::super::parse::{attributes, text};
use crate::facts::FactError;
use crate::facts::ruleset::{Family, Hook};

/// Size of `struct nfgenmsg`.
const HEADER: usize = 4;
// include/uapi/linux/netfilter/nf_tables.h.
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_GEN_ID: u16 = 1;

/// Tables that iptables has.
const OF_IPTABLES: [&str; 5] = ["raw", "mangle", "nat", "filter", "security"];

/// A table with chains that packets come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) family: Family,
    pub(super) name: String,
    /// How many rules it has.
    pub(super) rules: usize,
    chains: HashMap<String, Vec<u64>>,
    /// Whether a packet comes to it at all.
    hooked: bool,
    /// Whether all base chains have the names that iptables gives them.
    built_in: bool,
    /// Whether there is a rule with an extension of iptables in it.
    extensions: bool,
    /// Whether every rule counts, as all of iptables' do.
    counted: bool,
}

impl Table {
    fn new(family: Family, name: String) -> Self {
        Self {
            family,
            name,
            rules: 0,
            chains: HashMap::new(),
            hooked: false,
            built_in: true,
            extensions: false,
            counted: true,
        }
    }

    /// Family and name.
    pub(super) fn full_name(&self) -> String {
        format!("{} {}", self.family.name(), self.name)
    }

    /// Whether it looks as if iptables-nft had made it.
    pub(super) fn is_of_iptables(&self) -> bool {
        matches!(self.family, Family::Ip | Family::Ip6)
            && OF_IPTABLES.contains(&self.name.as_str())
            && (self.extensions || (self.built_in && self.counted))
    }

    pub(super) fn has_chain(&self, name: &str) -> bool {
        self.chains.contains_key(name)
    }

    /// Handles of a chain's rules, in order.
    pub(super) fn handles(&self, chain: &str) -> &[u64] {
        self.chains.get(chain).map_or(&[], Vec::as_slice)
    }

    /// From a chain's message behind its header.
    fn chain(&mut self, message: &[u8]) {
        let (mut name, mut hooked) = (None, false);
        for (kind, value) in attributes(message) {
            match kind {
                NFTA_CHAIN_NAME => name = text(value),
                NFTA_CHAIN_HOOK => hooked = true,
                _ => {}
            }
        }
        let name = name.unwrap_or_default();
        let upper = !name.contains(|letter: char| letter.is_lowercase());
        self.hooked |= hooked;
        self.built_in &= !hooked || (upper && Hook::by_name(&name).is_some());
        self.chains.entry(name).or_default();
    }

    /// From a rule's message behind its header.
    fn rule(&mut self, message: &[u8]) {
        let (mut chain, mut handle) = (None, 0);
        let (mut extensions, mut counted) = (false, false);
        for (kind, value) in attributes(message) {
            match kind {
                NFTA_RULE_CHAIN => chain = text(value),
                NFTA_RULE_HANDLE => {
                    handle = value.first_chunk().map_or(0, |b| u64::from_be_bytes(*b))
                }
                NFTA_RULE_EXPRESSIONS => {
                    let names =
                        attributes(value).flat_map(|(_, expression)| attributes(expression));
                    for (_, name) in names.filter(|(kind, _)| *kind == NFTA_EXPR_NAME) {
                        extensions |= matches!(name, b"match\0" | b"target\0");
                        counted |= name == b"counter\0";
                    }
                }
                _ => {}
            }
        }
        self.rules += 1;
        self.extensions |= extensions;
        self.counted &= counted;
        self.chains
            .entry(chain.unwrap_or_default())
            .or_default()
            .push(handle);
    }
}

/// Number of the rule set's generation, another after each change; `None` where it is not known or there is no
/// nf_tables.
pub(super) fn generation(until: Instant) -> Option<u32> {
    let mut netlink = Netlink::open_netfilter(until).ok()?;
    let answer = netlink.get(&Request::new(NFT_GETGEN, &[0; HEADER])).ok()?;
    let mut found = attributes(answer.get(HEADER..)?);
    let (_, number) = found.find(|(kind, _)| *kind == NFTA_GEN_ID)?;
    number.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The tables that packets come to, and the generation that was there before they were asked for.
pub(super) fn tables(until: Instant) -> Result<(Vec<Table>, Option<u32>), FactError> {
    if !module::is_there("nf_tables", "nft_do_chain") {
        return Ok((Vec::new(), None));
    }
    // A rule set that changes meanwhile is asked for again.
    let mut last = String::new();
    for _ in 0..3 {
        let generation = generation(until);
        match once(until) {
            Ok(tables) => return Ok((tables, generation)),
            // There is no nf_tables.
            Err(Failure::Refused(_, Errno::EINVAL | Errno::EOPNOTSUPP)) => {
                return Ok((Vec::new(), None));
            }
            Err(failure @ (Failure::Refused(..) | Failure::Late(_))) => {
                return Err(FactError::from(failure).of("nf_tables"));
            }
            Err(failure @ Failure::Other(..)) => last = failure.into(),
        }
    }
    Err(format!("nf_tables: {last}").into())
}

fn once(until: Instant) -> Result<Vec<Table>, Failure> {
    let mut tables = Tables::default();
    dump(NFT_GETCHAIN, until, |message| {
        if let Some(table) = tables.of(message, NFTA_CHAIN_TABLE) {
            table.chain(message.get(HEADER..).unwrap_or_default());
        }
    })?;
    tables.0.retain(|_, table| table.hooked);
    if tables.0.is_empty() {
        return Ok(Vec::new());
    }
    dump(NFT_GETRULE, until, |message| {
        if let Some(table) = tables
            .of(message, NFTA_RULE_TABLE)
            .filter(|table| table.hooked)
        {
            table.rule(message.get(HEADER..).unwrap_or_default());
        }
    })?;
    let mut tables: Vec<_> = tables
        .0
        .into_values()
        .filter(|table| table.hooked)
        .collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tables)
}

fn dump(command: Command, until: Instant, each: impl FnMut(&[u8])) -> Result<(), Failure> {
    let mut netlink =
        Netlink::open_netfilter(until).map_err(|e| Failure::Other(command, e.to_string()))?;
    netlink.dump(&Request::new(command, &[0; HEADER]), each)
}

/// By family number and name.
#[derive(Default)]
struct Tables(HashMap<(u8, String), Table>);

impl Tables {
    /// The table that a message, which starts with `struct nfgenmsg`, is about.
    fn of(&mut self, message: &[u8], attribute: u16) -> Option<&mut Table> {
        let number = *message.first()?;
        let family = match i32::from(number) {
            1 => Family::Inet, // NFPROTO_INET
            libc::AF_INET => Family::Ip,
            3 => Family::Arp,
            5 => Family::Netdev,
            7 => Family::Bridge,
            libc::AF_INET6 => Family::Ip6,
            _ => return None,
        };
        let mut found = attributes(message.get(HEADER..)?);
        let name = text(found.find(|(kind, _)| *kind == attribute)?.1)?;
        let table = self.0.entry((number, name.clone()));
        Some(table.or_insert_with(|| Table::new(family, name)))
    }
}

/// A table whose rules in one chain have these handles.
#[cfg(test)]
pub(super) fn with_handles(chain: &str, handles: &[u64]) -> Table {
    let mut table = Table::new(Family::Ip, "nat".into());
    table.chains.insert(chain.into(), handles.to_vec());
    table
}

#[cfg(test)]
mod tests {
    use super::super::super::parse::attribute;
    use super::*;

    fn chain(name: &[u8], hooked: bool) -> Vec<u8> {
        let hook = if hooked {
            attribute(NFTA_CHAIN_HOOK, &[])
        } else {
            Vec::new()
        };
        [attribute(NFTA_CHAIN_NAME, name), hook].concat()
    }

    fn rule(chain: &[u8], handle: u64, expressions: &[&[u8]]) -> Vec<u8> {
        let each = expressions
            .iter()
            .map(|name| attribute(1, &attribute(NFTA_EXPR_NAME, name)));
        let each: Vec<u8> = each.flatten().collect();
        [
            attribute(NFTA_RULE_CHAIN, chain),
            attribute(NFTA_RULE_HANDLE, &handle.to_be_bytes()),
            attribute(NFTA_RULE_EXPRESSIONS, &each),
        ]
        .concat()
    }

    #[test]
    fn tables_of_iptables_are_told_by_their_looks() {
        let table = |base: &[u8], expressions: &[&[u8]]| {
            let mut table = Table::new(Family::Ip, "filter".into());
            table.chain(&chain(base, true));
            table.chain(&chain(b"sub\0", false));
            table.rule(&rule(base, 7, expressions));
            table
        };
        assert!(table(b"INPUT\0", &[b"counter\0", b"immediate\0"]).is_of_iptables());
        assert!(table(b"INPUT\0", &[b"match\0"]).is_of_iptables());
        assert!(!table(b"INPUT\0", &[b"immediate\0"]).is_of_iptables());
        assert!(!table(b"input\0", &[b"counter\0"]).is_of_iptables());
        let mut other = table(b"INPUT\0", &[b"counter\0"]);
        other.name = "mine".into();
        assert!(!other.is_of_iptables());
        other.name = "filter".into();
        other.family = Family::Inet;
        assert!(!other.is_of_iptables());
    }

    #[test]
    fn handles_and_numbers_of_rules() {
        let mut table = Table::new(Family::Ip, "filter".into());
        table.chain(&chain(b"INPUT\0", true));
        table.rule(&rule(b"INPUT\0", 3, &[]));
        table.rule(&rule(b"INPUT\0", 2, &[]));
        assert_eq!((table.rules, table.handles("INPUT")), (2, &[3, 2][..]));
        assert!(table.has_chain("INPUT") && !table.has_chain("OUTPUT"));
        table.rule(&[1, 0]);
    }

    #[test]
    fn messages_name_their_table() {
        let mut tables = Tables::default();
        let mut name = |family: u8| {
            let message = [vec![family, 0, 0, 9], attribute(NFTA_CHAIN_TABLE, b"my\0")].concat();
            tables
                .of(&message, NFTA_CHAIN_TABLE)
                .map(|table| table.full_name())
        };
        assert_eq!(name(1).as_deref(), Some("inet my"));
        assert_eq!(name(7).as_deref(), Some("bridge my"));
        assert_eq!(name(10).as_deref(), Some("ip6 my"));
        assert_eq!(name(77), None);
        assert!(tables.of(&[2, 0], NFTA_CHAIN_TABLE).is_none());
    }
}
