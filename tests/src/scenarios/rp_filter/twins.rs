//! Twins of `rp_filter`: the same network configured right. Everything arrives, nobody is blamed.
//!
//! A datagram to a closed port is sent as well: its verdict proves that the tracer was watching.

use anyhow::{Result, ensure};

use super::CAUSE;
use crate::expect::Check;
use crate::lab::Lab;
use crate::scenarios::{Kind, Scenario};
use crate::topology::seed::{Config, NODE_IP, POD_IP, Seed};
use crate::traffic::flow::{Flow, Tuple, send_datagram};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "twin_zero",
        kind: Kind::Twin,
        about: "0 everywhere",
        run: |lab| play(lab, &Config::HEALTHY),
    },
    Scenario {
        name: "twin_loose_address",
        kind: Kind::Twin,
        about: "loose (2), and the device has an address",
        run: |lab| {
            play(
                lab,
                &Config {
                    all: 2,
                    device: 2,
                    lxc_address: true,
                    ..Config::HEALTHY
                },
            )
        },
    },
    Scenario {
        name: "twin_endpoint_route",
        kind: Kind::Twin,
        about: "strict (1), and the pod has a route of its own",
        run: |lab| {
            play(
                lab,
                &Config {
                    device: 1,
                    endpoint_route: true,
                    ..Config::HEALTHY
                },
            )
        },
    },
];

const CONTROL: Tuple = Tuple {
    proto: 17,
    src: POD_IP,
    dst: NODE_IP,
    sport: Some(40_001),
    dport: Some(9),
};

fn play(lab: &Lab, config: &Config) -> Result<()> {
    let seed = Seed::build(config)?;
    let tracer = lab.explain(Some(&seed.node), &[])?;
    for flow in [
        Flow::UdpToNode,
        Flow::UdpToWorld,
        Flow::Probe,
        Flow::TcpToNode,
        Flow::EchoToNode,
    ] {
        ensure!(
            flow.attempt(&seed)?,
            "the network is wrong: {flow:?} was lost"
        );
    }
    send_datagram(&seed.pod, &CONTROL)?;
    let verdict = lab.verdict(&tracer, &CONTROL)?;
    let mut check = Check::new(&verdict);
    check.eq("/cause", serde_json::Value::Null);
    check.done("the control drop's verdict")?;
    let finished = lab.finish(tracer)?;
    finished.must_not_blame(CAUSE, &seed.node)?;
    ensure!(
        seed.refused()? == 0,
        "the network is wrong: the kernel refused something"
    );
    Ok(())
}
