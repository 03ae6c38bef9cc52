//! Twins of `nfqueue_mark`: the same queue and the same firewall, and a program that leaves the
//! firewall's bits alone. Everything arrives, nobody is blamed.
//!
//! A datagram to a closed port is sent as well: its verdict proves that the tracer was watching.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::case::{Case, SETTLE, nobody_blamed};
use super::cases::{GSO, IPV6, SEED, SERVICE};
use super::{COMM, MARK, QUEUE};
use crate::expect::Check;
use crate::helper::queue::{Inspector, Mark, Program};
use crate::lab::Lab;
use crate::scenarios::{Kind, Scenario};
use crate::topology::queue::{Inspected, NODE_IP, POD_IP};
use crate::tracer::Tracer;
use crate::traffic::flow::{Tuple, send_datagram};

/// A bit that no rule looks at.
const OTHER_BIT: u32 = 0x10;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "twin_queue_no_mark",
        kind: Kind::Twin,
        about: "the incident's rules; the program sets the mark 0",
        run: |lab| play(lab, &SEED, Mark::Set(0)),
    },
    Scenario {
        name: "twin_queue_other_bit",
        kind: Kind::Twin,
        about: "the program sets a bit that no rule looks at",
        run: |lab| play(lab, &SEED, Mark::Set(OTHER_BIT)),
    },
    Scenario {
        name: "twin_queue_masked",
        kind: Kind::Twin,
        about: "the program's mark is masked: the firewall's bit stays 0",
        run: |lab| play(lab, &SEED, Mark::Masked(MARK | OTHER_BIT, !MARK)),
    },
    Scenario {
        name: "twin_queue_ipv6",
        kind: Kind::Twin,
        about: "another bit, in IPv6",
        run: |lab| play(lab, &IPV6, Mark::Set(OTHER_BIT)),
    },
    Scenario {
        name: "twin_queue_service",
        kind: Kind::Twin,
        about: "another bit, forwarded and translated",
        run: |lab| play(lab, &SERVICE, Mark::Set(OTHER_BIT)),
    },
    Scenario {
        name: "twin_queue_gso",
        kind: Kind::Twin,
        about: "another bit, in large packets that the kernel segments for the queue",
        run: |lab| play(lab, &GSO, Mark::Set(OTHER_BIT)),
    },
];

const CONTROL: Tuple = Tuple {
    proto: 17,
    src: POD_IP,
    dst: NODE_IP,
    sport: Some(40_001),
    dport: Some(9),
};

/// How often the traffic is sent.
const TIMES: usize = 3;

fn play(lab: &Lab, case: &Case, mark: Mark) -> Result<()> {
    let net = case.build()?;
    let program = Inspector::start(&net.node, COMM, QUEUE, &Program::accept(mark))?;
    let tracer = lab.explain(Some(&net.node), &[])?;
    for _ in 0..TIMES {
        ensure!(
            case.traffic.attempt(&net)?,
            "the network is wrong: it did not arrive"
        );
    }
    let seen = program.wait(TIMES, SETTLE)?;
    (case.look)(&net, &seen).context("what the program was given")?;
    send_datagram(&net.pod, &CONTROL)?;
    let verdict = lab.verdict(&tracer, &CONTROL)?;
    let mut check = Check::new(&verdict);
    check.eq("/cause", Value::Null);
    check.done("the control drop's verdict")?;
    nothing_full(&net, &tracer)?;
    nobody_blamed(lab, &net, tracer)?;
    let dropped = case.dropped(&net)?;
    ensure!(
        dropped == 0,
        "the network is wrong: the rule dropped {dropped}"
    );
    Ok(())
}

/// The kernel frees a large packet that it has segmented for the queue as it frees what it drops:
/// whoever sees that must not call the queue full.
fn nothing_full(net: &Inspected, tracer: &Tracer) -> Result<()> {
    for line in tracer.lines() {
        let line = line.value;
        let here = line["drop"]["netns"]["inum"] == net.node.inum();
        let place = &line["drop"]["location"]["symbol"];
        if line["type"] == "verdict" && here && place == "nfqnl_enqueue_packet" {
            let mut check = Check::new(&line);
            check.eq("/facts/kind", Value::Null);
            check.mentions("/summary", &["segment"]);
            check.done("the verdict on a packet that was segmented for the queue")?;
        }
    }
    Ok(())
}
