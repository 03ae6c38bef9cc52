//! `rp_filter` cases with a story of their own: a value that changes under the tracer's eyes, and a
//! forged source, where the filter is right and must not be advised away.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::CAUSE;
use super::case::{Case, apply_and_see};
use super::facts::{check_facts, key};
use crate::expect::{Check, packet_differences};
use crate::fix;
use crate::helper;
use crate::lab::{Lab, Skip};
use crate::scenarios::{Kind, Scenario};
use crate::topology::seed::{CILIUM_HOST, Config, LXC, NODE_OUTSIDE_IP, OUTSIDE, POD_IP, Seed};
use crate::tracer::{SLOW, Tracer};
use crate::traffic::flow::Flow;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "value_changed",
        kind: Kind::Scenario,
        about: "0 and healthy, then a process called sysctl writes 1",
        run: value_changed,
    },
    Scenario {
        name: "spoofed_outside",
        kind: Kind::Scenario,
        about: "the pod's address as forged source from outside: the filter is right",
        run: spoofed_outside,
    },
];

const WRITER: &str = "sysctl";

fn value_changed(lab: &Lab) -> Result<()> {
    let seed = Seed::build(&Config::HEALTHY)?;
    let tracer = lab.explain(Some(&seed.node), &[])?;
    if !tracer.attached("sysctl_write") {
        return Err(Skip("this kernel does not let dropwatch watch sysctl writes".into()).into());
    }
    let flow = Flow::UdpToNode;
    ensure!(
        flow.attempt(&seed)?,
        "the network is wrong: the first packet was lost"
    );
    let path = format!("/proc/sys/net/ipv4/conf/{LXC}/rp_filter");
    let writer = helper::write_as(&seed.node, WRITER, &path, "1")?;
    written(&tracer, &seed, writer)?;
    ensure!(
        !flow.attempt(&seed)?,
        "the network is wrong: the packet arrived"
    );

    let verdict = lab.verdict(&tracer, &flow.tuple())?;
    let mut check = Check::new(&verdict);
    let mut without = verdict.clone();
    if let Some(written) = without.pointer_mut("/facts/written_by") {
        *written = Value::Null; // checked here, not with the common facts
    }
    check_facts(&mut Check::new(&without), &seed, &Case::STRICT)?;
    let by = "/facts/written_by";
    check
        .eq(&format!("{by}/pid"), writer)
        .eq(&format!("{by}/comm"), WRITER);
    check.is(&format!("{by}/key"), "the device's key", |found| {
        is_key(found)
    });
    check.is(&format!("{by}/old"), "0", |found| is_number(found, 0));
    check.is(&format!("{by}/new"), "1", |found| is_number(found, 1));
    check.is(&format!("{by}/time_ns"), "a time", Value::is_u64);
    check.is(
        &format!("{by}/before_ms"),
        "a few seconds at most",
        |found| found.as_u64().is_some_and(|found| found < 60_000),
    );
    check.done("verdict")?;
    apply_and_see(fix::primary(&verdict)?, &seed, flow, &tracer)?;
    let refused = seed.refused()?;
    let finished = lab.finish(tracer)?;
    let blamed = finished.blamed(CAUSE, &seed.node)?;
    ensure!(
        blamed == refused,
        "{blamed} drops blamed, but the kernel refused {refused}"
    );
    Ok(())
}

fn written(tracer: &Tracer, seed: &Seed, writer: u32) -> Result<()> {
    let ours = |line: &Value| line["type"] == "sysctl_write" && line["process"]["pid"] == writer;
    let line = tracer
        .wait(SLOW / 3, ours)
        .context("no sysctl_write line of our process")?;
    let mut check = Check::new(&line.value);
    check
        .any("/netns/inum", &[seed.node.inum().into()])
        .eq("/process/comm", WRITER);
    check.is("/key", "the device's key", is_key);
    check.is("/old", "0", |found| is_number(found, 0));
    check.is("/new", "1", |found| is_number(found, 1));
    check.done("sysctl_write")
}

fn is_key(found: &Value) -> bool {
    let slashed = format!("net/ipv4/conf/{LXC}/rp_filter");
    found
        .as_str()
        .is_some_and(|found| found == key(LXC) || found == slashed)
}

fn is_number(found: &Value, wanted: u64) -> bool {
    found == wanted || found.as_str() == Some(&wanted.to_string())
}

fn spoofed_outside(lab: &Lab) -> Result<()> {
    let seed = Seed::build(&Config {
        outside: 1,
        ..Config::HEALTHY
    })?;
    let tracer = lab.explain(Some(&seed.node), &[])?;
    let flow = Flow::ForgedFromWorld;
    ensure!(
        !flow.attempt(&seed)?,
        "the network is wrong: the packet arrived"
    );
    ensure!(
        seed.refused()? == 1,
        "the network is wrong: the kernel refused nothing"
    );
    let verdict = lab.verdict(&tracer, &flow.tuple())?;
    let mut check = Check::new(&verdict);
    check
        .eq("/cause", CAUSE)
        .eq("/facts/kind", "strict_mismatch");
    check.eq("/facts/spoof_suspected", true);
    check.is("/drop/packet", "the packet sent", |packet| {
        packet_differences(packet, &flow.tuple()).is_empty()
    });
    check
        .eq("/facts/effective/value", 1)
        .eq("/facts/effective/winning_key", key(OUTSIDE));
    check.eq("/facts/device/name", OUTSIDE);
    check.eq("/facts/device/ipv4", vec![format!("{NODE_OUTSIDE_IP}/24")]);
    check.eq("/facts/reverse_route/dev", CILIUM_HOST);
    check.mentions(
        "/summary",
        &["spoof", "forged", "did its job", "did what it is for"],
    );
    check.mentions("/summary", &[POD_IP]);
    check.is(
        "/fixes",
        "advice that leaves the filter on",
        leaves_filter_on,
    );
    check.done("verdict")?;
    let finished = lab.finish(tracer)?;
    ensure!(
        finished.blamed(CAUSE, &seed.node)? == 1,
        "one drop, but the summary blames another number"
    );
    Ok(())
}

fn leaves_filter_on(fixes: &Value) -> bool {
    let Some(fixes) = fixes.as_array() else {
        return false;
    };
    fixes.iter().all(|fix| {
        let all: String = format!("{}{}", fix["commands"], fix["file"]).replace([' ', '\t'], "");
        !["rp_filter=0", "rp_filter=2"]
            .iter()
            .any(|setting| all.contains(setting))
    })
}
