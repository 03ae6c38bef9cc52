//! The command: parses, runs, and turns errors into one line and an exit code.

use std::{io, process::ExitCode};

use clap::Parser as _;
use dropwatch::{
    app,
    cli::{Cli, Command},
    config::Config,
    doctor, exit, replay,
};

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"))
        .format_timestamp_millis()
        .init();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refused(&error),
    };
    let done = |()| 0;
    let result = match cli.command {
        Some(Command::Replay(args)) => replay::run(&args).map(done),
        Some(Command::Doctor(args)) => doctor::run(&args),
        None => Config::new(cli.live).and_then(|config| app::run(&config).map(done)),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        // Whoever reads our output has enough: `dropwatch | head`.
        Err(error) if broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dropwatch: {}", exit::one_line(&error));
            ExitCode::from(exit::code(&error))
        }
    }
}

/// Help and version as clap prints them; a wrong command line as one line.
fn refused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Whoever asked for help and went away has got it.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.to_string();
    let what: Vec<_> = text
        .lines()
        .take_while(|l| !l.trim().is_empty())
        .map(str::trim)
        .collect();
    let what = what.join(" ");
    eprintln!(
        "dropwatch: {}; see dropwatch --help",
        what.trim_start_matches("error: ")
    );
    ExitCode::from(exit::Failure::Usage as u8)
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|e| e.downcast_ref::<io::Error>())
        .any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
