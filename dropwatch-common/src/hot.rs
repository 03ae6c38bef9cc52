//! Layout of the array that holds the tallies of the kinds that have a place of their own there.
//!
//! Each place is the key as [`crate::counters::DropKey::pairs`], then the tally as [`crate::counters::tally`] says. A place whose
//! first word is 0 is free: no code lies at address 0.

/// Places of each CPU: a power of two.
pub const PLACES: usize = 256;

/// Words of the key.
pub const KEY: usize = 3;

/// Words of a place.
pub const WORDS: usize = KEY + 3;

/// Words of the array.
pub const SIZE: usize = PLACES * WORDS;
