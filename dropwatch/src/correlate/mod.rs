//! From a stream of drops and anomalies to cases: what has one explanation is told once, then counted.

pub mod case;
pub mod cases;
pub mod class;
pub mod engine;
pub mod follow;
pub mod memo;
pub mod pending;
pub mod touched;

#[cfg(test)]
mod tests;
