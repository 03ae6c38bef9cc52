//! The demo of `nfqueue_mark`: a traffic inspector sets the mark that kube-proxy's firewall drops.
//!
//! Limits: it needs a kernel that shows what is queued.

use anyhow::{Result, ensure};

use super::stage::Stage;
use super::{step, tell};
use crate::helper::queue::Inspector;
use crate::lab::Lab;
use crate::scenarios::nfqueue_mark::case::{all_blamed, lose, verdict_at};
use crate::scenarios::nfqueue_mark::cases::SEED;
use crate::scenarios::nfqueue_mark::{CAUSE, COMM, MARK, QUEUE};
use crate::topology::queue::{NODE_IP, POD_IP};
use crate::traffic::queue::WEB;

/// How often the pod connects after the change.
const TIMES: usize = 3;

/// Plays it.
pub fn play(lab: &Lab) -> Result<()> {
    step("A node that inspects what pods send, and kube-proxy's firewall, as in the incident");
    let net = SEED.build()?;
    let program = Inspector::start(&net.node, COMM, QUEUE, &SEED.program)?;
    tell(&format!("pod:   {POD_IP}"));
    for rule in SEED.rules {
        tell(&format!("node:  {rule}"));
    }
    tell(&format!(
        "{COMM}[{}] accepts every packet of queue {QUEUE} and marks it {MARK:#x}",
        program.pid()
    ));

    let stage = Stage::start(lab, CAUSE, &net.node, &[])?;
    let told = stage.tracer.cause(CAUSE)?;
    ensure!(
        told["judged"] == true,
        "this kernel does not let dropwatch see what is queued: {}",
        told["why"]
    );

    step(&format!(
        "The pod connects to the node's web server, {NODE_IP}:{WEB}"
    ));
    lose(&SEED, &net, &program)?;
    let lost = SEED.dropped(&net)?;
    tell(&format!(
        "timed out; KUBE-FIREWALL's rule has dropped {lost}"
    ));
    let verdict = verdict_at(&net, &stage.tracer, &SEED.traffic.tuple(), SEED.place)?;
    stage.cure(&verdict)?;

    step("The same again");
    for _ in 0..TIMES {
        ensure!(
            SEED.traffic.attempt(&net)?,
            "no connection: the advice does not help"
        );
        tell("connected");
    }

    all_blamed(lab, &SEED, &net, stage.end()?)?;
    step(&format!(
        "lost before the change: {lost}; lost after it: none; all of them explained"
    ));
    Ok(())
}
