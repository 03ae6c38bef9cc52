//! What every demo does with dropwatch: two tracers, an explanation, its advice.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::shown::Shown;
use super::{step, tell};
use crate::fix;
use crate::lab::Lab;
use crate::netns::Netns;
use crate::topology::files::FileSpec;
use crate::tracer::Tracer;

/// The tracers of a demo.
pub struct Stage {
    cause: &'static str,
    shown: Shown,
    /// The one with JSON output.
    pub tracer: Tracer,
}

impl Stage {
    /// Starts them in a namespace, with these files.
    pub fn start(
        lab: &Lab,
        cause: &'static str,
        netns: &Netns,
        files: &[FileSpec],
    ) -> Result<Self> {
        step(&format!("dropwatch --explain --netns {}", netns.name()));
        Ok(Self {
            cause,
            shown: Shown::start(lab, cause, netns, files)?,
            tracer: lab.explain(Some(netns), files)?,
        })
    }

    /// Waits until the cause is explained to the viewer as well, and applies the advice.
    pub fn cure(&self, verdict: &Value) -> Result<()> {
        ensure!(
            verdict["cause"] == self.cause,
            "dropwatch gives another cause: {}",
            verdict["cause"]
        );
        self.shown.settle()?;
        step("The advice, applied as printed");
        for line in advice(verdict) {
            tell(&line);
        }
        fix::apply(fix::primary(verdict)?, &self.tracer)
    }

    /// Ends the one with text; the other is left to be checked.
    pub fn end(mut self) -> Result<Tracer> {
        step("dropwatch ends");
        self.shown.stop()?;
        Ok(self.tracer)
    }
}

/// The primary advice, line by line.
fn advice(verdict: &Value) -> Vec<String> {
    let fixes = verdict["fixes"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let Some(fix) = fixes.iter().find(|fix| fix["primary"] == true) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    if let (Some(path), Some(content)) = (
        fix["file"]["path"].as_str(),
        fix["file"]["content"].as_str(),
    ) {
        lines.push(format!("{path}:"));
        lines.extend(content.lines().map(|line| format!("    {line}")));
    }
    let commands = fix["commands"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    lines.extend(
        commands
            .iter()
            .filter_map(Value::as_str)
            .map(|command| format!("# {command}")),
    );
    lines
}
