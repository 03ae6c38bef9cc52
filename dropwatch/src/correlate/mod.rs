//! From a stream of drops and anomalies to cases: what belongs together is told once, then counted.

pub mod case;
pub mod engine;
mod firewall;
pub mod follow;
pub mod plain;
pub mod readings;
pub mod recent;
pub mod view;

#[cfg(test)]
mod tests;
