//! `dropwatch doctor`: what can be seen on this machine, how, and what to do about the rest.
//!
//! It attaches everything as a session does, looks, and detaches: nothing stays. Modules that are not loaded are not
//! loaded for it either, so what belongs to them can only be said to wait.

use std::io::{self, Write as _};

use anyhow::Result;
use serde::Serialize;

use self::{
    finding::{Check, Level},
    insns::Insns,
};
use crate::{
    app::open,
    attach::{load::Settings, spec::Probe},
    causes,
    cli::{BUDGET, Doctor, Format},
    clock::monotonic_ns,
    exit::{self, Failure},
    kernel::caps,
    model::coverage::{Coverage, ProbeStatus},
    output::{
        clock::{Clock, Time},
        json::Line,
    },
};

mod check;
mod finding;
mod insns;
mod text;

/// Size of the ring buffer: nothing is to be read from it.
const RING_BYTES: u32 = 4096;

/// How well it works here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Every cause can be judged.
    Usable,
    /// Some cause cannot be judged.
    Limited,
    /// Not even drops can be seen.
    Unusable,
}

/// All that was found.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "DoctorLine"))]
pub struct Report {
    /// When it was looked at.
    time: Time,
    /// Version of dropwatch.
    version: &'static str,
    /// Kernel release.
    kernel: String,
    /// Processor.
    arch: &'static str,
    /// How well it works here.
    state: State,
    /// Why it is unusable, if so.
    error: Option<String>,
    /// What was looked at on the machine.
    checks: Vec<Check>,
    /// What is attached and how, in the order of attaching.
    hooks: Vec<Hook>,
    /// What can be judged.
    causes: Vec<Cause>,
}

/// A probe, and what the verifier made of its program.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "LoadedProbe"))]
struct Hook {
    #[serde(flatten)]
    status: ProbeStatus,
    /// Instructions that the verifier went through; `None` where that is not known, as of what is not attached.
    verified_insns: Option<u64>,
}

/// A cause, and the modules without which it cannot occur.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "JudgedWithModules")
)]
struct Cause {
    /// Stem of the cause.
    cause: &'static str,
    /// Whether it can be judged.
    judged: bool,
    /// Why it cannot be judged.
    why: Option<String>,
    /// Modules that are not loaded: before they are, the cause cannot occur.
    awaits: Vec<String>,
}

/// Runs it; the exit code is 0 when everything works, else see [`Failure`].
///
/// # Errors
///
/// Only when the report cannot be printed.
pub fn run(args: &Doctor) -> Result<u8> {
    let settings = Settings {
        ring_bytes: RING_BYTES,
        sysctls: causes::sysctls(),
        // As a session has it: without a budget the verifier skips what comes after it.
        budget: BUDGET,
        forced: args.force.iter().cloned().collect(),
        ..Settings::default()
    };
    let opened = open::open(&settings, |_| {});
    let code = match &opened {
        Ok(_) => 0,
        Err(error) => exit::code(error),
    };
    let report = Report::new(opened.map(|(attached, _)| {
        let insns = insns::of(&attached);
        (attached.coverage.clone(), insns)
    }));
    let mut out = io::stdout().lock();
    match args.format {
        Format::Json => writeln!(out, "{}", serde_json::to_string(&Line::Doctor(&report))?)?,
        Format::Text => text::print(&mut out, &report)?,
    }
    Ok(match report.state {
        State::Usable => 0,
        State::Limited => Failure::Limited as u8,
        State::Unusable => code,
    })
}

impl Report {
    /// From what could be attached, or why nothing could; the rest is looked at now.
    #[must_use]
    pub fn new(opened: Result<(Coverage, Insns)>) -> Self {
        let (coverage, insns, error) = match opened {
            Ok((coverage, insns)) => (coverage, insns, None),
            Err(error) => (
                Coverage::default(),
                Vec::new(),
                Some(exit::one_line(&error)),
            ),
        };
        let causes: Vec<Cause> = causes::root()
            .iter()
            .map(|cause| {
                let why = match &error {
                    Some(_) => Some("nothing can be attached".into()),
                    None => cause.blind(&coverage),
                };
                Cause {
                    cause: cause.id(),
                    judged: why.is_none(),
                    why,
                    awaits: awaited(cause.probes(), &coverage),
                }
            })
            .collect();
        let state = if error.is_some() {
            State::Unusable
        } else if causes.iter().any(|cause| !cause.judged) {
            State::Limited
        } else {
            State::Usable
        };
        Self {
            time: Clock::now().rfc3339(monotonic_ns()),
            version: env!("CARGO_PKG_VERSION"),
            kernel: caps::release(),
            arch: std::env::consts::ARCH,
            state,
            error,
            checks: check::all(&coverage),
            hooks: hooks(coverage, &insns),
            causes,
        }
    }

    /// What is not as it should be, of the things that were looked at.
    fn complaints(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.level != Level::Ok)
    }
}

/// The modules that a cause's probes wait for.
fn awaited(probes: &[&Probe], coverage: &Coverage) -> Vec<String> {
    let mut modules: Vec<String> = probes
        .iter()
        .filter_map(|probe| coverage.status(probe.name)?.awaits.clone())
        .collect();
    modules.dedup();
    modules
}

fn hooks(coverage: Coverage, insns: &Insns) -> Vec<Hook> {
    let known = |status: &ProbeStatus| {
        let variant = insns::variant(status)?;
        let (_, insns) = insns.iter().find(|(name, _)| name == variant.program)?;
        *insns
    };
    coverage
        .probes
        .into_iter()
        .map(|status| Hook {
            verified_insns: known(&status),
            status,
        })
        .collect()
}
