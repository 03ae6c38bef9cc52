//! Twins of `snat_race`: clients behind one address that do not take each other's port. Everything
//! arrives, nobody is blamed.
//!
//! A datagram to a closed port is sent as well: its verdict proves that the tracer was watching.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::case::{FIRST_PORT, all_blamed, grows_calm};
use super::fates::{listener, queued, slow_inspector};
use super::{CAUSE, MASQUERADE};
use crate::expect::Check;
use crate::lab::Lab;
use crate::scenarios::{Kind, Scenario};
use crate::topology::nat::{NODE_IP, Nat, POD_A_IP, POD_B_IP, Rule};
use crate::tracer::Tracer;
use crate::traffic::flow::{Tuple, send_datagram};
use crate::traffic::nat::{Proto, Server};
use crate::traffic::volley::{self, PAIRS};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "twin_random_fully",
        kind: Kind::Twin,
        about: "the same volleys behind MASQUERADE --random-fully",
        run: random_fully,
    },
    Scenario {
        name: "twin_sequential_ports",
        kind: Kind::Twin,
        about: "the same source port twice, one after the other: the second gets another port",
        run: sequential_ports,
    },
    Scenario {
        name: "twin_dns_pair",
        kind: Kind::Twin,
        about: "two datagrams at once from one socket: the kernel makes them one connection",
        run: dns_pair,
    },
    Scenario {
        name: "twin_held_before_translation",
        kind: Kind::Twin,
        about: "a queue program holds both packets back before their translation: each gets its own port",
        run: held_before_translation,
    },
];

const CONTROL: Tuple = Tuple {
    proto: 17,
    src: POD_A_IP,
    dst: NODE_IP,
    sport: Some(40_001),
    dport: Some(9),
};

/// How many volleys are tried for a pair that meets.
const VOLLEYS: u16 = 40;

fn random_fully(lab: &Lab) -> Result<()> {
    let nat = Nat::build(&[Rule::Iptables(
        "iptables-legacy",
        "-t nat -A POSTROUTING -o eno1 -j MASQUERADE --random-fully",
    )])?;
    let tracer = lab.explain(Some(&nat.node), &[])?;
    let volley = |number| volley::two_clients(&nat, FIRST_PORT + number * PAIRS);
    grows_calm(|number| volley(number).map(|lost| lost.len())).context("the network is wrong")?;
    control(lab, &nat, &tracer)?;
    // Random ports make it rare, not impossible: what was lost is blamed, and nothing else.
    all_blamed(lab, &nat, tracer)
}

fn sequential_ports(lab: &Lab) -> Result<()> {
    let nat = Nat::build(&[MASQUERADE])?;
    let tracer = lab.explain(Some(&nat.node), &[])?;
    for (proto, port) in [(Proto::Udp, 41_001), (Proto::Tcp, 41_002)] {
        let server = Server::start(&nat, proto)?;
        let first = server
            .attempt(&nat.pod_a, POD_A_IP, port)?
            .with_context(|| format!("the network is wrong: the first {proto:?} was lost"))?;
        let second = server
            .attempt(&nat.pod_b, POD_B_IP, port)?
            .with_context(|| format!("the network is wrong: the second {proto:?} was lost"))?;
        ensure!(
            first.seen_port == port && second.seen_port != port,
            "the network is wrong: {proto:?} ports {} and {}",
            first.seen_port,
            second.seen_port
        );
    }
    control(lab, &nat, &tracer)?;
    nobody_blamed(lab, &nat, tracer)
}

fn dns_pair(lab: &Lab) -> Result<()> {
    let nat = Nat::build(&[MASQUERADE])?;
    let tracer = lab.explain(Some(&nat.node), &[])?;
    for volley in 0.. {
        let lost = volley::one_socket(&nat, FIRST_PORT + volley * PAIRS)?;
        ensure!(lost == 0, "the network is wrong: {lost} of a pair lost");
        if nat.counters()?.clash_resolve > 0 {
            break;
        }
        if volley == VOLLEYS {
            bail!("the network is wrong: no pair met in {VOLLEYS} volleys");
        }
    }
    control(lab, &nat, &tracer)?;
    nobody_blamed(lab, &nat, tracer)
}

fn held_before_translation(lab: &Lab) -> Result<()> {
    const QUEUE: Rule = Rule::Nft(&[
        "add table ip early",
        "add chain ip early out { type filter hook postrouting priority 50 ; }",
        "add rule ip early out oifname eno1 ct state new queue num 7",
    ]);
    let nat = queued(&QUEUE)?;
    let _inspector = slow_inspector(&nat, 100)?;
    let server = listener(&nat)?;
    let tracer = lab.explain(Some(&nat.node), &[])?;
    let (_, _open) = volley::connections(&nat, &server, 41_001, 1)?;
    control(lab, &nat, &tracer)?;
    nobody_blamed(lab, &nat, tracer)
}

fn control(lab: &Lab, nat: &Nat, tracer: &Tracer) -> Result<()> {
    send_datagram(&nat.pod_a, &CONTROL)?;
    let verdict = lab.verdict(tracer, &CONTROL)?;
    let mut check = Check::new(&verdict);
    check.eq("/cause", Value::Null);
    check.done("the control drop's verdict")
}

fn nobody_blamed(lab: &Lab, nat: &Nat, tracer: Tracer) -> Result<()> {
    let finished = lab.finish(tracer)?;
    finished.must_not_blame(CAUSE, &nat.node)?;
    let refused = nat.insert_failed()?;
    ensure!(
        refused == 0,
        "the network is wrong: conntrack refused {refused} entries"
    );
    Ok(())
}
