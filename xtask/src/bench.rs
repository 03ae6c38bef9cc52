//! `cargo xtask bench`: measures what tracing costs, with the shipped binary.
//!
//! Limits: on the running kernel only; the measuring itself is done by `dropwatch-tests bench`.

use std::process::Command;

use anyhow::Result;

use crate::dist;
use crate::setup::{self, Group};
use crate::sh;

/// The task; `args` go to the benchmark.
pub fn task(args: &[String]) -> Result<()> {
    setup::ensure(&[Group::Scenarios])?;
    let dist = dist::build()?;
    dist.tell()?;
    sh::run(
        Command::new(&dist.tests)
            .arg("bench")
            .arg("--dropwatch")
            .arg(&dist.dropwatch)
            .args(args),
    )
}
