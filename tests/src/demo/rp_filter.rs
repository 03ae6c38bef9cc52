//! The demo of `rp_filter`: a health probe that the pod answers and the node refuses.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::stage::Stage;
use super::{step, tell};
use crate::lab::Lab;
use crate::scenarios::rp_filter::{CAUSE, SEED_FILES};
use crate::topology::files::SYSCTL_FILE;
use crate::topology::seed::{CILIUM_HOST, Config, LXC, POD_COMM, POD_IP, POD_PORT, Seed};
use crate::traffic::flow::{Flow, probe};

/// Plays it.
pub fn play(lab: &Lab) -> Result<()> {
    step("A node and a pod, as in the incident");
    let seed = Seed::build(&Config {
        all: 2,
        device: 2,
        ..Config::HEALTHY
    })?;
    tell(&format!(
        "pod:   {POD_COMM} on {POD_IP}, its eth0 is the far end of the node's {LXC}\n\
         node:  reaches 10.0.0.0/24 by {CILIUM_HOST}; {LXC} has no address\n\
         file:  {SYSCTL_FILE} sets rp_filter = 2 for every device"
    ));

    let stage = Stage::start(lab, CAUSE, &seed.node, SEED_FILES)?;

    step(&format!(
        "The node's health probe: GET http://{POD_IP}:{POD_PORT}/health"
    ));
    ensure!(
        !probe(&seed.node)?,
        "the probe was answered: the network is not as it should be"
    );
    tell("timed out: the pod answers, the node never sees the answer");
    let verdict = lab.verdict(&stage.tracer, &Flow::Probe.tuple())?;
    stage.cure(&verdict)?;
    let before = seed.refused()?;

    step("The same probe again");
    for _ in 0..3 {
        let begun = Instant::now();
        ensure!(
            probe(&seed.node)?,
            "still no answer: the advice does not help"
        );
        tell(&format!(
            "200 OK after {:.1} ms",
            begun.elapsed().as_secs_f64() * 1e3
        ));
    }
    let after = seed.refused()? - before;
    ensure!(
        after == 0,
        "{after} more packets were refused: the advice does not help"
    );

    let finished = lab.finish(stage.end()?)?;
    let blamed = finished.blamed(CAUSE, &seed.node)?;
    ensure!(
        blamed == before,
        "{blamed} drops explained, but the kernel refused {before}"
    );
    step(&format!(
        "lost before the change: {before}; lost after it: none; all of them explained"
    ));
    Ok(())
}
