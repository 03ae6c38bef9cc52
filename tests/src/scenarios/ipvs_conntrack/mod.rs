//! `ipvs_conntrack`: IPVS throws away the conntrack entry that a DNAT or REDIRECT needs, and the
//! reply leaves with the wrong source.
//!
//! Nothing is dropped on the director, so the verdict is about an anomaly; what the client does with
//! the reply is linked to it. See [`case`] for what playing means, [`special`] for what needs more
//! than one connection, [`twins`] for networks that answer rightly and [`decoys`] for connections
//! that end behind IPVS for another reason.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use self::case::{Case, Seat, play};
use self::facts::WantedRule;
use super::{Kind, Scenario};
use crate::expect::Check;
use crate::lab::Lab;
use crate::topology::ipvs::{self, SERVICES};
use crate::topology::nat::Rule;
use crate::traffic::nat::Proto;

pub mod case;
pub mod decoys;
mod facts;
pub mod special;
pub mod twins;

/// The cause's stem.
pub const CAUSE: &str = "ipvs_conntrack";

/// The hook that sees replies, as lines of hooks call it.
const HOOK: &str = "ipvs";

/// The rule of the incident.
pub const REDIRECT: Rule = Rule::Iptables(
    "iptables-legacy",
    "-t nat -A PREROUTING -p tcp --dport 1010 -j REDIRECT --to-ports 1000",
);
/// The same for UDP.
pub const REDIRECT_UDP: Rule = Rule::Iptables(
    "iptables-legacy",
    "-t nat -A PREROUTING -p udp --dport 1010 -j REDIRECT --to-ports 1000",
);

const LEGACY: WantedRule = WantedRule {
    backend: "iptables-legacy",
    tables: &["nat"],
    chain: "PREROUTING",
    action: "redirect",
    words: &["REDIRECT", "1010", "1000"],
    to: "1000",
    handle: false,
};

/// The incident, with real servers on machines of their own.
pub const INCIDENT: Case = Case {
    proto: Proto::Tcp,
    asked: 1010,
    rules: &[REDIRECT],
    rule: LEGACY,
    services: SERVICES,
    on_director: false,
    seat: Seat::Director,
};

const DNAT: Case = Case {
    asked: 1020,
    rules: &[Rule::Iptables(
        "iptables-legacy",
        "-t nat -A PREROUTING -p tcp --dport 1020 -j DNAT --to-destination 172.16.1.8:1000",
    )],
    rule: WantedRule {
        action: "dnat",
        words: &["DNAT", "1020", "172.16.1.8:1000"],
        to: "172.16.1.8:1000",
        ..LEGACY
    },
    seat: Seat::Host,
    ..INCIDENT
};

const UDP: Case = Case {
    proto: Proto::Udp,
    rules: &[REDIRECT_UDP],
    ..INCIDENT
};

const NFT: Case = Case {
    rules: &[Rule::Nft(&[
        "add table ip nat",
        "add chain ip nat doors { type nat hook prerouting priority dstnat ; }",
        "add rule ip nat doors tcp dport 1010 redirect to :1000",
    ])],
    rule: WantedRule {
        backend: "nft",
        tables: &["ip nat", "nat"],
        chain: "doors",
        action: "redirect",
        words: &["redirect", "1010", "1000"],
        to: "1000",
        handle: true,
    },
    ..INCIDENT
};

/// Just as in the write-up: the real servers are processes of the director.
const ON_DIRECTOR: Case = Case {
    services: &[
        "-A -t 172.16.1.8:1000 -s rr",
        "-a -t 172.16.1.8:1000 -r 172.16.1.8:1001 -m",
        "-a -t 172.16.1.8:1000 -r 172.16.1.8:1002 -m",
    ],
    on_director: true,
    ..INCIDENT
};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "ipvs_redirect_tcp",
        kind: Kind::Scenario,
        about: "REDIRECT to a virtual service: the SYN,ACK leaves with the service's port",
        run: |lab| play(lab, &INCIDENT),
    },
    Scenario {
        name: "ipvs_dnat_tcp",
        kind: Kind::Scenario,
        about: "the same with DNAT, traced from another network namespace",
        run: |lab| play(lab, &DNAT),
    },
    Scenario {
        name: "ipvs_redirect_udp",
        kind: Kind::Scenario,
        about: "the same with UDP: the client's socket takes no answer from another port",
        run: |lab| play(lab, &UDP),
    },
    Scenario {
        name: "ipvs_redirect_nft",
        kind: Kind::Scenario,
        about: "the same with a redirect by nft",
        run: |lab| play(lab, &NFT),
    },
    Scenario {
        name: "ipvs_on_director",
        kind: Kind::Scenario,
        about: "the real servers are on the director itself: the reply is made there",
        run: |lab| play(lab, &ON_DIRECTOR),
    },
    Scenario {
        name: "ipvs_judged",
        kind: Kind::Scenario,
        about: "the start line says whether this kernel lets the cause be judged, or why not",
        run: judged,
    },
];

fn judged(lab: &Lab) -> Result<()> {
    let loaded = ipvs::load().is_ok();
    // Kernels with kprobes take trampolines too.
    let functions = Path::new("/sys/bus/event_source/devices/kprobe").exists();
    let tracer = lab.explain(None, &[])?;
    let mut lines = tracer.lines().into_iter().map(|line| line.value);
    let start = lines.find(|line| line["type"] == "start");
    let start = start.context("no start line")?;
    let causes = start["causes"].as_array().context("no causes")?;
    let cause = causes.iter().find(|cause| cause["cause"] == CAUSE);
    let cause = cause.with_context(|| format!("no word of {CAUSE}: {causes:?}"))?;
    let possible = loaded && functions;
    let mut check = Check::new(cause);
    check.eq("/judged", possible);
    if !possible {
        check.is("/why", "a reason", Value::is_string);
    }
    check.done("the start line's word of the cause")?;
    let attached = tracer.attached(HOOK);
    anyhow::ensure!(
        attached == possible,
        "the hook is attached: {attached}; IPVS loaded: {loaded}; function hooks: {functions}"
    );
    lab.finish(tracer)?;
    Ok(())
}
