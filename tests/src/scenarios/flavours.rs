//! Every other way of attaching gives the same verdicts: each fallback plays blamed cases and decoys.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::hooks::{load_modules, status};
use super::rp_filter::case::Case;
use super::{Kind, Scenario, ipvs_conntrack, martians, nfqueue_mark, rp_filter, snat_race};
use crate::expect::Check;
use crate::lab::{Lab, Skip};
use crate::traffic::nat::Proto;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "forced_fentry",
        kind: Kind::Scenario,
        about: "refusals by fentry of ip_handle_martian_source",
        run: |lab| forced(lab, "refusal=fentry", sources),
    },
    Scenario {
        name: "forced_kprobe",
        kind: Kind::Scenario,
        about: "refusals by kprobe of ip_handle_martian_source",
        run: |lab| forced(lab, "refusal=kprobe", sources),
    },
    Scenario {
        name: "forced_fexit",
        kind: Kind::Scenario,
        about: "the check that refused by fexit of ip_route_input_noref",
        run: |lab| forced(lab, "verdict=fexit", returned),
    },
    Scenario {
        name: "forced_kretprobe",
        kind: Kind::Scenario,
        about: "the same by kretprobe",
        run: |lab| forced(lab, "refusal=kprobe,verdict=kretprobe", returned),
    },
    Scenario {
        name: "forced_raw",
        kind: Kind::Scenario,
        about: "raw tracepoints: every read by helper",
        run: |lab| forced(lab, "drop=raw_tp,lookup=raw_tp", sources),
    },
    Scenario {
        name: "forced_clash_kprobe",
        kind: Kind::Scenario,
        about: "clashes of conntrack entries by kprobe",
        run: |lab| forced(lab, "clash=kprobe", clash),
    },
    Scenario {
        name: "forced_queue_kprobe",
        kind: Kind::Scenario,
        about: "the way through a queue by kprobes",
        run: |lab| {
            let flavours = "queue=kprobe,queue_end=kretprobe,queue_entry=kprobe,reinject=kprobe";
            forced(lab, flavours, queue)
        },
    },
    Scenario {
        name: "forced_ipvs_kprobe",
        kind: Kind::Scenario,
        about: "IPVS by kprobes",
        run: |lab| {
            let flavours = "ipvs_xmit=kprobe,ipvs_xmit6=kprobe,ipvs_response=kprobe";
            forced(lab, flavours, ipvs)
        },
    },
];

/// Plays with some flavours only.
fn forced(lab: &Lab, flavours: &str, play: fn(&Lab) -> Result<()>) -> Result<()> {
    load_modules();
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
    play(&lab)
}

fn sources(lab: &Lab) -> Result<()> {
    rp_filter::case::play(lab, &Case::STRICT)?;
    martians::own(lab, 1)?;
    martians::loopback(lab, 1)
}

/// As drop reasons say as much where they exist, what the function returned is looked at by itself. From 6.13 on it
/// returns a reason instead of an error: then there is nothing for the program to tell.
fn returned(lab: &Lab) -> Result<()> {
    sources(lab)?;
    let (_seed, tracer, verdict) = rp_filter::case::until_verdict(lab, &Case::STRICT)?;
    let (value, meaning) = if kernel_is_at_least(6, 13)? {
        (Value::Null, Value::Null)
    } else {
        ((-libc::EXDEV).into(), "reverse_path".into())
    };
    let mut check = Check::new(&verdict);
    check
        .eq("/drop/source_check/returned/value", value)
        .eq("/drop/source_check/returned/verdict", meaning);
    check.done("verdict")?;
    lab.finish(tracer).map(drop)
}

fn kernel_is_at_least(major: u32, minor: u32) -> Result<bool> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']).map(str::parse);
    let mut next = || {
        numbers
            .next()
            .context("a kernel release")?
            .context(release.clone())
    };
    let running: (u32, u32) = (next()?, next()?);
    Ok(running >= (major, minor))
}

fn clash(lab: &Lab) -> Result<()> {
    snat_race::case::play_fixed(lab, &snat_race::FIXED_UDP, Proto::Udp)
}

fn queue(lab: &Lab) -> Result<()> {
    nfqueue_mark::case::play(lab, &nfqueue_mark::cases::SEED)?;
    nfqueue_mark::decoys::no_listener(lab)
}

fn ipvs(lab: &Lab) -> Result<()> {
    ipvs_conntrack::case::play(lab, &ipvs_conntrack::INCIDENT)
}
