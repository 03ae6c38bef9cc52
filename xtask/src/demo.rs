//! `cargo xtask demo`: shows a cause with real traffic, and its cure.
//!
//! It runs on this machine, or in a virtual one where this kernel lacks what the cause is made of.
//! Limits: on this machine it needs root for that one step, and takes it by sudo if it has to;
//! everything happens in network namespaces of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::dist;
use crate::setup::{self, Group};
use crate::{sh, vm};

/// The cause that is shown when none is named.
pub const DEFAULT: &str = "rp_filter";
/// All that can be shown.
pub const CAUSES: [&str; 4] = [DEFAULT, "snat_race", "nfqueue_mark", "ipvs_conntrack"];

/// What a cause needs of a kernel, and what it is called.
type Need = (fn() -> bool, &'static str);

const FUNCTION_HOOKS: Need = (has_function_hooks, "function hooks (kprobes)");
const IPVS: Need = (has_ipvs, "IPVS");

/// The task.
pub fn task(cause: &str) -> Result<()> {
    if let Some(lacking) = first_lacking(needs(cause)) {
        sh::say(format!(
            "this kernel has no {lacking}, without which {cause} cannot be shown: taking a virtual \
             machine, which takes a minute"
        ));
        return vm::show(format!(
            "exec dropwatch-tests demo {cause} --dropwatch /usr/bin/dropwatch"
        ));
    }
    setup::ensure(&[Group::Scenarios])?;
    let dist = dist::build()?;
    let mut command = if sh::is_root() {
        Command::new(&dist.tests)
    } else if let Some(sudo) = sh::which("sudo") {
        sh::say("the demo makes network namespaces and loads eBPF: running it through sudo");
        let mut command = Command::new(sudo);
        command.arg(&dist.tests);
        command
    } else {
        bail!("the demo makes network namespaces and loads eBPF: run it as root");
    };
    sh::run(
        command
            .arg("demo")
            .arg(cause)
            .arg("--dropwatch")
            .arg(&dist.dropwatch),
    )
}

fn needs(cause: &str) -> &'static [Need] {
    match cause {
        "nfqueue_mark" => &[FUNCTION_HOOKS],
        "ipvs_conntrack" => &[IPVS, FUNCTION_HOOKS],
        _ => &[],
    }
}

fn first_lacking(needs: &[Need]) -> Option<&'static str> {
    let lacking = needs.iter().find(|(has, _)| !has())?;
    Some(lacking.1)
}

/// Kernels with kprobes take other function hooks too.
fn has_function_hooks() -> bool {
    Path::new("/sys/bus/event_source/devices/kprobe").exists()
}

/// Whether IPVS is there or can be loaded.
fn has_ipvs() -> bool {
    let loadable = || {
        let mut command = Command::new(sh::which("modprobe")?);
        command.args(["-q", "-n", "ip_vs"]).stderr(Stdio::null());
        command.status().ok()
    };
    Path::new("/proc/net/ip_vs").exists() || loadable().is_some_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::{CAUSES, first_lacking, needs};

    #[test]
    fn what_is_lacking_is_named() {
        assert_eq!(first_lacking(&[]), None);
        let both: [super::Need; 2] = [(|| true, "this"), (|| false, "that")];
        assert_eq!(first_lacking(&both), Some("that"));
        assert_eq!(first_lacking(&both[..1]), None);
    }

    #[test]
    fn every_cause_says_what_it_needs() {
        let counts = CAUSES.map(|cause| needs(cause).len());
        assert_eq!(counts, [0, 0, 1, 2]);
    }
}
