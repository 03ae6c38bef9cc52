//! Martian sources: refused by the function that also holds the reverse-path filter, but by another
//! check, whatever the sysctl says. Each is played with the filter off and on.

use super::decoys::{Decoy, play, raw};
use super::{Kind, Scenario};
use crate::lab::Lab;
use crate::topology::seed::{Config, NODE_IP, Seed};
use crate::traffic::flow::Tuple;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "decoy_martian_own_off",
        kind: Kind::Decoy,
        about: "the node's own address as source, filter off",
        run: |lab| own(lab, 0),
    },
    Scenario {
        name: "decoy_martian_own_on",
        kind: Kind::Decoy,
        about: "the node's own address as source, filter strict",
        run: |lab| own(lab, 1),
    },
    Scenario {
        name: "decoy_martian_loopback_off",
        kind: Kind::Decoy,
        about: "a loopback address as source, filter off",
        run: |lab| loopback(lab, 0),
    },
    Scenario {
        name: "decoy_martian_loopback_on",
        kind: Kind::Decoy,
        about: "a loopback address as source, filter strict",
        run: |lab| loopback(lab, 1),
    },
    Scenario {
        name: "decoy_martian_multicast_on",
        kind: Kind::Decoy,
        about: "a multicast address as source, filter strict",
        run: |lab| multicast(lab, 1),
    },
];

const OWN: &[&str] = &["NOT_SPECIFIED", "IP_LOCAL_SOURCE"];
const INVALID: &[&str] = &["NOT_SPECIFIED", "IP_INVALID_SOURCE", "IP_LOCALNET"];

/// The node's own address as source.
pub fn own(lab: &Lab, filter: u8) -> anyhow::Result<()> {
    martian(
        lab,
        filter,
        NODE_IP,
        "own_address",
        OWN,
        &["own address", "address of this"],
    )
}

/// A loopback address as source.
pub fn loopback(lab: &Lab, filter: u8) -> anyhow::Result<()> {
    martian(lab, filter, "127.0.0.1", "loopback", INVALID, &["loopback"])
}

fn multicast(lab: &Lab, filter: u8) -> anyhow::Result<()> {
    martian(
        lab,
        filter,
        "224.0.0.77",
        "multicast",
        INVALID,
        &["multicast"],
    )
}

fn martian(
    lab: &Lab,
    filter: u8,
    src: &'static str,
    martian: &'static str,
    reasons: &'static [&'static str],
    words: &'static [&'static str],
) -> anyhow::Result<()> {
    let decoy = Decoy {
        config: Config {
            all: filter,
            device: filter,
            ..Config::HEALTHY
        },
        prepare: |_| Ok(()),
        send: |seed: &Seed, tuple: &Tuple| raw(seed, tuple, 64),
        tuple: Tuple {
            proto: 17,
            src,
            dst: NODE_IP,
            sport: Some(40_003),
            dport: Some(7777),
        },
        reasons,
        words,
        martian: Some(martian),
        ttl: 64,
        rule: None,
    };
    play(lab, &decoy)
}
