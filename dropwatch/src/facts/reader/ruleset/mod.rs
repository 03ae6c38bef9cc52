//! The netfilter rule set, as the tools that own it print it.
//!
//! The kernel is asked first which tables there are, so that no program is run for nothing and no table comes
//! to be by asking (`iptables-legacy-save -t nat` makes one).

mod iptables;
mod iptables_match;
mod iptables_target;
mod nft;
mod nft_match;
mod nft_statement;
mod nft_target;
mod nft_value;
mod tables;
mod words;

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use super::child::{find, output};
use super::netlink::Netlink;
use super::netns::Namespaces;
use super::rules;
use crate::facts::FactError;
use crate::facts::ruleset::{Backend, Chain, Family, Ruleset, Subsystem, Unreadable};
use iptables::Owner;
use tables::{Table, tables};

/// Longest that one program may take.
const PROGRAM_LIMIT: Duration = Duration::from_secs(2);
/// Longest that all of them may take.
const LIMIT: Duration = Duration::from_millis(3500);
/// Most rules that are read, for they are kept in memory and in captures.
const MOST_RULES: usize = 30_000;

/// What the two IP versions' iptables differ in.
struct Version {
    family: Family,
    /// Program before `-save`, `-legacy-save` and `-nft-save`.
    program: &'static str,
    /// Tables that iptables-legacy has in the kernel.
    names: &'static str,
}

const VERSIONS: [Version; 2] = [
    Version {
        family: Family::Ip,
        program: "iptables",
        names: "/proc/thread-self/net/ip_tables_names",
    },
    Version {
        family: Family::Ip6,
        program: "ip6tables",
        names: "/proc/thread-self/net/ip6_tables_names",
    },
];

/// Tables that arptables-legacy has in the kernel.
const ARP_NAMES: &str = "/proc/thread-self/net/arp_tables_names";

pub(super) fn read(namespaces: &mut Namespaces, netns: u32) -> Result<Ruleset, FactError> {
    let file = namespaces.open(netns)?;
    namespaces.inside(netns, &file, || {
        let until = Instant::now() + LIMIT;
        // Without them only a proposal for free bits is poorer.
        let marks = Netlink::open(until).map(|mut netlink| rules::mark_bits(&mut netlink));
        let mut set = here(until);
        set.routing_marks = marks.map_or(0, |bits| bits.unwrap_or(0));
        Ok(set)
    })
}

/// The rules of the namespace where the thread is.
fn here(until: Instant) -> Ruleset {
    let mut reading = Reading {
        room: MOST_RULES,
        until,
        set: Ruleset {
            read_ns: now_ns(),
            ..Ruleset::default()
        },
    };
    reading.set.arptables = match fs::read_to_string(ARP_NAMES) {
        Ok(names) => Some(!names.trim().is_empty()),
        Err(e) => (e.kind() == ErrorKind::NotFound).then_some(false),
    };
    for version in &VERSIONS {
        match legacy(version, until) {
            Ok(chains) => reading.add(Subsystem::IpTables, version.program, chains),
            Err(why) => reading.failed(Subsystem::IpTables, why.to_string()),
        }
    }
    match tables(until) {
        Ok((mut tables, before)) => {
            // What takes longest comes last, so that nothing else is lost for it.
            tables.sort_by_key(|table| table.rules);
            tables.iter().for_each(|table| reading.table(table));
            let after = tables::generation(until);
            reading.set.changed = before.is_some() && after.is_some() && before != after;
        }
        Err(why) => reading.failed(Subsystem::NfTables, why.to_string()),
    }
    reading.set
}

/// `CLOCK_MONOTONIC`, nanoseconds.
fn now_ns() -> Option<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).ok()?;
    u64::try_from(Duration::from(now).as_nanos()).ok()
}

/// A rule set while it is read.
struct Reading {
    /// How many more rules are taken.
    room: usize,
    until: Instant,
    set: Ruleset,
}

impl Reading {
    fn failed(&mut self, subsystem: Subsystem, why: String) {
        let one = Unreadable { subsystem, why };
        if !self.set.unreadable.contains(&one) {
            self.set.unreadable.push(one);
        }
    }

    /// Takes the chains, all or none: half a chain would mislead.
    fn add(&mut self, subsystem: Subsystem, name: &str, chains: Vec<Chain>) {
        let rules: usize = chains.iter().map(|chain| chain.rules.len()).sum();
        match self.room.checked_sub(rules) {
            Some(room) => {
                self.room = room;
                self.set.chains.extend(chains);
            }
            None => self.failed(subsystem, too_many(name, rules)),
        }
    }

    fn table(&mut self, table: &Table) {
        let name = table.full_name();
        if table.rules > self.room {
            return self.failed(Subsystem::NfTables, too_many(&name, table.rules));
        }
        let version = VERSIONS.iter().find(|one| one.family == table.family);
        let version = version.filter(|_| table.is_of_iptables());
        let saved = version.map(|version| saved(version, table, self.until));
        let (backend, complaint) = match saved {
            Some(Ok(chains)) if !chains.is_empty() => {
                return self.add(Subsystem::NfTables, &name, chains);
            }
            // nft lists it too, in its own words.
            Some(Err(why)) => (Backend::IptablesNft, format!("{why}, ")),
            // Not of iptables' making, or not all of it: iptables refuses it, nft alone can change it.
            Some(Ok(_)) | None => (Backend::Nft, String::new()),
        };
        match nft(table, backend, self.until) {
            Ok(chains) => self.add(Subsystem::NfTables, &name, chains),
            Err(why) => self.failed(
                Subsystem::NfTables,
                format!("table {name}: {complaint}{why}"),
            ),
        }
    }
}

fn too_many(name: &str, rules: usize) -> String {
    format!("{name}: {rules} rules, with those before it over {MOST_RULES}")
}

/// The chains of iptables-legacy, of the tables that are there.
fn legacy(version: &Version, until: Instant) -> Result<Vec<Chain>, FactError> {
    match fs::read_to_string(version.names) {
        Ok(names) if names.trim().is_empty() => return Ok(Vec::new()),
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(FactError::io(version.names, &e)),
    }
    let program = format!("{}-legacy-save", version.program);
    let path = iptables_save(version, false).ok_or_else(|| not_installed(&program))?;
    // Without a table's name it prints those that are in the same list.
    let text = output(&path, &["-c"], PROGRAM_LIMIT, until)?;
    let owner = Owner {
        backend: Backend::IptablesLegacy,
        family: version.family,
    };
    let chains = iptables::parse(&text, owner);
    if chains.is_empty() {
        return Err(format!("{program}: printed no table").into());
    }
    Ok(chains)
}

/// The chains of an iptables-nft table in its own words; none if it has rules that iptables does not
/// understand.
fn saved(version: &Version, table: &Table, until: Instant) -> Result<Vec<Chain>, FactError> {
    let program = format!("{}-nft-save", version.program);
    let path = iptables_save(version, true).ok_or_else(|| not_installed(&program))?;
    let text = output(&path, &["-c", "-t", &table.name], PROGRAM_LIMIT, until)?;
    let owner = Owner {
        backend: Backend::IptablesNft,
        family: version.family,
    };
    let mut chains = iptables::parse(&text, owner);
    chains.iter_mut().for_each(|chain| handles(chain, table));
    // Built-in chains that iptables prints though they are not in the kernel let everything through.
    chains.retain(|chain| table.has_chain(&chain.name));
    Ok(chains)
}

/// Gives the chain's rules the handles that the kernel has for them, in the same order.
fn handles(chain: &mut Chain, table: &Table) {
    let handles = table.handles(&chain.name);
    if handles.len() == chain.rules.len() {
        for (rule, handle) in chain.rules.iter_mut().zip(handles) {
            rule.handle = Some(*handle);
        }
    }
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

/// The programs that are not there of those that rule sets are read with, by the names that they usually have.
pub fn missing_programs() -> Vec<String> {
    let nft = find("nft").is_none().then(|| "nft".to_owned());
    let saves = VERSIONS.iter().flat_map(|version| {
        let kinds = [(false, "legacy"), (true, "nft")].into_iter();
        let missing = kinds.filter(|(nft, _)| iptables_save(version, *nft).is_none());
        missing.map(|(_, kind)| format!("{}-{kind}-save", version.program))
    });
    nft.into_iter().chain(saves).collect()
}

fn not_installed(program: &str) -> FactError {
    FactError::NoProgram(program.to_owned())
}

/// The table as nft lists it, without the elements of its named sets.
fn nft(table: &Table, backend: Backend, until: Instant) -> Result<Vec<Chain>, FactError> {
    let path = find("nft").ok_or_else(|| not_installed("nft"))?;
    let list = |options: &[&str]| {
        let what = ["list", "table", table.family.name(), &table.name];
        output(&path, &[options, &what].concat(), PROGRAM_LIMIT, until)
    };
    // Without it the rules lack their text only.
    let text = list(&["-a", "-s", "-t"]).unwrap_or_default();
    // In its JSON nft prints anything for that (1.0.6).
    if nft::is_dormant(&text) {
        return Ok(Vec::new());
    }
    let json = list(&["-j", "-t"])?;
    let texts = nft::texts(&text);
    nft::parse(&json, &texts, backend).map_err(FactError::Malformed)
}

/// Rule sets from texts, for tests of what judges them.
#[cfg(any(test, fuzzing))]
pub mod samples {
    use std::collections::HashMap;

    use super::*;

    /// What iptables-legacy-save prints.
    pub fn saved(text: &str) -> Vec<Chain> {
        let owner = Owner {
            backend: Backend::IptablesLegacy,
            family: Family::Ip,
        };
        iptables::parse(text, owner)
    }

    /// What `nft -j` prints, with the rules' texts by handle.
    #[cfg(test)]
    pub fn listed(json: &str, texts: &HashMap<u64, String>) -> Vec<Chain> {
        nft::parse(json, texts, Backend::Nft).expect("valid JSON")
    }

    /// What anything might be that comes in its place.
    #[cfg(fuzzing)]
    pub fn try_listed(json: &str) -> Result<Vec<Chain>, String> {
        nft::parse(json, &HashMap::new(), Backend::Nft)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ruleset::Rule;

    fn chain(rules: usize) -> Chain {
        Chain {
            backend: Backend::IptablesNft,
            family: Family::Ip,
            table: "ip nat".into(),
            name: "POSTROUTING".into(),
            base: None,
            rules: vec![Rule::default(); rules],
        }
    }

    #[test]
    fn handles_come_from_the_kernel() {
        let table = tables::with_handles("POSTROUTING", &[2, 3]);
        let mut same = chain(2);
        handles(&mut same, &table);
        assert_eq!(same.rules[1].handle, Some(3));
        let mut changed = chain(3);
        handles(&mut changed, &table);
        assert_eq!(changed.rules[1].handle, None, "they cannot be told apart");
    }

    #[test]
    fn too_many_rules_are_left_out_and_said_to_be() {
        let mut reading = Reading {
            room: 3,
            until: Instant::now(),
            set: Ruleset::default(),
        };
        reading.add(Subsystem::IpTables, "iptables", vec![chain(2)]);
        reading.add(Subsystem::NfTables, "ip nat", vec![chain(1), chain(1)]);
        assert_eq!(reading.set.chains.len(), 1);
        assert!(reading.set.is_complete(Some(Subsystem::IpTables)));
        assert!(!reading.set.is_complete(Some(Subsystem::NfTables)));
        let why = &reading.set.unreadable[0].why;
        assert_eq!(why, "ip nat: 2 rules, with those before it over 30000");
    }

    #[test]
    fn asking_here_hangs_nowhere() {
        let before = Instant::now();
        let set = here(before + LIMIT);
        assert!(before.elapsed() < LIMIT + Duration::from_secs(5));
        assert!(set.chains.iter().all(|chain| !chain.name.is_empty()));
        let late = here(Instant::now());
        assert!(late.chains.len() <= set.chains.len());
    }
}
