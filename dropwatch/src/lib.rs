//! dropwatch: why the kernel dropped a packet, with proof, and what to change.
//!
//! Data flows one way: `attach` puts the programs into the kernel, `ingest` turns their records into plain
//! data, `correlate` and `causes` judge it with the help of `facts`, `output` prints it.

pub mod app;
pub mod attach;
pub mod causes;
pub mod cli;
pub mod clock;
pub mod config;
pub mod correlate;
pub mod doctor;
pub mod event;
pub mod exit;
pub mod facts;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod ingest;
pub mod judge;
pub mod kernel;
mod memory;
pub mod model;
pub mod netfilter;
pub mod output;
pub mod reasons;
pub mod replay;
pub mod session;
pub mod stats;
