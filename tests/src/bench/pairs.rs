//! Paired measurements: the same thing without and with a change, in turn.

use std::time::Duration;

use anyhow::Result;

use super::{Row, quantile};
use crate::lab::Lab;
use crate::netns::Netns;
use crate::tracer::Tracer;

/// When a fresh tracer has nothing left to do but wait for drops.
const SETTLED: Duration = Duration::from_millis(300);

/// Rates of all pairs.
#[derive(Debug, Default)]
pub struct Pairs {
    without: Vec<f64>,
    with: Vec<f64>,
    kept: Vec<f64>,
}

impl Pairs {
    /// Measures without the change, with it, without it, and so on.
    pub fn measure(rounds: usize, mut rate: impl FnMut(bool) -> Result<f64>) -> Result<Self> {
        let mut pairs = Self::default();
        for _ in 0..rounds {
            let before = rate(false)?;
            let changed = rate(true)?;
            // The mean of before and after takes a steady drift of the machine out of the pair.
            let bare = f64::midpoint(before, rate(false)?);
            pairs.without.push(bare);
            pairs.with.push(changed);
            pairs.kept.push(changed / bare * 100.0);
        }
        Ok(pairs)
    }

    /// Rows in thousands per second; `names` are those of both sides and of the comparison.
    pub fn rows(mut self, names: [&str; 3], unit: &'static str, target: &'static str) -> Vec<Row> {
        let [without, with, what] = names;
        let kept = |how: &str| format!("{what}, kept ({how})");
        vec![
            Row::new(without, quantile(&mut self.without, 0.5) / 1e3, unit, ""),
            Row::new(with, quantile(&mut self.with, 0.5) / 1e3, unit, ""),
            Row::new(
                kept("median of pairs"),
                quantile(&mut self.kept, 0.5),
                "%",
                target,
            ),
            Row::new(kept("worst pair"), quantile(&mut self.kept, 0.0), "%", ""),
            Row::new(kept("best pair"), quantile(&mut self.kept, 1.0), "%", ""),
        ]
    }
}

/// Measures while a tracer explains, if `traced`; it starts in `netns`, or in this program's own.
pub fn traced<T>(
    lab: &Lab,
    netns: Option<&Netns>,
    traced: bool,
    measure: impl FnOnce() -> Result<T>,
) -> Result<T> {
    if !traced {
        return measure();
    }
    let mut command = lab.command(netns, &[])?;
    command.arg("--explain");
    let tracer = Tracer::start(command, lab.folder())?;
    // The start itself (symbols, the last of the parsing) is measured elsewhere.
    std::thread::sleep(SETTLED);
    let measured = measure()?;
    lab.finish_without_replay(tracer)?;
    Ok(measured)
}
