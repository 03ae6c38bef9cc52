//! `cargo xtask vm`: runs scenarios, or any command, in a virtual machine with a real kernel.
//!
//! Limits: Debian's kernels for x86-64 and arm64; nothing is installed and the machine has no network but
//! what runs inside it.

mod arch;
mod archive;
mod cpio;
mod initramfs;
mod kernel;
mod kvm;
pub mod matrix;
mod modules;
mod options;
mod qemu;
mod report;
pub mod table;
mod userland;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::dist::{self, Dist};
use crate::results::{Outcome, Results, Verdict};
use crate::setup::{self, Group};
use crate::sh;
use initramfs::Extra;
use kernel::Kernel;
use options::Choice;
pub use options::{Options, processors};
use qemu::{Accel, Machine, Show};
use report::Report;
use table::Table;
use userland::Userland;

/// The kernel that is run when none is named.
pub const KERNEL: &str = "6.12";
/// How often a machine is started again after a fault of the emulator.
const RETRIES: usize = 2;

/// The names of all kernels, oldest first.
pub fn kernel_names() -> impl Iterator<Item = &'static str> {
    kernel::names()
}

/// Where what a machine sends over its second serial port is kept.
pub fn results(kernel: &str) -> PathBuf {
    sh::target_dir()
        .join("vm")
        .join(kernel)
        .join("results.jsonl")
}

/// The task.
pub fn task(options: &Options) -> Result<()> {
    let machines: Vec<(&str, Options)> = if options.all {
        matrix::all(options)
    } else {
        let kernels = options.kernels.iter();
        kernels.map(|k| (k.as_str(), options.clone())).collect()
    };
    let outcomes = matrix::run(&machines, options.jobs);
    let mut failed = Vec::new();
    for (kernel, outcome) in &outcomes {
        let good = match outcome {
            Ok(run) => run.tell(kernel),
            Err(error) => {
                sh::say(format!("{kernel}: {error:#}"));
                false
            }
        };
        if !good {
            failed.push(*kernel);
        }
    }
    if options.exec.is_none() {
        let table = Table::new(&outcomes);
        sh::say(format!("the table is in {}", table.write()?.display()));
        // The page shows the choice that the tests play.
        let shown = options.all && !options.everything;
        if shown && failed.is_empty() && !table.page(options.bless)? {
            bail!("docs/kernels.md shows something else: review the table, then --bless it");
        }
    }
    if !failed.is_empty() {
        bail!("failed on {}", failed.join(", "));
    }
    Ok(())
}

/// Runs a command, showing what it says and nothing else.
pub fn show(command: String) -> Result<()> {
    let options = Options {
        exec: Some(command),
        show: Show::Command,
        ..Options::default()
    };
    match run(KERNEL, &options)?.fault {
        Some(fault) => bail!("in the virtual machine: {fault}"),
        None => Ok(()),
    }
}

/// What came of a machine.
pub struct Run {
    /// The results that scenarios have reported; none after `--exec`.
    pub outcomes: Vec<Outcome>,
    /// What is wrong beyond those.
    pub fault: Option<String>,
    /// How often the emulator failed before.
    pub retries: usize,
    /// What the doctor said there, if it was asked.
    pub doctor: Option<Vec<u8>>,
}

impl Run {
    /// Whether all is well, skips aside.
    pub fn is_good(&self) -> bool {
        self.fault.is_none() && self.outcomes.iter().all(|o| o.outcome != Verdict::Fail)
    }

    /// Prints the outcome; returns whether it is good.
    fn tell(&self, kernel: &str) -> bool {
        for o in self.outcomes.iter().filter(|o| o.outcome != Verdict::Pass) {
            let word = if o.outcome == Verdict::Fail {
                "FAILED"
            } else {
                "skipped"
            };
            sh::say(format!("{kernel}: {word} {o}"));
        }
        if let Some(fault) = &self.fault {
            sh::say(format!("{kernel}: {fault}"));
        }
        if self.outcomes.is_empty() {
            return self.is_good();
        }
        let count = |v| self.outcomes.iter().filter(|o| o.outcome == v).count();
        sh::say(format!(
            "{kernel}: {} passed, {} failed, {} skipped",
            count(Verdict::Pass),
            count(Verdict::Fail),
            count(Verdict::Skip)
        ));
        self.is_good()
    }
}

/// A machine that can be started.
struct Prepared {
    kernel: Kernel,
    binaries: Option<Dist>,
    base: PathBuf,
    accel: Accel,
}

/// Runs one kernel.
pub fn run(kernel: &str, options: &Options) -> Result<Run> {
    run_prepared(&prepare(kernel, options)?, options)
}

/// Gets everything that a machine needs.
fn prepare(kernel: &str, options: &Options) -> Result<Prepared> {
    setup::ensure(&[Group::Scenarios, Group::Vm])?;
    let kernel = kernel::get(kernel)?;
    setup::ensure_needs(&[kernel.arch.emulator])?;
    let binaries = if options.bare {
        None
    } else {
        Some(dist::build_for(kernel.arch.rust)?)
    };
    let base = initramfs::base(&kernel, &Userland::of(kernel.arch)?)?;
    let accel = match options.accel {
        Choice::Kvm => Accel::Kvm,
        Choice::Tcg => Accel::Tcg,
        Choice::Auto if kvm::works(&kernel)? => Accel::Kvm,
        Choice::Auto => Accel::Tcg,
    };
    Ok(Prepared {
        kernel,
        binaries,
        base,
        accel,
    })
}

fn run_prepared(prepared: &Prepared, options: &Options) -> Result<Run> {
    let Prepared {
        kernel,
        binaries,
        base,
        accel,
    } = prepared;
    let accel = *accel;
    let folder = sh::target_dir().join("vm").join(&kernel.name);
    fs::create_dir_all(&folder)?;
    let _lock = lock(&folder)?;
    let extra = Extra {
        programs: binaries
            .iter()
            .flat_map(|b| [b.dropwatch.as_path(), b.tests.as_path()])
            .collect(),
        files: options.files.iter().map(PathBuf::as_path).collect(),
        run: script(options),
    };
    let image = folder.join("initramfs");
    initramfs::combine(base, &extra, &image)?;
    // Those of an earlier run must not be taken for this one's.
    let sent = results(&kernel.name);
    File::create(&sent).with_context(|| format!("cannot write {}", sent.display()))?;

    let machine = Machine {
        kernel,
        initramfs: &image,
        accel,
        console: &folder.join("console.log"),
        results: &sent,
        show: options.show,
        silence: Duration::from_secs(options.silence),
        limit: Duration::from_secs(options.limit),
    };
    sh::say(format!("booting {} ({})", kernel.release, accel.name()));
    let mut retries = 0;
    let report = loop {
        let report = machine.run();
        let again = |r: &Report| accel == Accel::Tcg && r.is_emulators_fault();
        if retries == RETRIES || !report.as_ref().is_ok_and(again) {
            break report;
        }
        retries += 1;
        sh::say(format!(
            "a fault of the emulator (int3): starting again, number {retries}"
        ));
    };
    fs::remove_file(&image)?;
    let report = report?;
    tell_times(&report);
    finish(
        &report,
        machine.results,
        &folder,
        options.exec.is_some(),
        retries,
    )
}

/// Keeps the folder for this run, so that two at once cannot mix up their results.
fn lock(folder: &Path) -> Result<File> {
    let file = File::create(folder.join("lock"))?;
    if file.try_lock().is_err() {
        sh::say(format!("waiting for another run with {}", folder.display()));
        file.lock()?;
    }
    Ok(file)
}

/// What the machine runs.
fn script(options: &Options) -> String {
    if let Some(command) = &options.exec {
        return format!("{command}\n");
    }
    let mut line = String::from(
        "exec dropwatch-tests run --dropwatch /usr/bin/dropwatch --results $RESULTS \
         --artefacts-to-results",
    );
    if options.each_kernel {
        line.push_str(" --each-kernel");
    }
    for scenario in &options.scenarios {
        line.push_str(&format!(" '{}'", scenario.replace('\'', r"'\''")));
    }
    line.push('\n');
    line
}

fn tell_times(report: &Report) {
    let boot = report.boot.map_or("not reached".to_owned(), |b| {
        format!("{:.1} s", b.as_secs_f64())
    });
    sh::say(format!(
        "first program after {boot}, all done after {:.1} s",
        report.total.as_secs_f64()
    ));
}

/// Collects results and judges the run.
fn finish(
    report: &Report,
    results: &Path,
    folder: &Path,
    exec: bool,
    retries: usize,
) -> Result<Run> {
    let mut run = Run {
        outcomes: Vec::new(),
        fault: report.fault(),
        retries,
        doctor: None,
    };
    if exec {
        if let Some(status @ 1..) = report.status {
            run.fault = run
                .fault
                .or_else(|| Some(format!("the command's exit code is {status}")));
        }
        return Ok(run);
    }
    match Results::parse(&String::from_utf8_lossy(&fs::read(results)?)) {
        Ok(parsed) => {
            let artefacts = folder.join("artefacts");
            // Those of an earlier run would mislead.
            if artefacts.is_dir() {
                fs::remove_dir_all(&artefacts)?;
            }
            parsed.write_artefacts(&artefacts)?;
            if !parsed.complete {
                run.fault
                    .get_or_insert_with(|| "the results have no end".to_owned());
            }
            run.doctor = parsed.artefact("doctor", "doctor.json").map(<[u8]>::to_vec);
            run.outcomes = parsed.outcomes;
        }
        Err(error) => {
            run.fault
                .get_or_insert_with(|| format!("unreadable results: {error:#}"));
        }
    }
    Ok(run)
}
