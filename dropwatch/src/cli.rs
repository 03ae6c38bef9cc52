//! What can be typed. Parsing does no work: see [`crate::config`] for the validated form.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::PossibleValuesParser};

use crate::attach::spec::PROBES;

/// Detailed records per kind of drop, CPU and epoch, where nobody says otherwise.
pub const BUDGET: u32 = 64;

/// Says why the kernel dropped a packet, with proof, and what to change.
#[derive(Clone, Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// Something else than a live session.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Options of a live session.
    #[command(flatten)]
    pub live: Live,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed while running, 2 wrong command line, 3 not permitted, \
    4 kernel not supported, 5 capture not readable, 6 (doctor) some cause cannot be judged here.";

/// Commands.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Judge a recorded capture again.
    Replay(Replay),
    /// Show what can be seen on this machine, how, and what to do about the rest. Changes nothing.
    Doctor(Doctor),
}

/// Options of a live session.
#[derive(Clone, Debug, Args)]
pub struct Live {
    /// Explain: one block per case, then counting lines. Without it, one line per drop.
    #[arg(short = 'e', long)]
    pub explain: bool,

    /// What to print.
    #[command(flatten)]
    pub output: OutputArgs,

    /// Only this network namespace: inode number, name under /run/netns, or path.
    #[arg(long, value_name = "NETNS")]
    pub netns: Option<String>,

    /// Only this device; a trailing * stands for any rest (`lxc*`).
    #[arg(long, value_name = "NAME")]
    pub dev: Option<String>,

    /// Stop after this many drops (with --explain: cases).
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Stop after this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub duration: Option<Duration>,

    /// Also write records and facts to this file, for `dropwatch replay`.
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,

    /// Create this file once everything is attached; removed at the end.
    #[arg(long, value_name = "PATH")]
    pub ready_file: Option<PathBuf>,

    /// Detailed records per kind of drop, CPU and 100 ms; the rest is only counted. 0 = no limit.
    #[arg(long, value_name = "N", default_value_t = BUDGET)]
    pub budget: u32,

    /// Size of the ring buffer in bytes: a power of two, at least 4096.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = ring_size)]
    pub ring_size: u32,

    /// Attach a probe in this way only (for tests): refusal=fentry|kprobe, drop=tp_btf|raw_tp, …
    #[arg(long, value_name = "PROBE=FLAVOUR", value_parser = forced, hide = true)]
    pub force: Vec<(String, String)>,
}

/// Options of `replay`.
#[derive(Clone, Debug, Args)]
pub struct Replay {
    /// A file written by --record; `-` is stdin.
    pub file: PathBuf,

    /// Explain: one block per case, then counting lines. Without it, one line per drop.
    #[arg(short = 'e', long)]
    pub explain: bool,

    /// What to print.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Options of `doctor`.
#[derive(Clone, Debug, Args)]
pub struct Doctor {
    /// Output format.
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value_t
    )]
    pub format: Format,

    /// Attach a probe in this way only (for tests), as in a session.
    #[arg(long, value_name = "PROBE=FLAVOUR", value_parser = forced, hide = true)]
    pub force: Vec<(String, String)>,
}

/// What to print.
#[derive(Clone, Debug, Args)]
pub struct OutputArgs {
    /// Output format.
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value_t
    )]
    pub format: Format,

    /// Only this cause (implies --explain); `none` for drops of no known cause.
    #[arg(long, value_name = "CAUSE", value_parser = causes())]
    pub cause: Option<String>,
}

/// Output formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// JSON lines, as described in docs/events.md.
    Json,
}

/// A time that has not passed already and that the clock can reach.
fn seconds(text: &str) -> Result<Duration, String> {
    let duration = text.parse().ok().filter(|seconds: &f64| *seconds > 0.0);
    let duration = duration.ok_or("a number of seconds above 0 is needed")?;
    Duration::try_from_secs_f64(duration)
        .ok()
        .filter(|duration| Instant::now().checked_add(*duration).is_some())
        .ok_or_else(|| "longer than the clock goes; without --duration there is no end".to_owned())
}

fn ring_size(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(value) if value.is_power_of_two() && (4096..=1 << 30).contains(&value) => Ok(value),
        _ => Err("a power of two from 4096 to 1073741824 is needed".into()),
    }
}

fn causes() -> PossibleValuesParser {
    PossibleValuesParser::new(crate::causes::ids().into_iter().chain(["none"]))
}

fn forced(text: &str) -> Result<(String, String), String> {
    let (name, flavour) = text.split_once('=').ok_or("PROBE=FLAVOUR is needed")?;
    let probe = PROBES.iter().find(|probe| probe.name == name);
    let probe = probe.ok_or_else(|| {
        let names: Vec<_> = PROBES.iter().map(|probe| probe.name).collect();
        format!("probes are {}", names.join(", "))
    })?;
    let mut flavours: Vec<_> = probe.variants.iter().map(|v| v.flavour.name()).collect();
    flavours.dedup();
    if !flavours.contains(&flavour) {
        return Err(format!("{name} can be attached by {}", flavours.join(", ")));
    }
    Ok((name.to_owned(), flavour.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_values_are_refused() {
        for bad in [
            &["dropwatch", "--ring-size", "5000"][..],
            &["dropwatch", "--duration", "-1"],
            &["dropwatch", "-c", "0"],
            &["dropwatch", "--cause", "gremlins"],
            &["dropwatch", "--force", "refusal"],
            &["dropwatch", "--force", "gremlins=kprobe"],
            &["dropwatch", "--force", "refusal=raw_tp"],
            &["dropwatch", "--explain", "replay", "x"],
        ] {
            assert!(Cli::try_parse_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ways_of_attaching_that_there_are_can_be_forced() {
        for good in ["refusal=kprobe", "drop=raw_tp", "verdict=kretprobe"] {
            assert!(
                Cli::try_parse_from(["dropwatch", "--force", good]).is_ok(),
                "{good}"
            );
        }
    }

    #[test]
    fn durations_that_no_clock_reaches_are_refused() {
        let parse = |text: &str| Cli::try_parse_from(["dropwatch", "--duration", text]);
        for bad in [
            "1e300",
            "99999999999999999999",
            "1e19",
            "inf",
            "nan",
            "NaN",
            "0",
            "-0",
            "-1",
            "-1e300",
            "",
            "1s",
        ] {
            let error = parse(bad).expect_err(bad);
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
        for (good, duration) in [
            ("0.5", Duration::from_millis(500)),
            ("1e9", Duration::from_secs(1_000_000_000)),
        ] {
            let cli = parse(good).expect("a duration");
            assert_eq!(cli.live.duration, Some(duration));
        }
    }
}
