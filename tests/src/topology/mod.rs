//! Networks that scenarios are played in.

pub mod files;
pub mod ipvs;
pub mod nat;
pub mod queue;
pub mod routed;
pub mod seed;
