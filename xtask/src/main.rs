//! The project's own tasks: `cargo xtask setup`, `test`, `demo`, `vm` and others.
//!
//! One file per task. Every task first makes sure that what it needs is there. Limits: tasks build,
//! run and report; what is tested, and how, is known by the packages themselves.

mod bench;
mod demo;
mod dist;
mod fuzz;
mod lint;
mod record;
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
mod types;
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
    Build {
        /// Architecture that they are to run on.
        #[arg(long, default_value = std::env::consts::ARCH, value_parser = ["x86_64", "aarch64"])]
        arch: String,
    },
    /// Check format, lints and documentation of all crates.
    Lint,
    /// Run all tests, as CI does.
    Test(test::Options),
    /// Show a cause with real traffic, and its cure.
    Demo {
        /// The cause to show.
        #[arg(default_value = demo::DEFAULT, value_parser = demo::CAUSES)]
        cause: String,
    },
    /// Run scenarios in a virtual machine with a real kernel.
    Vm(vm::Options),
    /// Record the replay fixtures anew, and bless what they give.
    Record,
    /// Take the types and symbols of all kernels, for the tests that need no kernel.
    Types,
    /// Feed what reads input of others with anything.
    Fuzz(fuzz::Options),
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
        Task::Build { arch } => dist::task(&arch).map(done),
        Task::Lint => lint::task().map(done),
        Task::Test(options) => test::task(&options),
        Task::Demo { cause } => demo::task(&cause).map(done),
        Task::Vm(options) => vm::task(&options).map(done),
        Task::Record => record::task().map(done),
        Task::Types => types::task().map(done),
        Task::Fuzz(options) => fuzz::task(&options).map(done),
        Task::Bench { args } => bench::task(&args).map(done),
    };
    result.unwrap_or_else(|error| {
        sh::say(format!("{error:#}"));
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// README and the developers' page name no task or option that does not exist.
    #[test]
    fn documented_tasks_are_accepted() {
        let mut found = 0;
        for page in ["README.md", "docs/developing.md"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("..")
                .join(page);
            let text = std::fs::read_to_string(&path).expect(page);
            for line in text.lines().filter(|l| l.starts_with("cargo xtask ")) {
                // Optional parts, alternatives and comments are for people.
                let command = line.split(['[', '#']).next().unwrap_or_default();
                let command = command.split("  ").next().unwrap_or_default();
                let words = command.split_whitespace().skip(1);
                if let Err(e) = Cli::try_parse_from(words) {
                    panic!("{page}: {command}: {e}");
                }
                found += 1;
            }
        }
        assert!(found >= 8, "only {found} lines found");
    }
}
