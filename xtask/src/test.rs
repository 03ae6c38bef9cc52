//! `cargo xtask test`: everything that CI checks.
//!
//! Format, lints, documentation, unit and replay tests, the scenarios on the running kernel with the
//! shipped binary, and the same in virtual machines with all kernels. Every skip is shown; one that is not listed in
//! `tests/allowed-skips.txt` counts as a failure.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::results::{Outcome, Results, Verdict};
use crate::setup::{self, Group};
use crate::skips::Allowed;
use crate::toolchain::PACKAGE;
use crate::{demo, dist, lint, sh, vm};

/// Options of the task.
#[derive(Debug, Args)]
pub struct Options {
    /// Leave the virtual machine out.
    #[arg(long)]
    no_vm: bool,
    /// How many virtual machines run at the same time.
    #[arg(long, value_name = "N", default_value_t = vm::processors())]
    jobs: usize,
    /// Only this step; may be repeated.
    #[arg(long, value_enum, value_name = "STEP")]
    only: Vec<Step>,
}

/// What is done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Source format.
    Fmt,
    /// Lints in user space.
    Clippy,
    /// Lints of the eBPF crate.
    ClippyEbpf,
    /// Documentation.
    Doc,
    /// Unit and replay tests.
    Unit,
    /// The shipped binaries.
    Build,
    /// Scenarios on the running kernel.
    Local,
    /// The demo that README begins with.
    Demo,
    /// Scenarios in virtual machines, with all kernels.
    Vm,
}

/// What came of a step.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
}

/// The task; its closing line stays the last one, so failure is told by the exit code alone.
pub fn task(options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    let is_wanted = |step: &Step| match options.only.as_slice() {
        [] => !(options.no_vm && *step == Step::Vm),
        only => only.contains(step),
    };
    let steps: Vec<Step> = Step::value_variants()
        .iter()
        .copied()
        .filter(is_wanted)
        .collect();
    setup::ensure(&groups(&steps))?;
    let allowed = Allowed::read()?;

    let mut table = Vec::new();
    for step in steps {
        let name = name(step);
        println!("== {name}");
        let begun = Instant::now();
        let tally = run(step, &allowed, options.jobs).unwrap_or_else(|error| Tally {
            failed: vec![format!("{error:#}")],
            ..Tally::default()
        });
        println!("== {name}: {:.1} s", begun.elapsed().as_secs_f64());
        table.push((name, begun.elapsed(), tally));
    }
    Ok(summary(&table, start.elapsed()))
}

/// What the steps need.
fn groups(steps: &[Step]) -> Vec<Group> {
    let mut groups = vec![Group::Build];
    for step in steps {
        match step {
            Step::Fmt | Step::Clippy | Step::ClippyEbpf | Step::Doc => groups.push(Group::Lint),
            Step::Local | Step::Demo => groups.push(Group::Scenarios),
            Step::Vm => groups.push(Group::Vm),
            Step::Unit | Step::Build => {}
        }
    }
    groups.dedup();
    groups
}

fn name(step: Step) -> String {
    step.to_possible_value()
        .map(|v| v.get_name().to_owned())
        .unwrap_or_default()
}

fn run(step: Step, allowed: &Allowed, jobs: usize) -> Result<Tally> {
    match step {
        Step::Fmt => once(lint::fmt()),
        Step::Clippy => once(lint::clippy()),
        Step::ClippyEbpf => once(lint::clippy_ebpf()),
        Step::Doc => once(lint::doc()),
        Step::Unit => unit(allowed),
        Step::Build => once(dist::task(std::env::consts::ARCH)),
        Step::Local => local(allowed),
        // README's first command, as it is typed.
        Step::Demo => once(demo::task(demo::DEFAULT)),
        Step::Vm => machines(allowed, jobs),
    }
}

/// A step that is one check.
fn once(result: Result<()>) -> Result<Tally> {
    result.map(|()| Tally {
        passed: 1,
        ..Tally::default()
    })
}

/// cargo's tests, whose lines are shown and counted.
fn unit(allowed: &Allowed) -> Result<Tally> {
    let mut child = sh::cargo()
        .args([
            "test",
            "--workspace",
            "--exclude",
            PACKAGE,
            "--no-fail-fast",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let mut tally = Tally::default();
    for line in BufReader::new(child.stdout.take().context("cargo has no output")?).lines() {
        let line = line?;
        println!("{line}");
        // "test NAME ... ok", "... FAILED" or "... ignored, REASON"
        let Some((test, verdict)) = line
            .strip_prefix("test ")
            .and_then(|l| l.rsplit_once(" ... "))
        else {
            continue;
        };
        match verdict
            .split_once(", ")
            .unwrap_or((verdict, "no reason given"))
        {
            ("ok", _) => tally.passed += 1,
            ("ignored", why) => tally.skip(allowed, "unit", test, why),
            _ => tally.failed.push(test.to_owned()),
        }
    }
    if !child.wait()?.success() && tally.failed.is_empty() {
        tally.failed.push("cargo test".to_owned());
    }
    Ok(tally)
}

/// The scenarios on the running kernel.
fn local(allowed: &Allowed) -> Result<Tally> {
    if !sh::is_root() {
        bail!("scenarios make network namespaces and load eBPF: run this as root");
    }
    let dist = dist::build()?;
    let folder = sh::target_dir().join("test");
    fs::create_dir_all(&folder)?;
    let file = folder.join("local.jsonl");
    // Results of an earlier run must not be taken for this one's.
    if file.exists() {
        fs::remove_file(&file)?;
    }
    let ran = sh::run(
        Command::new(&dist.tests)
            .arg("run")
            .arg("--dropwatch")
            .arg(&dist.dropwatch)
            .arg("--results")
            .arg(&file),
    );
    let Ok(text) = fs::read_to_string(&file) else {
        ran?;
        bail!("no results in {}", file.display());
    };
    let results = Results::parse(&text)?;
    let mut tally = Tally::default();
    tally.count(allowed, "local", &results.outcomes);
    if !results.complete {
        tally.failed.push("the results have no end".to_owned());
    } else if let Err(error) = ran
        && tally.failed.is_empty()
    {
        tally.failed.push(format!("{error:#}"));
    }
    Ok(tally)
}

/// The scenarios in virtual machines, with all kernels.
fn machines(allowed: &Allowed, jobs: usize) -> Result<Tally> {
    let machines = vm::matrix::all(&vm::Options::default());
    let outcomes = vm::matrix::run(&machines, jobs);
    let mut tally = Tally::default();
    for (kernel, outcome) in &outcomes {
        match outcome {
            Ok(run) => {
                tally.count(allowed, kernel, &run.outcomes);
                tally
                    .failed
                    .extend(run.fault.iter().map(|fault| format!("{kernel}: {fault}")));
                if run.retries > 0 {
                    println!(
                        "{kernel} was started {} times: faults of the emulator",
                        run.retries + 1
                    );
                }
            }
            Err(error) => tally.failed.push(format!("{kernel}: {error:#}")),
        }
    }
    let table = vm::table::Table::new(&outcomes);
    println!("the table is in {}", table.write()?.display());
    // A failure would change the table: one complaint is enough.
    if tally.failed.is_empty() {
        match table.page(false)? {
            true => tally.passed += 1,
            false => tally.failed.push(
                "docs/kernels.md shows something else than the machines: see `cargo xtask vm --all`"
                    .to_owned(),
            ),
        }
    }
    Ok(tally)
}

impl Tally {
    fn count(&mut self, allowed: &Allowed, kernel: &str, outcomes: &[Outcome]) {
        for o in outcomes {
            match o.outcome {
                Verdict::Pass => self.passed += 1,
                Verdict::Fail => self
                    .failed
                    .push(format!("{kernel} {}: {}", o.scenario, o.detail)),
                Verdict::Skip => self.skip(allowed, kernel, &o.scenario, &o.detail),
            }
        }
    }

    fn skip(&mut self, allowed: &Allowed, kernel: &str, scenario: &str, why: &str) {
        match allowed.reason(kernel, scenario) {
            Some(reason) => {
                self.skipped
                    .push(format!("{kernel} {scenario}: {why} (allowed: {reason})"));
            }
            None => {
                self.failed.push(format!(
                    "{kernel} {scenario}: skipped, but not listed: {why}"
                ));
            }
        }
    }
}

/// Prints the table and the closing line.
fn summary(table: &[(String, Duration, Tally)], total: Duration) -> ExitCode {
    println!(
        "\n{:<12} {:>8} {:>7} {:>7} {:>8}",
        "step", "seconds", "passed", "failed", "skipped"
    );
    for (name, time, tally) in table {
        let (failed, skipped) = (tally.failed.len(), tally.skipped.len());
        let seconds = time.as_secs_f64();
        println!(
            "{name:<12} {seconds:>8.1} {:>7} {failed:>7} {skipped:>8}",
            tally.passed
        );
    }
    println!("{:<12} {:>8.1}", "all", total.as_secs_f64());
    for skip in table.iter().flat_map(|(.., tally)| &tally.skipped) {
        println!("skipped: {skip}");
    }
    for failure in table.iter().flat_map(|(.., tally)| &tally.failed) {
        println!("FAILED: {failure}");
    }
    let sum = |count: fn(&Tally) -> usize| table.iter().map(|(.., t)| count(t)).sum::<usize>();
    let failed = sum(|t| t.failed.len());
    let (passed, skipped) = (sum(|t| t.passed), sum(|t| t.skipped.len()));
    println!("test: {passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
