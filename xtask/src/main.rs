//! The project's own tasks: `cargo xtask setup`, `test`, `demo`, `vm` and others.
//!
//! One file per task. Every task first makes sure that what it needs is there. Limits: tasks build,
//! run and report; what is tested, and how, is known by the packages themselves.

mod bench;
mod demo;
mod dist;
mod lint;
mod results;
mod setup;
mod sh;
mod skips;
mod test;
#[expect(
    dead_code,
    reason = "the build script of dropwatch, which shares the file, uses the rest"
)]
mod toolchain;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own tasks.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find or install what building and testing need.
    Setup {
        /// Only report what is missing.
        #[arg(long)]
        check: bool,
        /// Only these groups.
        #[arg(value_enum)]
        groups: Vec<setup::Group>,
    },
    /// Build the static binaries, as they are shipped.
    Build,
    /// Check format, lints and documentation of all crates.
    Lint,
    /// Run all tests, as CI does.
    Test(test::Options),
    /// Show a cause with real traffic on this machine, and its cure.
    Demo {
        /// The cause to show.
        #[arg(default_value = "rp_filter")]
        cause: String,
    },
    /// Run scenarios in a virtual machine with a real kernel.
    Vm(vm::Options),
    /// Measure what tracing costs.
    Bench {
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = |()| ExitCode::SUCCESS;
    let result = match Cli::parse().task {
        Task::Setup { check, groups } => setup::task(&groups, check).map(done),
        Task::Build => dist::task().map(done),
        Task::Lint => lint::task().map(done),
        Task::Test(options) => test::task(&options),
        Task::Demo { cause } => demo::task(&cause).map(done),
        Task::Vm(options) => vm::task(&options).map(done),
        Task::Bench { args } => bench::task(&args).map(done),
    };
    result.unwrap_or_else(|error| {
        sh::say(format!("{error:#}"));
        ExitCode::FAILURE
    })
}
