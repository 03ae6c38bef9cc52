//! Counts drops by kind, exactly, and gives each kind its budget of detail.
//!
//! Most drops of a flood are of a few kinds, so those are counted in an array that is looked into directly; the rest, and
//! every drop on kernels where programs of one CPU interrupt each other, in a hash map. The loader adds them up.

use core::ptr;

use dropwatch_common::{
    config::{live, word},
    counters::{self, DropKey, tally},
    hot,
};

use crate::{
    flows,
    kread::Mem,
    maps::{self, config, increment},
    skb::Skb,
};

/// Counts the drop under its key; whether detail is to be sent.
#[inline(always)]
pub fn count<M: Mem>(key: &DropKey, skb: &Skb<M>) -> bool {
    let budget = config(word::BUDGET);
    let epoch = maps::live(live::EPOCH);
    let pairs = key.pairs();
    let kind = (pairs[0] ^ pairs[1].rotate_left(17) ^ pairs[2].rotate_left(41))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // Nothing is NULL: the unused half of an `Option` would be a register that nobody wrote, which verifiers refuse.
    let slot = direct(pairs, kind)
        .or_else(|| hashed(key))
        .unwrap_or(ptr::null_mut());
    let left = if !slot.is_null() {
        // SAFETY: a valid slot of this CPU's own part of a map, and indices inside it.
        unsafe {
            increment(slot.add(tally::COUNT));
            slot.add(tally::BUDGET)
        }
    } else {
        maps::count(counters::KEYS_FULL);
        // One budget for all that have no key of their own.
        let Some(left) = maps::KEYLESS.get_ptr_mut(0) else {
            return false;
        };
        left
    };
    // SAFETY: a valid word of this CPU's own part of a map.
    if budget == 0 || unsafe { spend(left, budget, epoch) } {
        return true;
    }
    let new = flows::is_new(kind, skb, epoch);
    if !slot.is_null() {
        if new {
            maps::count(counters::NEW_FLOWS);
        } else {
            // SAFETY: as above.
            unsafe { increment(slot.add(tally::SUPPRESSED)) };
        }
    }
    new
}

/// The tally of a key that has a place of its own, or takes one that is free; `None` where another key has it.
#[inline(always)]
fn direct([location, second, third]: [u64; 3], kind: u64) -> Option<*mut u64> {
    if config(word::NESTS) == 1 {
        return None;
    }
    let place = (kind >> 40) as usize & (hot::PLACES - 1);
    let slot = maps::HOT.get_ptr_mut(0)?.cast::<u64>();
    // SAFETY: a valid slot of this CPU's own array, and places inside it; no other program writes there, and this one does
    // not interrupt itself.
    unsafe {
        let at = slot.add(place * hot::WORDS);
        let found = at.read_volatile();
        if found == 0 {
            at.add(1).write_volatile(second);
            at.add(2).write_volatile(third);
            at.write_volatile(location);
        } else if found != location
            || at.add(1).read_volatile() != second
            || at.add(2).read_volatile() != third
        {
            return None;
        }
        Some(at.add(hot::KEY))
    }
}

/// The tally of a key in the hash map; `None` when that is full.
#[inline(always)]
fn hashed(key: &DropKey) -> Option<*mut u64> {
    let words = key.words();
    let slot = maps::DROPS.get_ptr_mut(words).or_else(|| {
        // Lost races with another insert do not matter: the look-up after it decides.
        let _ = maps::DROPS.insert(words, &maps::NO_TALLY, 0);
        maps::DROPS.get_ptr_mut(words)
    });
    Some(slot?.cast())
}

/// Takes one of a budget that is full again in every epoch; `false` when there is none left. The word holds the epoch, plus
/// one so that a fresh word is of none, and what is left of its budget.
///
/// # Safety
///
/// `word` points to map memory of this CPU, aligned to eight bytes. Programs that interrupt each other can at worst spend one
/// twice.
#[inline(always)]
pub unsafe fn spend(word: *mut u64, budget: u32, epoch: u32) -> bool {
    let mark = epoch.wrapping_add(1);
    // SAFETY: by the contract above.
    let value = unsafe { word.read_volatile() };
    let left = if (value >> 32) as u32 == mark {
        value as u32
    } else {
        budget
    };
    if left == 0 {
        return false;
    }
    // SAFETY: by the contract above.
    unsafe { word.write_volatile(u64::from(mark) << 32 | u64::from(left - 1)) };
    true
}
