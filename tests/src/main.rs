//! Scenarios for dropwatch: real packets, really dropped, and what the tracer must say about them.
//!
//! One static program that makes network namespaces, sends traffic, runs the `dropwatch` binary it
//! is given and checks its output. It runs on a host or in a bare VM, always as root. It knows
//! nothing of dropwatch's code, only its documented command line and JSON lines.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod demo;
mod exec;
mod expect;
mod fix;
mod helper;
mod lab;
mod netns;
mod results;
mod runner;
mod say;
mod scenarios;
mod topology;
mod tracer;
mod traffic;

#[derive(Debug, Parser)]
#[command(
    about = "Scenarios for dropwatch: real packets, really dropped",
    version
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the scenarios
    List,
    /// Run scenarios (all, or those named)
    Run(runner::Options),
    /// Show one incident from drop to cure
    Demo {
        /// Which: `rp_filter`, `snat_race`, `nfqueue_mark`, `ipvs_conntrack`
        #[arg(default_value = "rp_filter")]
        cause: String,
        /// The dropwatch binary
        #[arg(long, value_name = "PATH")]
        dropwatch: PathBuf,
    },
    /// Measure what tracing costs
    Bench(bench::Options),
    #[command(subcommand, hide = true)]
    Helper(helper::Role),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::List => {
            runner::list();
            Ok(true)
        }
        Command::Run(options) => runner::run(&options),
        Command::Demo { cause, dropwatch } => demo::run(&cause, &dropwatch),
        Command::Bench(options) => bench::run(&options).map(|()| true),
        Command::Helper(role) => helper::play(role).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("dropwatch-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}
