//! Names of the globals and maps in the eBPF object that the loader fills or reads.

/// Global `[u32; FIELD_COUNT]`: offsets of [`crate::fields::FIELDS`].
pub const OFFSETS: &str = "OFFSETS";
/// Global `[u32; config::word::COUNT]`.
pub const CONFIG: &str = "CONFIG";
/// Global `[u64; config::DEV_WORDS]`.
pub const DEV_FILTER: &str = "DEV_FILTER";
/// Global `[[u64; 2]; config::SYSCTLS]`.
pub const SYSCTLS: &str = "SYSCTLS";
/// Ring buffer of all records.
pub const EVENTS: &str = "EVENTS";
/// Per-CPU array of [`crate::counters`].
pub const COUNTERS: &str = "COUNTERS";
/// Per-CPU hash of [`crate::counters::DropKey`].
pub const DROPS: &str = "DROPS";
/// Per-CPU array of tallies that are looked up directly: see [`crate::hot`].
pub const HOT: &str = "HOT";
/// Array of `u32` that the loader writes while the programs run: see [`crate::config::live`].
pub const LIVE: &str = "LIVE";
