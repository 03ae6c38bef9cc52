//! Twins of `ipvs_conntrack`: the same director, and clients that are answered by whom they asked.
//!
//! A datagram to a closed port is sent as well: its verdict proves that the tracer was watching.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::case::{PORT, answered, real_servers};
use super::{CAUSE, REDIRECT, REDIRECT_UDP};
use crate::expect::Check;
use crate::lab::Lab;
use crate::scenarios::{Kind, Scenario};
use crate::topology::ipvs::{CLIENT_IP, Config, Ipvs, SERVICE_PORT, SERVICES, VIP};
use crate::topology::nat::Rule;
use crate::tracer::Tracer;
use crate::traffic::flow::{Tuple, send_datagram};
use crate::traffic::ipvs::Servers;
use crate::traffic::nat::Proto;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "twin_ipvs_plain",
        kind: Kind::Twin,
        about: "clients ask the virtual service itself: it needs no conntrack entry",
        run: |lab| play(lab, &PLAIN, SERVICE_PORT),
    },
    Scenario {
        name: "twin_ipvs_past_rules",
        kind: Kind::Twin,
        about: "the same beside a REDIRECT that these connections never met",
        run: |lab| play(lab, &PAST_RULES, SERVICE_PORT),
    },
    Scenario {
        name: "twin_ipvs_conntrack",
        kind: Kind::Twin,
        about: "REDIRECT to the virtual service with vs.conntrack = 1",
        run: |lab| play(lab, &KEEPING, 1010),
    },
    Scenario {
        name: "twin_ipvs_fwmark",
        kind: Kind::Twin,
        about: "a virtual service for a mark takes the place of the REDIRECT",
        run: |lab| play(lab, &MARKED, 1010),
    },
];

const PLAIN: Config = Config {
    rules: &[],
    services: SERVICES,
    conntrack: false,
};

const PAST_RULES: Config = Config {
    rules: &[REDIRECT, REDIRECT_UDP],
    ..PLAIN
};

const KEEPING: Config = Config {
    conntrack: true,
    ..PAST_RULES
};

const MARKED: Config = Config {
    rules: &[
        Rule::Iptables(
            "iptables-legacy",
            "-t mangle -A PREROUTING -p tcp --dport 1010 -j MARK --set-mark 7",
        ),
        Rule::Iptables(
            "iptables-legacy",
            "-t mangle -A PREROUTING -p udp --dport 1010 -j MARK --set-mark 7",
        ),
    ],
    services: &[
        "-A -f 7 -s rr",
        "-a -f 7 -r 10.8.0.1:1001 -m",
        "-a -f 7 -r 10.8.0.2:1002 -m",
    ],
    conntrack: false,
};

/// What the director has no socket for.
const CONTROL: Tuple = Tuple {
    proto: 17,
    src: CLIENT_IP,
    dst: VIP,
    sport: Some(40_001),
    dport: Some(9),
};

/// Two connections each over TCP and UDP, so that both real servers answer.
fn play(lab: &Lab, config: &Config, port: u16) -> Result<()> {
    let ipvs = Ipvs::build(config)?;
    let tracer = lab.explain(Some(&ipvs.director), &[])?;
    for proto in [Proto::Tcp, Proto::Udp] {
        let servers = Servers::start(&real_servers(&ipvs), proto)?;
        let first = answered(&servers, &ipvs, PORT, port)?;
        let second = answered(&servers, &ipvs, PORT + 1, port)?;
        ensure!(
            first.by != second.by,
            "the network is wrong: {} answered twice over {proto:?}",
            first.by
        );
    }
    control(lab, &ipvs, &tracer)?;
    nobody_blamed(lab, &ipvs, tracer)
}

/// Loses a datagram on the director; its verdict must come, without a cause.
pub fn control(lab: &Lab, ipvs: &Ipvs, tracer: &Tracer) -> Result<()> {
    send_datagram(&ipvs.client, &CONTROL)?;
    let verdict = lab.verdict(tracer, &CONTROL)?;
    let mut check = Check::new(&verdict);
    check.eq("/cause", Value::Null);
    check.done("the control drop's verdict")
}

/// Ends the tracer; it must not have blamed the director.
pub fn nobody_blamed(lab: &Lab, ipvs: &Ipvs, tracer: Tracer) -> Result<()> {
    let finished = lab.finish(tracer)?;
    finished.must_not_blame(CAUSE, &ipvs.director)
}
