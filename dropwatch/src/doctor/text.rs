//! The report for people.

use std::io::{self, Write};

use super::{Cause, Hook, Report, State};
use crate::output::sanitize::sanitize;

/// Prints it: what is wrong stands out by its first word, everything else is below each other.
pub fn print(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let state = match report.state {
        State::Usable => "usable: every cause can be judged",
        State::Limited => "limited: some causes cannot be judged",
        State::Unusable => "unusable",
    };
    let kernel = sanitize(&report.kernel);
    writeln!(
        out,
        "dropwatch {} on {kernel} ({}): {state}",
        report.version, report.arch
    )?;
    if let Some(error) = &report.error {
        line(out, "error", &sanitize(error))?;
    }
    for check in &report.checks {
        line(out, check.name, &sanitize(&check.found))?;
    }
    writeln!(out, "hooks")?;
    for hook in &report.hooks {
        line(out, &hook.status.probe, &sanitize(&attached(hook)))?;
    }
    writeln!(out, "causes")?;
    for cause in &report.causes {
        line(out, cause.cause, &sanitize(&judged(cause)))?;
    }
    let advice: Vec<_> = report
        .complaints()
        .filter_map(|check| Some((check.name, check.advice.as_ref()?)))
        .collect();
    if !advice.is_empty() {
        writeln!(out, "what to do")?;
    }
    for (name, advice) in advice {
        line(out, name, advice)?;
    }
    Ok(())
}

fn line(out: &mut impl Write, label: &str, text: &str) -> io::Result<()> {
    writeln!(out, "  {label:<15} {text}")
}

fn attached(hook: &Hook) -> String {
    let status = &hook.status;
    let why = status.why.as_deref();
    let Some(flavour) = &status.flavour else {
        let why = why.unwrap_or("no reason known");
        return if status.awaits.is_some() {
            why.to_owned()
        } else {
            format!("not there: {why}")
        };
    };
    let when = why.map_or(String::new(), |why| format!(", {why}"));
    let insns = hook
        .verified_insns
        .map_or(String::new(), |n| format!(", {n} instructions verified"));
    format!("{flavour} {}{when}{insns}", status.symbol)
}

fn judged(cause: &Cause) -> String {
    match (&cause.why, cause.awaits.as_slice()) {
        (Some(why), _) => format!("blind: {why}"),
        (None, []) => "judged".into(),
        (None, modules) => format!(
            "judged as soon as it can occur (module {} is not loaded)",
            modules.join(", ")
        ),
    }
}
