//! What came of all kernels, as a table: for machines, for people, and for docs/kernels.md.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::Run;
use crate::results::{Outcome, Verdict};
use crate::sh;

/// What encloses the generated part of docs/kernels.md.
const BEGIN: &str = "<!-- written by `cargo xtask vm --all --bless` -->";
const END: &str = "<!-- end of what is written -->";

/// What the doctor said on a kernel, as far as the table shows it.
#[derive(Debug, Deserialize, Serialize)]
struct Doctor {
    kernel: String,
    state: String,
    hooks: Vec<Hook>,
    causes: Vec<Cause>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Hook {
    probe: String,
    symbol: String,
    flavour: Option<String>,
    why: Option<String>,
    awaits: Option<String>,
    verified_insns: Option<u64>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Cause {
    cause: String,
    why: Option<String>,
}

/// One kernel.
#[derive(Debug, Serialize)]
struct Column {
    /// Its name: `6.12`.
    kernel: String,
    doctor: Option<Doctor>,
    outcomes: Vec<Outcome>,
    /// What is wrong beyond those.
    fault: Option<String>,
}

/// All kernels.
#[derive(Debug, Serialize)]
pub struct Table(Vec<Column>);

impl Table {
    /// From what came of the machines.
    pub fn new(runs: &[(&str, Result<Run>)]) -> Self {
        let column = |(kernel, outcome): &(&str, Result<Run>)| {
            let (outcomes, doctor, fault) = match outcome {
                Ok(run) => (
                    run.outcomes.clone(),
                    run.doctor.as_deref().map(serde_json::from_slice),
                    run.fault.clone(),
                ),
                Err(error) => (Vec::new(), None, Some(format!("{error:#}"))),
            };
            Column {
                kernel: (*kernel).to_owned(),
                fault: match &doctor {
                    Some(Err(error)) => Some(format!("the doctor's report: {error}")),
                    _ => fault,
                },
                doctor: doctor.and_then(Result::ok),
                outcomes,
            }
        };
        Self(runs.iter().map(column).collect())
    }

    /// Writes `matrix.json` and `matrix.md`; returns the path of the latter.
    pub fn write(&self) -> Result<PathBuf> {
        let folder = sh::target_dir().join("vm");
        fs::create_dir_all(&folder)?;
        fs::write(
            folder.join("matrix.json"),
            serde_json::to_vec_pretty(self).context("the table as JSON")?,
        )?;
        let path = folder.join("matrix.md");
        let text = format!(
            "# Kernels\n\n{}\n{}\n{}",
            self.summary(),
            self.instructions(),
            self.scenarios()
        );
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Compares docs/kernels.md with what the machines show, or puts that in; whether they agree then.
    pub fn page(&self, bless: bool) -> Result<bool> {
        for column in &self.0 {
            let kernel = &column.kernel;
            if let Some(fault) = &column.fault {
                bail!("{kernel}: {fault}");
            }
            if column.doctor.is_none() {
                bail!("{kernel}: the doctor was not asked");
            }
            if let Some(o) = column.outcomes.iter().find(|o| o.outcome != Verdict::Pass) {
                bail!("{kernel}: {o}: the page shows what passes");
            }
        }
        let path = sh::root().join("docs/kernels.md");
        let page =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (before, rest) = page
            .split_once(BEGIN)
            .context("no begin mark in the page")?;
        let (shown, after) = rest.split_once(END).context("no end mark in the page")?;
        let now = format!("\n{}", self.summary());
        if shown != now && bless {
            fs::write(&path, format!("{before}{BEGIN}{now}{END}{after}"))?;
        }
        Ok(bless || shown == now)
    }

    /// Groups and hooks by kernel: what docs/kernels.md shows. Nothing in it changes unless what can be seen does.
    pub fn summary(&self) -> String {
        let mut text = self.head("scenarios that pass");
        for group in self.groups() {
            let cells = self.0.iter().map(|column| {
                let of_group = column.outcomes.iter().filter(|o| o.group == group);
                let (mut passed, mut all) = (0, 0);
                for outcome in of_group {
                    all += 1;
                    passed += usize::from(outcome.outcome == Verdict::Pass);
                }
                match all {
                    0 => "–".into(),
                    _ if passed == all => format!("all {all}"),
                    _ => format!("{passed} of {all}"),
                }
            });
            text += &row(&format!("`{group}`"), cells);
        }
        text += "\n";
        text += &self.head("causes");
        for cause in self.names(|doctor| doctor.causes.iter().map(|c| c.cause.clone()).collect()) {
            let cells = self.0.iter().map(|column| {
                let causes = column.doctor.iter().flat_map(|d| &d.causes);
                let mut found = causes.filter(|c| c.cause == cause);
                found.next().map_or("?".into(), |c| {
                    c.why
                        .as_ref()
                        .map_or("judged".into(), |why| format!("blind: {why}"))
                })
            });
            text += &row(&format!("`{cause}`"), cells);
        }
        text += "\n";
        text += &self.head("hooks");
        for probe in self.probes() {
            let cells = self.0.iter().map(|column| match column.hook(&probe) {
                None if column.doctor.is_none() => "?".into(),
                None => "not needed".into(),
                Some(hook) => match &hook.flavour {
                    Some(flavour) => format!("{flavour} `{}`", hook.symbol),
                    None => format!("not there: {}", hook.why.as_deref().unwrap_or("?")),
                },
            });
            text += &row(&format!("`{probe}`"), cells);
        }
        text
    }

    /// Instructions that the verifier went through, by program and kernel.
    fn instructions(&self) -> String {
        let mut text = self.head("instructions verified");
        let releases = self
            .0
            .iter()
            .map(|column| column.doctor.as_ref().map_or("?", |d| &d.kernel).to_owned());
        text += &row("release", releases);
        for probe in self.probes() {
            let cells = self.0.iter().map(|column| {
                let insns = column.hook(&probe).and_then(|hook| hook.verified_insns);
                insns.map_or("–".into(), |n| n.to_string())
            });
            text += &row(&format!("`{probe}`"), cells);
        }
        text
    }

    /// Every scenario.
    fn scenarios(&self) -> String {
        let mut text = self.head("scenario");
        let mut names: Vec<&str> = Vec::new();
        for outcome in self.0.iter().flat_map(|column| &column.outcomes) {
            if !names.contains(&outcome.scenario.as_str()) {
                names.push(&outcome.scenario);
            }
        }
        for name in names {
            let cells = self.0.iter().map(|column| {
                let mut found = column.outcomes.iter().filter(|o| o.scenario == name);
                found
                    .next()
                    .map_or("not played".into(), |outcome| match outcome.outcome {
                        Verdict::Pass => "pass".into(),
                        Verdict::Fail => "FAIL".into(),
                        Verdict::Skip => format!("skipped: {}", outcome.detail),
                    })
            });
            text += &row(&format!("`{name}`"), cells);
        }
        text
    }

    fn head(&self, title: &str) -> String {
        let mut text = row(title, self.0.iter().map(|column| column.kernel.clone()));
        text += &row("---", self.0.iter().map(|_| "---".to_owned()));
        text
    }

    fn groups(&self) -> Vec<String> {
        let mut groups = Vec::new();
        for outcome in self.0.iter().flat_map(|column| &column.outcomes) {
            if !groups.contains(&outcome.group) {
                groups.push(outcome.group.clone());
            }
        }
        groups
    }

    fn probes(&self) -> Vec<String> {
        self.names(|doctor| doctor.hooks.iter().map(|h| h.probe.clone()).collect())
    }

    /// Names that doctors give, in the order in which they come first.
    fn names(&self, of: impl Fn(&Doctor) -> Vec<String>) -> Vec<String> {
        let mut places = BTreeMap::new();
        for name in self.0.iter().filter_map(|c| c.doctor.as_ref()).flat_map(of) {
            let next = places.len();
            places.entry(name).or_insert(next);
        }
        let mut names: Vec<(usize, String)> = places.into_iter().map(|(n, at)| (at, n)).collect();
        names.sort();
        names.into_iter().map(|(_, name)| name).collect()
    }
}

impl Column {
    fn hook(&self, probe: &str) -> Option<&Hook> {
        self.doctor
            .as_ref()?
            .hooks
            .iter()
            .find(|hook| hook.probe == probe)
    }
}

fn row(title: &str, cells: impl Iterator<Item = String>) -> String {
    let mut text = format!("| {title} |");
    for cell in cells {
        // A pipe would begin another cell.
        text += &format!(" {} |", cell.replace('|', "\\|"));
    }
    text + "\n"
}
