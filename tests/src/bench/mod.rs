//! Measurements: what tracing costs, and how soon an explanation is there.
//!
//! Prints a table for people and, as the last line, the same as JSON. Paired measurements take
//! turns (without, with, without, with …), so that a change of the machine's mood meets both.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Map, Value, json};

use crate::lab::{Lab, Skip};
use crate::netns;
use crate::say;

mod against;
pub mod bpf;
mod connections;
mod flood;
mod forward;
mod ipvs;
mod latency;
mod nat;
mod pairs;
mod start;

/// What to measure.
#[derive(Debug, Args)]
pub struct Options {
    /// The dropwatch binary to measure
    #[arg(long, value_name = "PATH")]
    dropwatch: PathBuf,
    /// Rounds of each paired measurement
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Packets of each flood
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    packets: u64,
    /// Another build, to be compared in turn
    #[arg(long, value_name = "PATH")]
    base: Option<PathBuf>,
    /// Parts to measure; all when empty
    #[arg(value_parser = ["start", "latency", "flood", "forward", "nat", "ipvs", "against"])]
    parts: Vec<String>,
}

/// A measured value.
#[derive(Debug)]
pub struct Row {
    /// What it is; also its JSON key, with `_` for blanks.
    pub name: String,
    /// The value.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// The target, in words.
    pub target: &'static str,
}

impl Row {
    /// A row.
    pub fn new(
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        target: &'static str,
    ) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            target,
        }
    }
}

/// Measures and prints.
pub fn run(options: &Options) -> Result<()> {
    netns::require_root()?;
    netns::remove_leftovers()?;
    let dropwatch = std::fs::canonicalize(&options.dropwatch)
        .with_context(|| format!("no dropwatch at {}", options.dropwatch.display()))?;
    let folder = std::env::temp_dir().join(format!("dropwatch-bench-{}", std::process::id()));
    let lab = Lab::new(&dropwatch, &folder)?;
    let wanted =
        |part: &str| options.parts.is_empty() || options.parts.iter().any(|name| name == part);
    let mut rows = vec![start::size(&lab)?];
    let mut add = |part: &str, measure: &dyn Fn() -> Result<Vec<Row>>| -> Result<()> {
        if wanted(part) {
            eprintln!("measuring: {part}");
            match measure() {
                // Told, and no failure: the other parts are measured all the same.
                Err(error) if error.is::<Skip>() => eprintln!("{part} is left out: {error}"),
                measured => {
                    rows.extend(measured.with_context(|| format!("measuring {part}"))?);
                }
            }
        }
        Ok(())
    };
    let result = add("start", &|| start::measure(&lab))
        .and_then(|()| add("latency", &|| latency::measure(&lab)))
        .and_then(|()| {
            add("flood", &|| {
                flood::measure(&lab, options.rounds, options.packets)
            })
        })
        .and_then(|()| add("forward", &|| forward::measure(&lab, options.rounds)))
        .and_then(|()| add("nat", &|| nat::measure(&lab, options.rounds)))
        .and_then(|()| add("ipvs", &|| ipvs::measure(&lab, options.rounds)))
        .and_then(|()| {
            add("against", &|| {
                against::measure(&lab, options.base.as_ref(), options.rounds, options.packets)
            })
        });
    if result.is_err() {
        eprintln!("{}", lab.stderr_tail());
    }
    let _ = std::fs::remove_dir_all(&folder);
    print(&rows);
    result
}

fn print(rows: &[Row]) {
    let mut object = Map::new();
    for row in rows {
        say::line(format_args!(
            "{:<44} {:>12.2} {:<5} {}",
            row.name, row.value, row.unit, row.target
        ));
        let key = format!("{}_{}", row.name, row.unit).replace('%', "percent");
        let key = key
            .replace([' ', '/', ',', '(', ')'], "_")
            .replace("__", "_");
        object.insert(
            key.trim_end_matches('_').to_owned(),
            json!((row.value * 1000.0).round() / 1000.0),
        );
    }
    say::line(Value::Object(object));
}

/// A quantile of the values, by nearest rank.
pub fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (q * values.len() as f64).ceil() as usize;
    values
        .get(rank.clamp(1, values.len().max(1)) - 1)
        .copied()
        .unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_by_nearest_rank() {
        let mut values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(quantile(&mut values, 0.5), 3.0);
        assert_eq!(quantile(&mut values, 0.99), 5.0);
        assert_eq!(quantile(&mut values, 0.0), 1.0);
        assert!(quantile(&mut [], 0.5).is_nan());
    }
}
