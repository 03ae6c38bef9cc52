//! `cargo xtask record`: makes the scenarios of this kernel and of a virtual one replay fixtures.
//!
//! Every scenario that names a cause, its twins and decoys are played once, and the capture of each goes to
//! `tests/fixtures/replay/KERNEL/`; of a kernel without drop reasons, a choice. Then the output is blessed; what changed is reviewed like code.
//! Limits: captures of over [`MOST_BYTES`] are left out: what they show, smaller ones show too.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::dist;
use crate::results::Verdict;
use crate::setup::{self, Group};
use crate::{sh, vm};

/// Largest capture that is kept.
const MOST_BYTES: u64 = 2 << 20;

/// Scenarios whose captures say nothing that others do not: other ways of attaching, misuse, loss.
const LEFT_OUT: &[&str] = &["forced_", "hooks_", "lookup_", "ipvs_judged"];

/// A kernel without drop reasons and without BTF of modules, and what of it is kept: where the evidence is another.
const OLD: &str = "5.10";
const OF_OLD: &[&str] = &[
    "strict_local",
    "loose_no_address",
    "decoy_iptables_drop",
    "decoy_nft_in_chain",
    "decoy_closed_tcp",
    "decoy_martian_own_on",
    "snat_fixed_port_udp",
    "nfqueue_seed_legacy",
    "nfqueue_nft_drop",
    "decoy_queue_next_no_listener",
    "ipvs_redirect_tcp",
    "twin_ipvs_conntrack",
];

/// Where what is of the running kernel goes, which must be one of those without function hooks.
pub const LOCAL: &str = "6.18-tracepoints";

/// The task.
pub fn task() -> Result<()> {
    must_be_without_function_hooks()?;
    setup::ensure(&[Group::Scenarios])?;
    let dist = dist::build()?;
    let folder = sh::target_dir().join("record");
    if folder.is_dir() {
        fs::remove_dir_all(&folder)?;
    }
    sh::run(
        Command::new(&dist.tests)
            .arg("run")
            .arg("--dropwatch")
            .arg(&dist.dropwatch)
            .arg("--artefacts")
            .arg(&folder),
    )?;
    keep(&folder, LOCAL)?;
    let few = vm::Options::scenarios(OF_OLD);
    for (kernel, options) in [(vm::KERNEL, vm::Options::default()), (OLD, few)] {
        let run = vm::run(kernel, &options)?;
        ensure!(
            run.outcomes.iter().all(|o| o.outcome != Verdict::Fail),
            "scenarios fail on {kernel}: nothing was taken from there"
        );
        let artefacts = sh::target_dir().join("vm").join(kernel).join("artefacts");
        keep(&artefacts, kernel)?;
    }
    sh::run(
        sh::cargo()
            .args(["test", "-p", "dropwatch-tests", "--test", "replay"])
            .env("BLESS", "1"),
    )
}

/// What the running kernel shows is kept as that of a kernel with tracepoints only: another would spoil it.
pub fn must_be_without_function_hooks() -> Result<()> {
    ensure!(
        !Path::new("/sys/bus/event_source/devices/kprobe").exists(),
        "the running kernel has kprobes: what is kept as {LOCAL} must come from one with tracepoints only"
    );
    Ok(())
}

/// Takes the captures in place of those that were there.
fn keep(artefacts: &Path, kernel: &str) -> Result<()> {
    let fixtures = sh::root().join("tests/fixtures/replay").join(kernel);
    if fixtures.is_dir() {
        fs::remove_dir_all(&fixtures)?;
    }
    fs::create_dir_all(&fixtures)?;
    let mut kept = 0;
    for entry in fs::read_dir(artefacts)? {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let capture = folder.join("capture.jsonl");
        let wanted = !LEFT_OUT.iter().any(|begin| name.starts_with(begin));
        // A run that was killed, or that only was there to be asked something, leaves none or an empty one.
        let bytes = fs::metadata(&capture).map_or(0, |file| file.len());
        if !wanted || bytes == 0 {
            continue;
        }
        if bytes > MOST_BYTES {
            sh::say(format!("{kernel} {name}: left out, too large"));
            continue;
        }
        fs::copy(&capture, fixtures.join(format!("{name}.jsonl")))?;
        kept += 1;
    }
    sh::say(format!("{kernel}: {kept} captures kept"));
    Ok(())
}
