//! `cargo xtask lint`: format, lints and documentation of all crates, the eBPF one included.
//!
//! Limits: it reports, it does not repair.

use anyhow::{Result, anyhow};

use crate::setup::{self, Group};
use crate::sh;
use crate::toolchain::{Action, PACKAGE, Toolchain};

/// The task: all of it.
pub fn task() -> Result<()> {
    setup::ensure(&[Group::Build, Group::Lint])?;
    fmt()?;
    clippy()?;
    clippy_ebpf()?;
    doc()
}

/// Whether the source is formatted.
pub fn fmt() -> Result<()> {
    sh::run(sh::cargo().args(["fmt", "--all", "--check"]))
}

/// Lints of what runs in user space, tests included.
pub fn clippy() -> Result<()> {
    sh::run(
        sh::cargo()
            .args(["clippy", "--quiet", "--workspace", "--exclude", PACKAGE])
            .args(["--all-targets", "--", "--deny", "warnings"]),
    )
}

/// Lints of what runs in the kernel, for its own target.
pub fn clippy_ebpf() -> Result<()> {
    let toolchain = Toolchain::detect().map_err(|e| anyhow!(e))?;
    let target_dir = sh::target_dir().join("ebpf");
    let arch = std::env::consts::ARCH;
    sh::run(
        toolchain
            .command(Action::Clippy, sh::root(), &target_dir, arch)
            .env_remove("CARGO_TERM_QUIET"),
    )
}

/// Whether the documentation is complete and its links lead somewhere.
pub fn doc() -> Result<()> {
    sh::run(sh::cargo().env("RUSTDOCFLAGS", "--deny warnings").args([
        "doc",
        "--quiet",
        "--no-deps",
        "--workspace",
        "--exclude",
        PACKAGE,
    ]))
}
