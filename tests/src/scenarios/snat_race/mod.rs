//! `snat_race`: two connections are given the same translated port, and the later one is dropped.
//!
//! A rule that translates to one fixed port makes that happen without any race: the kernel skips its
//! search for a free port when there is just one. The race itself is played with volleys. See
//! [`case`] for what playing means, [`fates`] for what becomes of the losers, [`twins`] for networks that lose nothing and [`decoys`] for
//! losses that look much the same; [`many_rules`] for rule sets that cannot be read in time.

use self::case::{Case, WantedRule, play_fixed, play_race};
use super::{Kind, Scenario};
use crate::topology::nat::Rule;
use crate::traffic::nat::Proto;

pub mod case;
pub mod decoys;
mod facts;
pub mod fates;
pub mod many_rules;
pub mod twins;

/// The cause's stem.
pub const CAUSE: &str = "snat_race";

/// The rule of the incident.
pub const MASQUERADE: Rule = Rule::Iptables(
    "iptables-legacy",
    "-t nat -A POSTROUTING -o eno1 -j MASQUERADE",
);

const LEGACY: WantedRule = WantedRule {
    backend: "iptables-legacy",
    tables: &["nat"],
    chain: "POSTROUTING",
    words: &["MASQUERADE"],
    list: "iptables-legacy -t nat -S",
    handle: false,
};

const LEGACY_FIXED: WantedRule = WantedRule {
    words: &["SNAT", "172.26.50.200:40000"],
    ..LEGACY
};

const NFT: WantedRule = WantedRule {
    backend: "nft",
    tables: &["ip nat", "nat"],
    chain: "srcnat",
    words: &["masquerade"],
    list: "nft list ruleset",
    handle: true,
};

/// The race under iptables' plainest rule.
pub const RACE: Case = Case {
    rules: &[MASQUERADE],
    rule: LEGACY,
};

/// Two clients and one port.
pub const FIXED_UDP: Case = Case {
    rules: &[Rule::Iptables(
        "iptables-legacy",
        "-t nat -A POSTROUTING -o eno1 -p udp -j SNAT --to-source 172.26.50.200:40000",
    )],
    rule: LEGACY_FIXED,
};

const FIXED_NFT: Case = Case {
    rules: &[Rule::Nft(&[
        "add table ip nat",
        "add chain ip nat srcnat { type nat hook postrouting priority 100 ; }",
        "add rule ip nat srcnat oifname eno1 meta l4proto udp snat to 172.26.50.200:40000",
    ])],
    rule: WantedRule {
        words: &["snat to", "172.26.50.200:40000"],
        ..NFT
    },
};

const RACE_NFT: Case = Case {
    rules: &[Rule::Nft(&[
        "add table ip nat",
        "add chain ip nat srcnat { type nat hook postrouting priority 100 ; }",
        "add rule ip nat srcnat oifname eno1 masquerade",
    ])],
    rule: NFT,
};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "snat_fixed_port_udp",
        kind: Kind::Scenario,
        about: "two clients, one translated port: the second datagram is dropped",
        run: |lab| play_fixed(lab, &FIXED_UDP, Proto::Udp),
    },
    Scenario {
        name: "snat_nft",
        kind: Kind::Scenario,
        about: "two clients, one translated port, by nft",
        run: |lab| play_fixed(lab, &FIXED_NFT, Proto::Udp),
    },
    Scenario {
        name: "snat_race_udp",
        kind: Kind::Scenario,
        about: "two clients race for the same port behind MASQUERADE",
        run: |lab| play_race(lab, &RACE),
    },
    Scenario {
        name: "snat_race_nft",
        kind: Kind::Scenario,
        about: "two clients race for the same port behind nft's masquerade",
        run: |lab| play_race(lab, &RACE_NFT),
    },
];
