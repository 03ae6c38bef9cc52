//! The rules that translate addresses, as the tools that own them print them.
//!
//! The kernel is asked first whether there are any, so that no program is run for nothing and no table comes
//! to be by asking (`iptables-legacy-save -t nat` makes one).

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::child::{find, output};
use super::nat_chains::{Chain, in_order};
use super::netlink::{Failure, NFT_GETCHAIN, Netlink, Request};
use super::netns::Namespaces;
use super::parse::{attributes, text};
use super::{nat_iptables, nat_nft};
use crate::facts::NatRules;

/// Longest that one program may take.
const PROGRAM_LIMIT: Duration = Duration::from_millis(500);
/// Longest that all of them may take.
const LIMIT: Duration = Duration::from_millis(1500);

/// Size of `struct nfgenmsg`.
const HEADER: usize = 4;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_TYPE: u16 = 7;

/// What the two IP versions' iptables differ in.
struct Version {
    family: &'static str,
    /// Program before `-save`, `-legacy-save` and `-nft-save`.
    program: &'static str,
    /// Tables that iptables-legacy has in the kernel.
    names: &'static str,
    legacy_table: &'static str,
}

const VERSIONS: [Version; 2] = [
    Version {
        family: "ip",
        program: "iptables",
        names: "/proc/thread-self/net/ip_tables_names",
        legacy_table: "nat",
    },
    Version {
        family: "ip6",
        program: "ip6tables",
        names: "/proc/thread-self/net/ip6_tables_names",
        legacy_table: "ip6 nat",
    },
];

pub(super) fn read(namespaces: &mut Namespaces, netns: u32) -> Result<NatRules, String> {
    let file = namespaces.open(netns)?;
    namespaces.inside(netns, &file, || Ok(here(Instant::now() + LIMIT)))
}

/// The rules of the namespace where the thread is.
fn here(until: Instant) -> NatRules {
    let mut rules = NatRules::default();
    for version in &VERSIONS {
        match legacy(version, until) {
            Ok(chains) => rules.rules.extend(in_order(chains)),
            Err(why) => rules.unreadable.push(why),
        }
    }
    let tables = match nat_tables(until) {
        Ok(tables) => tables,
        Err(why) => {
            rules.unreadable.push(why);
            return rules;
        }
    };
    let (mut of_iptables, mut native) = (Vec::new(), Vec::new());
    for (family, name) in tables {
        let table = match nft(family, &name, until) {
            Ok(table) => table,
            Err(why) => {
                rules.unreadable.push(why);
                continue;
            }
        };
        let version = VERSIONS.iter().find(|version| version.family == family);
        match version.filter(|_| table.iptables && name == "nat") {
            None => native.extend(table.chains),
            Some(version) => {
                let (chains, complaint) = saved(version, table.chains, until);
                of_iptables.extend(chains);
                rules.unreadable.extend(complaint);
            }
        }
    }
    rules.rules.extend(in_order(of_iptables));
    rules.rules.extend(in_order(native));
    rules.unreadable.dedup();
    rules
}

/// The chains of iptables-legacy, if its nat table is there.
fn legacy(version: &Version, until: Instant) -> Result<Vec<Chain>, String> {
    let program = format!("{}-legacy-save", version.program);
    match fs::read_to_string(version.names) {
        Ok(names) if names.lines().any(|name| name == "nat") => {}
        Ok(_) => return Ok(Vec::new()),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(format!("{}: {e}", version.names)),
    }
    let path = iptables_save(version, false).ok_or_else(|| not_installed(&program))?;
    let text = output(&path, &["-t", "nat"], PROGRAM_LIMIT, until)?;
    nat_iptables::parse(&text, "iptables-legacy", version.legacy_table)
        .ok_or_else(|| format!("{program}: no nat table"))
}

/// The chains of an iptables-nft table in its own words, where that works; what did not.
fn saved(
    version: &Version,
    mut listed: Vec<Chain>,
    until: Instant,
) -> (Vec<Chain>, Option<String>) {
    let program = format!("{}-nft-save", version.program);
    let text = match iptables_save(version, true) {
        Some(path) => output(&path, &["-t", "nat"], PROGRAM_LIMIT, until),
        None => Err(not_installed(&program)),
    };
    let text = match text {
        Ok(text) => text,
        Err(why) => {
            for chain in &mut listed {
                for rule in chain.lines.iter_mut().filter_map(|line| line.rule.as_mut()) {
                    "iptables-nft".clone_into(&mut rule.backend);
                }
            }
            return (listed, Some(why));
        }
    };
    let table = format!("{} nat", version.family);
    match nat_iptables::parse(&text, "iptables-nft", &table) {
        Some(mut saved) => {
            let listed = by_name(&listed);
            saved.retain_mut(|chain| handles(chain, &listed));
            (saved, None)
        }
        // Some rules are not of iptables's making: it refuses the table, nft alone can change it.
        None => (listed, None),
    }
}

fn by_name(chains: &[Chain]) -> HashMap<&str, &Chain> {
    let names = chains.iter().map(|chain| (chain.name.as_str(), chain));
    names.collect()
}

/// Gives the chain's rules the handles that they have in the other listing, which has the same rules in the
/// same order. Says whether the chain is there.
fn handles(chain: &mut Chain, listed: &HashMap<&str, &Chain>) -> bool {
    let Some(same) = listed.get(chain.name.as_str()) else {
        return !chain.lines.is_empty();
    };
    if same.lines.len() == chain.lines.len() {
        for (line, other) in chain.lines.iter_mut().zip(&same.lines) {
            line.handle = other.handle;
            if let Some(rule) = &mut line.rule {
                rule.handle = other.handle;
            }
        }
    }
    true
}

/// The program that saves the tables of one kind. Where only `iptables-save` is installed, its real name
/// tells which kind it is.
fn iptables_save(version: &Version, nft: bool) -> Option<PathBuf> {
    let kind = if nft { "nft" } else { "legacy" };
    if let Some(path) = find(&format!("{}-{kind}-save", version.program)) {
        return Some(path);
    }
    let plain = find(&format!("{}-save", version.program))?;
    let real = plain.canonicalize().ok()?;
    (real
        .file_name()
        .is_some_and(|name| name.to_string_lossy().contains("nft"))
        == nft)
        .then_some(plain)
}

fn not_installed(program: &str) -> String {
    format!("{program} is not installed")
}

/// Family and name of the nf_tables tables with chains of type nat.
fn nat_tables(until: Instant) -> Result<Vec<(&'static str, String)>, String> {
    let mut netlink = Netlink::open_netfilter(until).map_err(|e| format!("netlink: {e}"))?;
    // A ruleset that changes meanwhile is asked for again.
    for _ in 0..3 {
        let mut tables = Vec::new();
        let request = Request::new(NFT_GETCHAIN, &[0; HEADER]);
        let result = netlink.dump(&request, |message| {
            tables.extend(nat_table(message).filter(|table| !tables.contains(table)));
        });
        match result {
            Ok(()) => return Ok(tables),
            // There is no nf_tables.
            Err(Failure::Refused(_, Errno::EINVAL | Errno::EOPNOTSUPP)) => return Ok(Vec::new()),
            Err(failure @ Failure::Refused(..)) => return Err(failure.into()),
            Err(Failure::Other(..)) => {
                netlink = Netlink::open_netfilter(until).map_err(|e| format!("netlink: {e}"))?;
            }
        }
    }
    Err("nf_tables: changed while it was read".into())
}

/// From the message, starting with `struct nfgenmsg`: the table, if the chain is of type nat.
fn nat_table(message: &[u8]) -> Option<(&'static str, String)> {
    let family = match i32::from(*message.first()?) {
        1 => "inet", // NFPROTO_INET
        libc::AF_INET => "ip",
        libc::AF_INET6 => "ip6",
        _ => return None,
    };
    let (mut table, mut nat) = (None, false);
    for (kind, value) in attributes(message.get(HEADER..)?) {
        match kind {
            NFTA_CHAIN_TABLE => table = text(value),
            NFTA_CHAIN_TYPE => nat = text(value).as_deref() == Some("nat"),
            _ => {}
        }
    }
    table.filter(|_| nat).map(|table| (family, table))
}

/// The table as nft lists it, without the elements of its named sets.
fn nft(family: &str, table: &str, until: Instant) -> Result<nat_nft::Table, String> {
    let path = find("nft").ok_or_else(|| not_installed("nft"))?;
    let list = |options: &[&str]| {
        let arguments = [options, &["list", "table", family, table]].concat();
        output(&path, &arguments, PROGRAM_LIMIT, until)
    };
    let json = list(&["-j", "-t"])?;
    // Without it the rules lack their text only.
    let texts =
        list(&["-a", "-s", "-t"]).map_or_else(|_| HashMap::new(), |text| nat_nft::texts(&text));
    nat_nft::parse(&json, &texts)
}

#[cfg(test)]
mod tests {
    use super::super::parse::attribute;
    use super::*;

    #[test]
    fn chains_of_type_nat_are_told_from_others() {
        let chain = |family: u8, kind: &[u8]| {
            let parts = [
                vec![family, 0, 0, 9],
                attribute(NFTA_CHAIN_TABLE, b"my\0"),
                attribute(NFTA_CHAIN_TYPE, kind),
            ];
            nat_table(&parts.concat())
        };
        assert_eq!(chain(1, b"nat\0"), Some(("inet", "my".into())));
        assert_eq!(chain(10, b"nat\0"), Some(("ip6", "my".into())));
        assert_eq!(chain(2, b"filter\0"), None);
        assert_eq!(chain(7, b"nat\0"), None, "a bridge");
        assert_eq!(nat_table(&[2, 0]), None);
    }

    #[test]
    fn handles_come_from_the_other_listing() {
        let save = "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n\
            -A POSTROUTING -p tcp -j ACCEPT\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n";
        let json = include_str!("nat_nft/iptables.json");
        let listed = nat_nft::parse(json, &HashMap::new()).expect("valid").chains;
        let mut saved = nat_iptables::parse(save, "iptables-nft", "ip nat").expect("a table");
        saved.retain_mut(|chain| handles(chain, &by_name(&listed)));
        let rules = in_order(saved);
        assert_eq!(rules.len(), 1);
        assert_eq!(rules[0].handle, Some(3));
    }
}
