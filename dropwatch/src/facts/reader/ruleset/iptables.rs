//! Rules in what `iptables-save` prints.

use std::collections::HashMap;

use super::iptables_match::matches;
use super::iptables_target::targets;
use super::words::words;
use crate::facts::ruleset::{Backend, Base, Chain, Family, Hook, Kind, Policy, Rule};

/// Options whose value is free text, which may look like an option.
const FREE_TEXT: [&str; 5] = [
    "--comment",
    "--string",
    "--hex-string",
    "--log-prefix",
    "--nflog-prefix",
];

/// Whose rules they are.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    pub(super) backend: Backend,
    pub(super) family: Family,
}

impl Owner {
    /// A table as its users write it.
    pub(super) fn table(self, name: &str) -> String {
        match (self.backend, self.family) {
            (Backend::IptablesLegacy, Family::Ip) => name.to_owned(),
            _ => format!("{} {name}", self.family.name()),
        }
    }
}

/// The chains of all tables in the text. A table that is not there has rules which iptables does not
/// understand.
pub(super) fn parse(text: &str, owner: Owner) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let mut table = "";
    // Of the table that is being read.
    let mut places: HashMap<&str, usize> = HashMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
            places.clear();
        } else if let Some(declared) = line.strip_prefix(':') {
            let mut words = declared.split_whitespace();
            let name = words.next().unwrap_or_default();
            places.insert(name, chains.len());
            chains.push(Chain {
                backend: owner.backend,
                family: owner.family,
                table: owner.table(table),
                name: name.to_owned(),
                base: words.next().and_then(|policy| base(table, name, policy)),
                rules: Vec::new(),
            });
        } else {
            let (packets, line) = counted(line);
            let Some(rest) = line.strip_prefix("-A ") else {
                continue;
            };
            let name = rest.split(' ').next().unwrap_or_default();
            let parsed = rule(line, |target| places.contains_key(target));
            if let Some(&place) = places.get(name) {
                chains[place].rules.push(Rule { packets, ..parsed });
            }
        }
    }
    chains
}

/// A line with the packets that `iptables-save -c` writes before it, `[packets:bytes] -A …`.
fn counted(line: &str) -> (Option<u64>, &str) {
    let read = || {
        let (counters, rest) = line.strip_prefix('[')?.split_once("] ")?;
        let (packets, _) = counters.split_once(':')?;
        Some((packets.parse().ok(), rest))
    };
    read().unwrap_or((None, line))
}

/// Hook and priority of a built-in chain, which has a policy (include/uapi/linux/netfilter_ipv4.h).
fn base(table: &str, name: &str, policy: &str) -> Option<Base> {
    let policy = match policy {
        "ACCEPT" => Policy::Accept,
        "DROP" => Policy::Drop,
        _ => return None,
    };
    let hook = Hook::by_name(name)?;
    let (priority, kind) = match (table, hook) {
        ("raw", _) => (-300, Kind::Filter),
        ("mangle", Hook::Output) => (-150, Kind::Route),
        ("mangle", _) => (-150, Kind::Filter),
        ("nat", Hook::Prerouting | Hook::Output) => (-100, Kind::Nat),
        ("nat", _) => (100, Kind::Nat),
        ("security", _) => (50, Kind::Filter),
        _ => (0, Kind::Filter),
    };
    Some(Base {
        hook,
        priority,
        policy,
        kind,
        devices: Vec::new(),
    })
}

fn rule(text: &str, is_chain: impl Fn(&str) -> bool) -> Rule {
    let words = words(text);
    let words = words.get(2..).unwrap_or_default();
    let mut target = words.len();
    let mut free = false;
    for (place, word) in words.iter().enumerate() {
        if !free && matches!(word.as_str(), "-j" | "-g") {
            target = place;
            break;
        }
        free = !free && FREE_TEXT.contains(&word.as_str());
    }
    let (asked, done) = words.split_at(target);
    Rule {
        text: text.to_owned(),
        handle: None,
        matches: matches(asked),
        targets: targets(done, is_chain),
        packets: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ruleset::{Match, State, Target, Test};

    // As iptables-legacy-save and iptables-nft-save 1.8.9 print them.
    const LEGACY: &str = include_str!("fixtures/legacy.save");
    const NFT: &str = include_str!("fixtures/nft.save");
    const OWNER: Owner = Owner {
        backend: Backend::IptablesLegacy,
        family: Family::Ip,
    };

    fn chain<'a>(chains: &'a [Chain], table: &str, name: &str) -> &'a Chain {
        let mut found = chains.iter().filter(|c| c.table == table && c.name == name);
        found.next().expect("the chain")
    }

    #[test]
    fn tables_give_hook_priority_and_policy() {
        let chains = parse(LEGACY, OWNER);
        let base = |table: &str, name: &str| {
            let base = chain(&chains, table, name).base.clone();
            base.map(|base| (base.hook, base.priority, base.policy, base.kind))
        };
        let (accept, drop) = (Policy::Accept, Policy::Drop);
        assert_eq!(
            base("raw", "OUTPUT"),
            Some((Hook::Output, -300, accept, Kind::Filter))
        );
        assert_eq!(
            base("mangle", "INPUT"),
            Some((Hook::Input, -150, accept, Kind::Filter))
        );
        assert_eq!(
            base("nat", "PREROUTING"),
            Some((Hook::Prerouting, -100, accept, Kind::Nat))
        );
        assert_eq!(
            base("nat", "POSTROUTING"),
            Some((Hook::Postrouting, 100, accept, Kind::Nat))
        );
        assert_eq!(
            base("filter", "FORWARD"),
            Some((Hook::Forward, 0, drop, Kind::Filter))
        );
        assert_eq!(base("filter", "KUBE-FIREWALL"), None);
    }

    #[test]
    fn the_firewall_of_kubernetes_is_understood() {
        for (text, backend, table) in [
            (LEGACY, Backend::IptablesLegacy, "filter"),
            (NFT, Backend::IptablesNft, "ip filter"),
        ] {
            let owner = Owner { backend, ..OWNER };
            let chains = parse(text, owner);
            let input = chain(&chains, table, "INPUT");
            assert_eq!(
                input.rules[0].targets,
                [Target::Jump("KUBE-FIREWALL".into())]
            );
            let firewall = chain(&chains, table, "KUBE-FIREWALL");
            let [marked, local] = firewall.rules.as_slice() else {
                panic!("{firewall:?}")
            };
            assert_eq!(marked.matches, [Match::is(Test::mark(0x8000, 0x8000))]);
            assert_eq!(marked.targets, [Target::Drop]);
            assert!(
                marked
                    .text
                    .starts_with("-A KUBE-FIREWALL -m comment --comment \"kube")
            );
            let states = vec![State::Related, State::Established, State::Dnat];
            let local_net = || vec!["127.0.0.0/8".parse().expect("addresses")];
            let expected = [
                Match::is_not(Test::Source(local_net())),
                Match::is(Test::Destination(local_net())),
                Match::is_not(Test::ConntrackState(states)),
            ];
            assert_eq!(local.matches, expected);
        }
    }

    #[test]
    fn counters_stand_before_the_rule() {
        let text =
            "*filter\n:INPUT ACCEPT [7:420]\n[3:180] -A INPUT -i lo -j DROP\n-A INPUT -j DROP\n";
        let rules = &parse(text, OWNER)[0].rules;
        assert_eq!((rules[0].packets, rules[1].packets), (Some(3), None));
        assert_eq!(rules[0].text, "-A INPUT -i lo -j DROP");
        assert_eq!(counted("[x"), (None, "[x"));
    }

    #[test]
    fn a_target_in_a_text_is_none() {
        let rule = rule(
            "-A FOO -m comment --comment \"-j DROP\" -m string --string -j --algo bm -j LOG --log-prefix \"-j DROP\"",
            |_| false,
        );
        assert_eq!(rule.targets, []);
        assert_eq!(
            rule.matches,
            [Match::is(Test::Other(
                "-m string --string -j --algo bm".into()
            ))]
        );
    }

    #[test]
    fn what_is_no_table_is_empty() {
        let text = "# Table `nat' is incompatible, use 'nft' tool.\n";
        assert_eq!(parse(text, OWNER), []);
        assert_eq!(parse("-A INPUT -j DROP\n-A", OWNER), []);
        let nat = parse(
            "*nat\n:INPUT ACCEPT [0:0]\nCOMMIT\n*filter\n-A INPUT -j DROP\n",
            OWNER,
        );
        assert_eq!(nat[0].rules, [], "of another table");
    }
}
