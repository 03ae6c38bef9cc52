//! The command: parses, runs, and turns errors into one line and an exit code.

use std::{io, process::ExitCode};

use clap::Parser as _;
use dropwatch::{
    app,
    cli::{Cli, Command},
    config::Config,
    exit, replay,
};

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Replay(args)) => replay::run(&args),
        None => Config::new(cli.live).and_then(|config| app::run(&config)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads our output has enough: `dropwatch | head`.
        Err(error) if broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dropwatch: {}", exit::one_line(&error));
            ExitCode::from(exit::code(&error))
        }
    }
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|e| e.downcast_ref::<io::Error>())
        .any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
