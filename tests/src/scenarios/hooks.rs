//! How dropwatch is attached: that it takes all that the kernel offers, and that every other way of
//! attaching gives the same verdicts.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::martians;
use super::rp_filter::case::{Case, play};
use super::{Kind, Scenario};
use crate::lab::{Lab, Skip};
use crate::topology::seed::{CILIUM_HOST, Seed};
use crate::tracer::{SLOW, Tracer};
use crate::traffic::flow::Flow;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "hooks_all",
        kind: Kind::Scenario,
        about: "everything that this kernel offers is attached, and what it refuses is named",
        run: hooks_all,
    },
    Scenario {
        name: "lookup_watched",
        kind: Kind::Scenario,
        about: "after a first refusal, the route look-ups that refuse are seen in the kernel",
        run: lookup_watched,
    },
    Scenario {
        name: "forced_fentry",
        kind: Kind::Scenario,
        about: "refusals by fentry of ip_handle_martian_source",
        run: |lab| forced(lab, "refusal=fentry"),
    },
    Scenario {
        name: "forced_kprobe",
        kind: Kind::Scenario,
        about: "refusals by kprobe of ip_handle_martian_source",
        run: |lab| forced(lab, "refusal=kprobe"),
    },
    Scenario {
        name: "forced_fexit",
        kind: Kind::Scenario,
        about: "refusals by the return value of fib_validate_source",
        run: |lab| forced(lab, "refusal=fexit"),
    },
    Scenario {
        name: "forced_raw",
        kind: Kind::Scenario,
        about: "raw tracepoints: every read by helper",
        run: |lab| forced(lab, "drop=raw_tp,lookup=raw_tp"),
    },
];

fn hooks_all(lab: &Lab) -> Result<()> {
    let tracer = lab.explain(None, &[])?;
    // Kernels with kprobes take trampolines too; where neither is there, refusals cannot be hooked.
    let functions = Path::new("/sys/bus/event_source/devices/kprobe").exists();
    for (probe, flavour) in [
        ("drop", Some("tp_btf")),
        ("lookup", Some("tp_btf")),
        ("sysctl", Some("cgroup_sysctl")),
        ("refusal", functions.then_some("fentry")),
    ] {
        let status = status(&tracer, probe)?;
        match flavour {
            Some(flavour) => ensure!(
                status["attached"] == true && status["flavour"] == flavour,
                "{probe} should be attached by {flavour}: {status}"
            ),
            None => ensure!(
                status["attached"] == false && status["why"].is_string(),
                "{probe} cannot be attached here, and should say why: {status}"
            ),
        }
    }
    lab.finish(tracer)?;
    Ok(())
}

fn lookup_watched(lab: &Lab) -> Result<()> {
    let seed = Seed::build(&Case::STRICT.config)?;
    let tracer = lab.list(Some(&seed.node))?;
    let flow = Flow::UdpToNode;
    let host = seed.node.ifindex(CILIUM_HOST)?;
    let mut seen = 0;
    // The first refusal switches the watch on; how soon after that a packet comes is up to us.
    for _ in 0..20 {
        ensure!(
            !flow.attempt(&seed)?,
            "the network is wrong: the packet arrived"
        );
        seen += 1;
        let drops =
            |line: &Value| line["type"] == "drop" && line["reason"]["name"] == "IP_RPFILTER";
        let found = tracer
            .wait_for(SLOW, seen, drops)
            .context("a drop is missing")?;
        if let Some(lookup) = found
            .iter()
            .map(|l| &l["source_check"]["lookup"])
            .find(|l| !l.is_null())
        {
            ensure!(
                lookup["oif"] == host && lookup["table"] == 254 && lookup["error"] == 0,
                "the kernel looked up {CILIUM_HOST} ({host}) in table 254: {lookup}"
            );
            lab.finish_without_replay(tracer)?;
            return Ok(());
        }
    }
    bail!("no look-up was seen with {seen} refused packets");
}

/// Plays a blamed case and a decoy with some flavours only.
fn forced(lab: &Lab, flavours: &str) -> Result<()> {
    let lab = lab.forced(flavours);
    let tracer = lab.explain(None, &[])?;
    for forced in flavours.split(',') {
        let (probe, flavour) = forced.split_once('=').context("PROBE=FLAVOUR")?;
        let status = status(&tracer, probe)?;
        if status["attached"] != true {
            let why = status["why"]
                .as_str()
                .unwrap_or("no reason given")
                .to_owned();
            lab.finish(tracer)?;
            return Err(Skip(format!("{flavour} is not to be had: {why}")).into());
        }
        ensure!(
            status["flavour"] == flavour,
            "{forced} was asked for: {status}"
        );
    }
    lab.finish(tracer)?;
    play(&lab, &Case::STRICT)?;
    martians::own(&lab, 1)?;
    martians::loopback(&lab, 1)
}

fn status(tracer: &Tracer, probe: &str) -> Result<Value> {
    let hooks = tracer.hooks();
    let found = hooks.iter().find(|hook| hook["probe"] == probe);
    found
        .cloned()
        .with_context(|| format!("no word of {probe}: {hooks:?}"))
}
