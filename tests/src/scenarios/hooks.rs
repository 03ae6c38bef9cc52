//! How dropwatch is attached: that it takes all that the kernel offers, and says so.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::rp_filter::case::Case;
use super::{Kind, Scenario};
use crate::lab::Lab;
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
        name: "doctor",
        kind: Kind::Scenario,
        about: "the doctor says the same as a session does, and its exit code goes with it",
        run: doctor,
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

fn doctor(lab: &Lab) -> Result<()> {
    load_modules();
    let output = lab
        .command(None, &[])?
        .arg("doctor")
        .output()
        .context("starting the doctor")?;
    let text = String::from_utf8(output.stdout).context("the report is no text")?;
    for word in ["hooks", "causes", "drop", "tp_btf kfree_skb"] {
        ensure!(text.contains(word), "no word of {word}: {text}");
    }
    let output = lab
        .command(None, &[])?
        .args(["doctor", "-o", "json"])
        .output()
        .context("starting the doctor")?;
    let report: Value = serde_json::from_slice(&output.stdout).context("the report is no JSON")?;
    std::fs::write(lab.folder().join("doctor.json"), &output.stdout)?;
    let tracer = lab.explain(None, &[])?;
    let mut blind = 0;
    for cause in report["causes"].as_array().context("no causes")? {
        let told = tracer.cause(cause["cause"].as_str().context("no name")?)?;
        ensure!(
            told["why"] == cause["why"] && told["judged"] == cause["judged"],
            "a session says {told}, the doctor {cause}"
        );
        blind += u32::from(cause["judged"] != true);
    }
    let hooks = tracer.hooks();
    for hook in report["hooks"].as_array().context("no hooks")? {
        let same = hooks.iter().find(|told| told["probe"] == hook["probe"]);
        let same = same.with_context(|| format!("a session knows no {hook}"))?;
        for field in ["symbol", "flavour", "attached", "awaits"] {
            ensure!(
                same[field] == hook[field],
                "a session: {same}, the doctor: {hook}"
            );
        }
    }
    lab.finish_without_replay(tracer)?;
    let (state, code) = if blind == 0 {
        ("usable", 0)
    } else {
        ("limited", 6)
    };
    ensure!(
        report["state"] == state && output.status.code() == Some(code),
        "{blind} causes are blind, but: {}, {}",
        report["state"],
        output.status
    );
    Ok(())
}

/// Loads the modules that hooks are in, where there are such.
pub fn load_modules() {
    for module in ["nf_conntrack", "nfnetlink_queue", "ip_vs"] {
        // What this kernel does not have shows in what is attached.
        let _ = Command::new("modprobe").args(["-q", module]).status();
    }
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
        let drops = |line: &Value| line["type"] == "drop" && !line["source_check"].is_null();
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

/// What the start line says of a probe.
pub fn status(tracer: &Tracer, probe: &str) -> Result<Value> {
    let hooks = tracer.hooks();
    let found = hooks.iter().find(|hook| hook["probe"] == probe);
    found
        .cloned()
        .with_context(|| format!("no word of {probe}: {hooks:?}"))
}
