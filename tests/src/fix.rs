//! Applying advice exactly as it was printed.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::tracer::Tracer;

/// Writes the fix's file and runs its commands, in the tracer's namespaces.
pub fn apply(fix: &Value, tracer: &Tracer) -> Result<()> {
    write_file(fix, tracer)?;
    ensure!(is_command(fix), "the fix has no command: {fix}");
    for command in fix["commands"].as_array().into_iter().flatten() {
        let command = command.as_str().context("a command that is no text")?;
        tracer.run_shell(command).context("applying the fix")?;
    }
    Ok(())
}

/// Writes the file that the fix brings, if any.
pub fn write_file(fix: &Value, tracer: &Tracer) -> Result<()> {
    if let Some(path) = fix["file"]["path"].as_str() {
        let content = fix["file"]["content"]
            .as_str()
            .context("a file without content")?;
        check_sysctl_file(path, content)?;
        tracer.run_shell(&format!(
            "cat > '{path}' <<'END-OF-FILE'\n{content}\nEND-OF-FILE"
        ))?;
    }
    Ok(())
}

/// Whether the fix has something to run.
pub fn is_command(fix: &Value) -> bool {
    fix["commands"]
        .as_array()
        .is_some_and(|commands| !commands.is_empty())
}

/// A program that the fix calls by its full path and that this machine does not have.
pub fn missing_program(fix: &Value) -> Option<String> {
    let commands = fix["commands"].as_array()?.iter().filter_map(Value::as_str);
    let mut programs = commands.filter_map(|command| command.split_whitespace().next());
    let missing = programs.find(|word| word.starts_with('/') && !Path::new(word).exists())?;
    Some(missing.to_owned())
}

/// The one fix that is marked as primary.
pub fn primary(verdict: &Value) -> Result<&Value> {
    let fixes = verdict["fixes"]
        .as_array()
        .context("a verdict without fixes")?;
    let mut primary = fixes.iter().filter(|fix| fix["primary"] == true);
    match (primary.next(), primary.next()) {
        (Some(fix), None) => Ok(fix),
        (first, _) => bail!(
            "{} primary fix among {}",
            if first.is_some() {
                "more than one"
            } else {
                "no"
            },
            verdict["fixes"]
        ),
    }
}

fn check_sysctl_file(path: &str, content: &str) -> Result<()> {
    ensure!(
        path.starts_with("/etc/sysctl.d/") && path.ends_with(".conf"),
        "not a sysctl.d file: {path}"
    );
    for line in content.lines().map(str::trim) {
        let comment = line.is_empty() || line.starts_with(['#', ';']);
        let exclusion = line.starts_with('-') && !line.contains('=');
        let setting = line.split_once('=').is_some_and(|(key, value)| {
            key.trim().trim_start_matches('-').starts_with("net") && !value.trim().is_empty()
        });
        ensure!(
            comment || exclusion || setting,
            "not a sysctl.d line: {line:?} in {path}"
        );
    }
    Ok(())
}
