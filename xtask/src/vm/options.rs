//! What can be asked of `cargo xtask vm`, by people and by other tasks.

use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

use clap::{Args, ValueEnum};

use super::KERNEL;
use super::qemu::Show;

/// Options of the task.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The kernel to run, like 6.12 or 6.12-arm64; may be repeated.
    #[arg(long = "kernel", default_value = KERNEL, value_name = "NAME")]
    pub(super) kernels: Vec<String>,
    /// Run all kernels of this architecture: everything on 6.12, a choice of scenarios on 5.10, 6.1, 6.18, 7.2.
    #[arg(long, conflicts_with_all = ["kernels", "exec", "scenarios", "each_kernel"])]
    pub(super) all: bool,
    /// With --all: all scenarios on all kernels, which takes an hour.
    #[arg(long, requires = "all")]
    pub(super) everything: bool,
    /// With --all: write what was found into docs/kernels.md.
    #[arg(long, requires = "all", conflicts_with = "everything")]
    pub(super) bless: bool,
    /// Only the scenarios that are played on each kernel.
    #[arg(long, conflicts_with = "exec")]
    pub(super) each_kernel: bool,
    /// How many machines run at the same time; by default, as many as this one has processors.
    #[arg(long, value_name = "N", default_value_t = processors())]
    pub(super) jobs: usize,
    /// How the machine is executed.
    #[arg(long, value_enum, default_value_t)]
    pub(super) accel: Choice,
    /// Run this shell command instead of scenarios.
    #[arg(long, value_name = "COMMAND", conflicts_with = "scenarios")]
    pub(super) exec: Option<String>,
    /// With --exec: leave the project's binaries out, and do not build them.
    #[arg(long, requires = "exec")]
    pub(super) bare: bool,
    /// A file or folder to put into /data; may be repeated.
    #[arg(long = "file", value_name = "PATH")]
    pub(super) files: Vec<PathBuf>,
    /// Seconds that the whole run may take.
    #[arg(long, default_value_t = 1500, value_name = "SECONDS")]
    pub(super) limit: u64,
    /// Seconds that the machine may be silent.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    pub(super) silence: u64,
    /// What of the console is shown.
    #[arg(skip = Show::All)]
    pub(super) show: Show,
    /// Scenarios to run; all of them if none is named.
    pub(super) scenarios: Vec<String>,
}

/// How to execute a machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Choice {
    /// KVM if it really works, emulation otherwise.
    #[default]
    Auto,
    /// KVM.
    Kvm,
    /// Emulation.
    Tcg,
}

impl Options {
    /// Runs these scenarios.
    pub fn scenarios(names: &[&str]) -> Self {
        Self {
            scenarios: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Self::default()
        }
    }

    /// Runs a command without the project's binaries.
    pub fn command(command: String) -> Self {
        Self {
            exec: Some(command),
            bare: true,
            ..Self::default()
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kernels: vec![KERNEL.to_owned()],
            all: false,
            bless: false,
            everything: false,
            each_kernel: false,
            jobs: processors(),
            accel: Choice::Auto,
            exec: None,
            bare: false,
            files: Vec::new(),
            limit: 1500,
            silence: 120,
            show: Show::All,
            scenarios: Vec::new(),
        }
    }
}

/// How many processors this machine has.
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}
