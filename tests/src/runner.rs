//! Runs scenarios one after another and tells what became of each.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::lab::{Lab, Skip};
use crate::netns;
use crate::results::{Entry, Outcome, Results, base64};
use crate::say;
use crate::scenarios::{self, Scenario, each_kernel};

/// What to run and where results go.
#[derive(Debug, Args)]
pub struct Options {
    /// The dropwatch binary to test
    #[arg(long, value_name = "PATH")]
    dropwatch: PathBuf,
    /// Write results to this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Keep captures and outputs, one folder per scenario
    #[arg(long, value_name = "DIR")]
    artefacts: Option<PathBuf>,
    /// Write captures and outputs into the results file
    #[arg(long, requires = "results")]
    artefacts_to_results: bool,
    /// Go on after a failure (the default; `--keep-going=false` stops)
    #[arg(long, value_name = "BOOL", default_value_t = true, num_args = 0..=1,
          default_missing_value = "true", action = clap::ArgAction::Set)]
    keep_going: bool,
    /// Only what is played on each kernel
    #[arg(long)]
    each_kernel: bool,
    /// Names of scenarios, or beginnings of names with a trailing `*`; all when empty
    names: Vec<String>,
}

/// Runs what was asked for; `false` when something failed.
pub fn run(options: &Options) -> Result<bool> {
    netns::require_root()?;
    let removed = netns::remove_leftovers()?;
    if removed > 0 {
        eprintln!("removed {removed} network namespaces of runs that are gone");
    }
    let dropwatch = fs::canonicalize(&options.dropwatch)
        .with_context(|| format!("no dropwatch at {}", options.dropwatch.display()))?;
    let mut chosen = choose(&options.names)?;
    if options.each_kernel {
        chosen.retain(|scenario| each_kernel::has(scenario));
    }
    ensure!(
        !chosen.is_empty(),
        "none of the named scenarios is played on each kernel"
    );
    let mut results = Results::open(options.results.as_deref())?;
    let scratch = std::env::temp_dir().join(format!("dropwatch-tests-{}", std::process::id()));
    let base = options.artefacts.as_ref().unwrap_or(&scratch);
    let mut counts = [0_usize; 3];
    for scenario in chosen {
        let folder = base.join(scenario.name);
        let lab = Lab::new(&dropwatch, &folder)?;
        let outcome = one(scenario, &lab, &mut results)?;
        counts[outcome as usize] += 1;
        if options.artefacts_to_results {
            send_artefacts(scenario, &folder, &mut results)?;
        }
        if outcome == Outcome::Fail && !options.keep_going {
            break;
        }
    }
    if options.artefacts.is_none() {
        let _ = fs::remove_dir_all(&scratch);
    }
    let [pass, fail, skip] = counts;
    results.write(&Entry::End { pass, fail, skip })?;
    say::line(format_args!("{pass} passed, {fail} failed, {skip} skipped"));
    Ok(fail == 0)
}

/// Lists the scenarios.
pub fn list() {
    for scenario in scenarios::all() {
        say::line(format_args!(
            "{:<24} {:<9} {}",
            scenario.name,
            scenario.kind.name(),
            scenario.about
        ));
    }
}

fn one(scenario: &Scenario, lab: &Lab, results: &mut Results) -> Result<Outcome> {
    let begun = Instant::now();
    let result = (scenario.run)(lab);
    let seconds = begun.elapsed().as_secs_f64();
    let (outcome, detail) = match result {
        Ok(()) => (Outcome::Pass, String::new()),
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(skip) => (Outcome::Skip, skip.to_string()),
            None => (Outcome::Fail, failure(&error, lab)),
        },
    };
    let word = match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "FAIL",
        Outcome::Skip => "skip",
    };
    say::line(format_args!(
        "{word} {:<24} {seconds:6.2} s  {}",
        scenario.name,
        detail.replace('\n', "\n     ")
    ));
    results.write(&Entry::Result {
        scenario: scenario.name,
        group: scenarios::group(scenario),
        kind: scenario.kind.name(),
        outcome,
        seconds: (seconds * 1000.0).round() / 1000.0,
        detail: &detail,
        dropwatch_exit: lab.exit_code(),
    })?;
    Ok(outcome)
}

fn failure(error: &anyhow::Error, lab: &Lab) -> String {
    let mut detail = format!("{error:#}");
    let tail = lab.stderr_tail();
    if !tail.is_empty() {
        detail.push_str("\n  dropwatch said:\n    ");
        detail.push_str(&tail.replace('\n', "\n    "));
    }
    detail
}

fn choose(names: &[String]) -> Result<Vec<&'static Scenario>> {
    let mut chosen: Vec<&Scenario> = scenarios::all().collect();
    if names.is_empty() {
        return Ok(chosen);
    }
    let matches = |scenario: &Scenario, name: &str| match name.strip_suffix('*') {
        Some(beginning) => scenario.name.starts_with(beginning),
        None => scenario.name == name,
    };
    for name in names {
        let known = scenarios::all().any(|scenario| matches(scenario, name));
        ensure!(known, "no scenario `{name}`; see `dropwatch-tests list`");
    }
    chosen.retain(|scenario| names.iter().any(|name| matches(scenario, name)));
    Ok(chosen)
}

fn send_artefacts(scenario: &Scenario, folder: &Path, results: &mut Results) -> Result<()> {
    for name in [
        "capture.jsonl",
        "live.jsonl",
        "replay.jsonl",
        "stderr.txt",
        "doctor.json",
    ] {
        let Ok(bytes) = fs::read(folder.join(name)) else {
            continue;
        };
        let data = base64(&bytes);
        results.write(&Entry::Artefact {
            scenario: scenario.name,
            name,
            data,
        })?;
    }
    Ok(())
}
