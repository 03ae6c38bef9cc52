//! dropwatch: why the kernel dropped a packet, with proof, and what to change.
//!
//! Data flows one way: `attach` puts the programs into the kernel, `ingest` turns their records into plain
//! data, `correlate` and `causes` judge it with the help of `facts`, `output` prints it.

pub mod attach;
pub mod exit;
pub mod ingest;
pub mod kernel;
pub mod model;
