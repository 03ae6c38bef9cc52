//! `cargo xtask demo`: shows a cause with real traffic on this machine, and its cure.
//!
//! Limits: it needs root for that one step, and takes it by sudo if it has to; everything happens in
//! network namespaces of its own.

use std::process::Command;

use anyhow::{Result, bail};

use crate::dist;
use crate::setup::{self, Group};
use crate::sh;

/// The cause that is shown when none is named.
pub const DEFAULT: &str = "rp_filter";

/// The task.
pub fn task(cause: &str) -> Result<()> {
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
