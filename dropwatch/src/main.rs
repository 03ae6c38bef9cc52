//! The command: parses, runs, and turns errors into one line and an exit code.

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
};

use clap::{
    CommandFactory as _, Parser as _,
    error::{ContextKind, ContextValue},
};
use dropwatch::{
    app,
    cli::{Cli, Command},
    config::Config,
    doctor, exit,
    output::sanitize,
    replay,
};

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"))
        .format(|out, record| {
            let style = out.default_level_style(record.level());
            let (time, level) = (out.timestamp_millis(), record.level());
            write!(out, "[{time} {style}{level}{style:#} {}] ", record.target())?;
            let text = record.args().to_string();
            if level <= log::Level::Info {
                return writeln!(out, "{}", sanitize::one_line(&text));
            }
            // What the verifier says has many lines.
            for line in text.lines() {
                writeln!(out, "{}", sanitize::sanitize(line))?;
            }
            Ok(())
        })
        .init();
    // Only to have a handler: writing to a file that may not grow is then an error like any other.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
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
            say(&exit::one_line(&error));
            ExitCode::from(exit::code(&error))
        }
    }
}

/// One line on stderr, if there is one: whoever started dropwatch may be gone, with the terminal.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "dropwatch: {line}");
}

/// Help and version as clap prints them; a wrong command line as one line.
fn refused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Whoever asked for help and went away has got it.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    say(&format!("{}; see dropwatch --help", complaint(error)));
    ExitCode::from(exit::Failure::Usage as u8)
}

/// What is wrong, and what may have been meant; usage and the rest of what clap prints are left out.
fn complaint(error: &clap::Error) -> String {
    if let Some(option) = meant_option(error) {
        return format!("'{option}' is no subcommand; an option of that name exists: '--{option}'");
    }
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n");
    let joined = |paragraph: &str| {
        let lines: Vec<_> = paragraph.lines().map(str::trim).collect();
        sanitize::one_line(&lines.join(" "))
    };
    let what = joined(paragraphs.next().unwrap_or_default());
    let mut complaint = what.trim_start_matches("error: ").to_owned();
    for tip in paragraphs.filter_map(|paragraph| paragraph.trim_start().strip_prefix("tip: ")) {
        complaint.push_str("; ");
        complaint.push_str(&joined(tip));
    }
    complaint
}

/// The option whose name was given as a subcommand.
fn meant_option(error: &clap::Error) -> Option<&str> {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let command = Cli::command();
    let mut options = command.get_arguments().filter_map(clap::Arg::get_long);
    options.any(|long| long == name).then_some(name)
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|e| e.downcast_ref::<io::Error>())
        .any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint_about(arguments: &[&str]) -> String {
        let arguments = [&["dropwatch"], arguments].concat();
        let error = Cli::try_parse_from(arguments).expect_err("a typo");
        complaint(&error)
    }

    #[test]
    fn what_may_have_been_meant_is_told() {
        for (typo, meant) in [
            (&["--explian"][..], "'--explain'"),
            (&["--cause", "rp_fliter"], "'rp_filter'"),
            (&["--output", "jsno"], "'json'"),
            (&["reply", "x"], "'replay'"),
        ] {
            let said = complaint_about(typo);
            assert!(said.contains(&format!("exists: {meant}")), "{said}");
            assert!(!said.contains('\n') && !said.contains("Usage"), "{said}");
        }
        let said = complaint_about(&["explain"]);
        assert!(said.ends_with("exists: '--explain'"), "{said}");
        let said = complaint_about(&["--dev\x1b[31m"]);
        assert!(!said.contains('\x1b'), "{said}");
    }
}
