//! Detail for the first packets of flow classes that were not seen lately, beside the budget of their kind: a flood
//! of one flow must not hide another rule's single drop of the same kind.
//!
//! A flow class is source, destination, protocol and destination port, and what its drops are counted by.

/// Classes that each CPU remembers, by a part of their hash: one that falls on another's place takes it.
pub const SEEN: usize = 2048;

/// Budgets of each CPU, by destination, protocol, destination port and kind but not by source: with forged sources a
/// flood uses up one of them.
pub const SHARDS: usize = 512;

/// Detailed events of each budget in an epoch.
pub const BUDGET: u32 = 1;

/// A class is taken for new again after so many epochs: a power of two.
pub const FORGOTTEN_AFTER: u32 = 64;
