//! The wire contract between dropwatch's eBPF programs and its loader.
//!
//! Data only: no dependencies, no features, no `unsafe`, no logic beyond constants. Everything is made of
//! integers and byte arrays with explicit padding, so any bytes of the right length are a valid value. A
//! new fact is a new section kind under [`record`]; readers skip kinds they do not know by their length.
#![no_std]
#![forbid(unsafe_code)]

pub mod config;
pub mod counters;
pub mod fields;
pub mod flow;
pub mod flows;
pub mod header;
pub mod hot;
pub mod names;
pub mod record;
