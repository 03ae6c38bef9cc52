//! From start to everything attached; the size of the binary.

use anyhow::Result;

use super::{Row, quantile};
use crate::lab::Lab;

const STARTS: usize = 5;

/// Size of the binary under test.
pub fn size(lab: &Lab) -> Result<Row> {
    let bytes = std::fs::metadata(lab.dropwatch())?.len();
    Ok(Row::new(
        "binary",
        bytes as f64 / f64::from(1 << 20),
        "MiB",
        "under 8",
    ))
}

/// Start to ready file, with explanations on.
pub fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let mut milliseconds = Vec::new();
    for _ in 0..STARTS {
        let tracer = lab.explain(None, &[])?;
        milliseconds.push(tracer.ready_after.as_secs_f64() * 1e3);
        lab.finish_without_replay(tracer)?;
    }
    let median = quantile(&mut milliseconds, 0.5);
    Ok(vec![Row::new(
        "start to ready, median of 5",
        median,
        "ms",
        "under 150",
    )])
}
