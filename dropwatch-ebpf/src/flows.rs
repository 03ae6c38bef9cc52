//! Whether a dropped packet is of a flow class that was not seen lately: such packets have a budget of their own, see
//! [`dropwatch_common::flows`].
//!
//! This runs for every drop over the budget of its kind, so it reads the headers with one helper call, hashes them in
//! registers, and in a flood of one flow ends at the first look into an array.

use core::mem::MaybeUninit;

use dropwatch_common::flows::{BUDGET, FORGOTTEN_AFTER, SEEN, SHARDS};

use crate::{
    kread::{Mem, probe},
    maps,
    skb::Skb,
    tally::spend,
};

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

/// Bytes of an IPv4 header from the time to live on, and ports: addresses lie at 12 and 16, the protocol at 9 (RFC 791).
/// Where there are options, they stand in for the ports.
const IPV4_FROM: usize = 8;
/// Bytes of an IPv6 header, and ports: addresses lie at 8 and 24, the next header at 6 (RFC 8200).
const IPV6: u32 = 44;

/// What is hashed.
struct Class {
    source: u64,
    /// Destination, protocol, destination port.
    target: u64,
}

/// Whether it is one, and its budget allows detail; `kind` is a hash of what the drop is counted by.
#[inline(always)]
pub fn is_new<M: Mem>(kind: u64, skb: &Skb<M>, epoch: u32) -> bool {
    let Some(class) = class(skb) else {
        return false;
    };
    let target = mix(class.target, kind);
    let whole = mix(target, class.source);
    // When it was seen: coarse, so that a flow that goes on is taken for new now and then, not always.
    let tag = (whole & !0xff) | u64::from((epoch / FORGOTTEN_AFTER) & 0xff);
    let Some(seen) = maps::FLOWS.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a valid slot of this CPU's own array, and an index inside it: the length is a power of two.
    let slot = unsafe { seen.cast::<u64>().add((whole >> 40) as usize & (SEEN - 1)) };
    // SAFETY: as above.
    if unsafe { slot.read_volatile() } == tag {
        return false;
    }
    // SAFETY: as above.
    unsafe { slot.write_volatile(tag) };
    let Some(budgets) = maps::FLOW_BUDGETS.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: as for the classes.
    unsafe {
        let word = budgets
            .cast::<u64>()
            .add((target >> 40) as usize & (SHARDS - 1));
        spend(word, BUDGET, epoch)
    }
}

/// Reads the headers; `None` when they are not IP's or cannot be read.
#[inline(always)]
fn class<M: Mem>(skb: &Skb<M>) -> Option<Class> {
    let header = skb.network_header();
    let ethertype = skb.ethertype();
    if header.is_null() {
        return None;
    }
    if ethertype == ETH_P_IP {
        let words: [u64; 2] = read(header.wrapping_add(IPV4_FROM), 16)?;
        let protocol = words[0] >> 8 & 0xff;
        Some(Class {
            source: words[0] >> 32,
            target: (words[1] & 0xffff_ffff) << 32
                | ports(protocol, words[1] >> 48) << 8
                | protocol,
        })
    } else if ethertype == ETH_P_IPV6 {
        let words: [u64; 6] = read(header, IPV6)?;
        let protocol = words[0] >> 48 & 0xff;
        let last = words[4] ^ (ports(protocol, words[5] >> 16 & 0xffff) << 8 | protocol);
        Some(Class {
            source: mix(words[1], words[2]),
            target: mix(words[3], last),
        })
    } else {
        None
    }
}

/// Reads words; of the last one, what lies behind `len` is not looked at.
#[inline(always)]
fn read<const N: usize>(address: *const u8, len: u32) -> Option<[u64; N]> {
    let mut place = MaybeUninit::<[u64; N]>::uninit();
    if N * 8 > len as usize {
        // SAFETY: inside the array; the helper leaves the rest of the last word alone.
        unsafe {
            place
                .as_mut_ptr()
                .cast::<u64>()
                .add(N - 1)
                .write_volatile(0)
        };
    }
    if probe(address, place.as_mut_ptr().cast(), len) {
        // SAFETY: written by the helper and above.
        Some(unsafe { place.assume_init() })
    } else {
        None
    }
}

/// The destination port, if the protocol has ports: others have something else there, as ICMP its checksum.
#[inline(always)]
fn ports(protocol: u64, found: u64) -> u64 {
    found & 0_u64.wrapping_sub(u64::from(HAS_PORTS[protocol as u8 as usize]))
}

/// 1 for protocols with ports: TCP, UDP, DCCP, SCTP, UDP-Lite. A table, since the verifier would go through all that
/// follows once for each protocol that is compared with.
static HAS_PORTS: [u8; 256] = {
    let mut table = [0; 256];
    table[6] = 1;
    table[17] = 1;
    table[33] = 1;
    table[132] = 1;
    table[136] = 1;
    table
};

/// Mixes two words into one, whose upper bits depend on all of both.
#[inline(always)]
fn mix(one: u64, two: u64) -> u64 {
    let product = (one ^ two.rotate_left(23)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 31
}
