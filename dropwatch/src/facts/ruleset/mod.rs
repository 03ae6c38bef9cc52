//! The netfilter rule set of a network namespace, as plain data: chains, rules, what they ask for and do.
//!
//! Every back end is read into the same form. What is not understood is kept as text and said to be so
//! ([`Test::Other`], [`Target::Unknown`]): whoever judges must take it for "maybe".

use std::fmt;

use serde::{Deserialize, Serialize};

pub mod addresses;
pub mod protocol;
pub mod target;
pub mod test;

pub use crate::model::hook::Hook;
pub use addresses::Addresses;
pub use target::{HeaderField, MarkChange, Nat, NatAction, Target};
pub use test::{MarkTest, Match, State, Test};

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// All rules of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Chains, those of one table together.
    pub chains: Vec<Chain>,
    /// Bits of the packet mark that policy routing asks for (`ip rule … fwmark`), IPv4 and IPv6.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub routing_marks: u32,
    /// What could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
    /// Whether arptables-legacy has tables, whose rules are not read; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arptables: Option<bool>,
    /// When the reading began: `CLOCK_MONOTONIC`, nanoseconds; `None` in older captures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_ns: Option<u64>,
    /// Whether rules of nf_tables changed while they were read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
}

impl Ruleset {
    /// Whether everything of these subsystems could be read; `None` means both.
    #[must_use]
    pub fn is_complete(&self, only: Option<Subsystem>) -> bool {
        let concerns = |one: &Unreadable| only.is_none_or(|only| only == one.subsystem);
        !self.unreadable.iter().any(concerns)
    }

    /// Whether a rule asks what an address is to this machine.
    #[must_use]
    pub fn asks_for_address_types(&self) -> bool {
        let rules = self.chains.iter().flat_map(|chain| &chain.rules);
        let mut tests = rules.flat_map(|rule| &rule.matches).map(|one| &one.test);
        tests.any(|test| matches!(test, Test::SourceType(_) | Test::DestinationType(_)))
    }

    /// Whether the other one has the same chains and rules, however many packets they have met.
    #[must_use]
    pub fn same_rules(&self, other: &Self) -> bool {
        same(&self.chains, &other.chains, Chain::same_rules)
    }
}

/// Whether two lists are the same, member by member.
fn same<T>(one: &[T], two: &[T], is_same: impl Fn(&T, &T) -> bool) -> bool {
    one.len() == two.len() && one.iter().zip(two).all(|(one, two)| is_same(one, two))
}

/// A part of the rule set that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// Whose rules are missing.
    pub subsystem: Subsystem,
    /// The reason.
    pub why: String,
}

/// The two parts of the kernel that run rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subsystem {
    /// `ip_tables` and `ip6_tables`: iptables-legacy.
    IpTables,
    /// `nf_tables`: nft and iptables-nft.
    NfTables,
}

impl Subsystem {
    /// The kernel's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IpTables => "ip_tables",
            Self::NfTables => "nf_tables",
        }
    }
}

/// The tool that a rule belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// iptables-legacy and ip6tables-legacy.
    IptablesLegacy,
    /// iptables-nft and ip6tables-nft.
    IptablesNft,
    /// nft.
    Nft,
}

impl Backend {
    /// Name as in the JSON: `iptables-legacy`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IptablesLegacy => "iptables-legacy",
            Self::IptablesNft => "iptables-nft",
            Self::Nft => "nft",
        }
    }

    /// Who runs its rules in the kernel.
    #[must_use]
    pub fn subsystem(self) -> Subsystem {
        match self {
            Self::IptablesLegacy => Subsystem::IpTables,
            Self::IptablesNft | Self::Nft => Subsystem::NfTables,
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A table's or packet's family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// A table for both.
    Inet,
    /// ARP.
    Arp,
    /// Frames that a bridge forwards.
    Bridge,
    /// A device's own ingress and egress.
    Netdev,
}

impl Family {
    const NAMES: [(&'static str, Self); 6] = [
        ("ip", Self::Ip),
        ("ip6", Self::Ip6),
        ("inet", Self::Inet),
        ("arp", Self::Arp),
        ("bridge", Self::Bridge),
        ("netdev", Self::Netdev),
    ];

    /// By nft's name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(one, _)| *one == name);
        found.map(|(_, family)| *family)
    }

    /// nft's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, family)| *family == self);
        found.map_or("", |(name, _)| name)
    }
}

/// What kind of base chain it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Sees every packet.
    #[default]
    Filter,
    /// Sees the first packet of a connection only.
    Nat,
    /// Sees every packet, routes anew after changes.
    Route,
}

/// What a base chain does with a packet that comes to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Lets it on.
    #[default]
    Accept,
    /// Drops it.
    Drop,
}

/// What makes a chain one that packets come to by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Hook.
    pub hook: Hook,
    /// Lower ones come first.
    pub priority: i64,
    /// What happens at the end.
    pub policy: Policy,
    /// Which packets it sees.
    pub kind: Kind,
    /// Devices of a netdev chain; none where nft does not tell (1.0.6).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
}

/// A chain with its rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// Tool that it belongs to.
    pub backend: Backend,
    /// Family of its table.
    pub family: Family,
    /// Table as its users write it: `nat`, `ip6 nat` for iptables-legacy, `ip nat` for nft and iptables-nft.
    pub table: String,
    /// Name.
    pub name: String,
    /// Where it hangs; `None` for a chain that others jump to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// Rules in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

impl Chain {
    /// Whether the other one is the same but for the packets that its rules have met.
    fn same_rules(&self, other: &Self) -> bool {
        self.same_table(other)
            && self.backend == other.backend
            && self.name == other.name
            && self.base == other.base
            && same(&self.rules, &other.rules, Rule::is_same)
    }

    /// Whether the other one is of the same table, so that rules here can jump to it.
    #[must_use]
    pub fn same_table(&self, other: &Self) -> bool {
        self.backend.subsystem() == other.backend.subsystem()
            && self.family == other.family
            && self.table == other.table
    }

    /// A rule's number among those of this chain, as its tool counts them, from 1; `None` for one that is not here.
    #[must_use]
    pub fn position(&self, rule: &Rule) -> Option<usize> {
        let at = self.rules.iter().position(|one| std::ptr::eq(one, rule))?;
        let mut number = 1;
        for pair in self.rules[..=at].windows(2) {
            let part = pair[1].handle.is_some() && pair[0].handle == pair[1].handle;
            number += usize::from(!part);
        }
        Some(number)
    }

    /// Name of the program that changes it: `ip6tables-nft`. With `-save` and `-restore` behind it, those of
    /// iptables.
    #[must_use]
    pub fn program(&self) -> &'static str {
        match (self.backend, self.family) {
            (Backend::IptablesLegacy, Family::Ip6) => "ip6tables-legacy",
            (Backend::IptablesNft, Family::Ip6) => "ip6tables-nft",
            (backend, _) => backend.name(),
        }
    }
}

/// A rule. One that does different things for different packets (a verdict map of nft, or matches behind a
/// change of the mark) is several of these, with the same text and handle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Text as the back end's own tool prints it; empty where it could not be had, and with [`Rule::CUT_OFF`] at its end
    /// where it was too long.
    pub text: String,
    /// nft handle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<u64>,
    /// What it asks for; all must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<Match>,
    /// What it does then, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Target>,
    /// How many packets have met what it does, where it counts them behind all that it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
}

impl Rule {
    /// Whether the other one is the same, whatever the counter says.
    fn is_same(&self, other: &Self) -> bool {
        let Self {
            text,
            handle,
            matches,
            targets,
            packets: _,
        } = self;
        *handle == other.handle
            && *text == other.text
            && *matches == other.matches
            && *targets == other.targets
    }
}

impl Rule {
    /// What ends a text that is not whole.
    pub const CUT_OFF: &str = " …";

    /// The text, if it is whole: what is made of one that is not would be another rule.
    #[must_use]
    pub fn whole_text(&self) -> Option<&str> {
        let whole = !self.text.is_empty() && !self.text.ends_with(Self::CUT_OFF);
        whole.then_some(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_are_small() {
        let rule = Rule {
            text: "-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP".into(),
            matches: vec![Match::is(Test::mark(0x8000, 0x8000))],
            targets: vec![Target::Drop],
            ..Rule::default()
        };
        let chain = Chain {
            backend: Backend::IptablesLegacy,
            family: Family::Ip,
            table: "filter".into(),
            name: "KUBE-FIREWALL".into(),
            base: None,
            rules: vec![rule],
        };
        let set = Ruleset {
            chains: vec![chain],
            ..Ruleset::default()
        };
        let json = serde_json::to_string(&set).expect("plain data");
        let expected = r#"{"chains":[{"backend":"iptables-legacy","family":"ip","table":"filter","name":"KUBE-FIREWALL","rules":[{"text":"-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP","matches":[{"mark":{"mask":32768,"values":[[32768,32768]]}}],"targets":["drop"]}]}]}"#;
        assert_eq!(json, expected);
        let back: Ruleset = serde_json::from_str(&json).expect("its own form");
        assert_eq!(back, set);
    }

    #[test]
    fn chains_of_ipv6_have_programs_of_their_own() {
        let program = |backend, family| {
            let chain = Chain {
                backend,
                family,
                table: "nat".into(),
                name: "POSTROUTING".into(),
                base: None,
                rules: Vec::new(),
            };
            chain.program()
        };
        assert_eq!(
            program(Backend::IptablesLegacy, Family::Ip),
            "iptables-legacy"
        );
        assert_eq!(
            program(Backend::IptablesLegacy, Family::Ip6),
            "ip6tables-legacy"
        );
        assert_eq!(program(Backend::IptablesNft, Family::Ip6), "ip6tables-nft");
        assert_eq!(program(Backend::Nft, Family::Ip6), "nft");
    }

    #[test]
    fn counters_are_no_change_of_the_rules() {
        let set = |target: Target, packets| Ruleset {
            chains: vec![Chain {
                backend: Backend::Nft,
                family: Family::Inet,
                table: "inet t".into(),
                name: "c".into(),
                base: None,
                rules: vec![Rule {
                    targets: vec![target],
                    packets,
                    ..Rule::default()
                }],
            }],
            ..Ruleset::default()
        };
        let one = set(Target::Drop, Some(1));
        assert!(one.same_rules(&set(Target::Drop, Some(2))));
        assert!(!one.same_rules(&set(Target::Accept, Some(1))));
        assert!(!one.same_rules(&Ruleset::default()));
    }

    #[test]
    fn what_is_missing_concerns_its_own_subsystem() {
        let set = Ruleset {
            unreadable: vec![Unreadable {
                subsystem: Subsystem::NfTables,
                why: "nft is not installed".into(),
            }],
            ..Ruleset::default()
        };
        assert!(set.is_complete(Some(Subsystem::IpTables)));
        assert!(!set.is_complete(Some(Subsystem::NfTables)));
        assert!(!set.is_complete(None));
    }
}
