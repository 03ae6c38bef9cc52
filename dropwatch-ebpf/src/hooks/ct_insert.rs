//! Evidence for a connection that conntrack would not insert.
//!
//! A new connection's entry hangs on its first packet until the last hook, where `__nf_conntrack_confirm`
//! (net/netfilter/nf_conntrack_core.c) inserts it. If its tuple is taken by then, the packet is dropped with
//! the entry still on it, not confirmed. No rule drops that late: source translation is done just before.
//! `nf_ct_resolve_clash` (same file, 5.10 to 7.2) runs only then, and has the entry that is in the way.

use core::mem::MaybeUninit;

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use dropwatch_common::{
    counters,
    fields::Field,
    record::{
        Section,
        ct_clash::CtClash,
        ct_insert::{CtInsert, status, tuple},
    },
};

use crate::{
    call::Call,
    kread::{self, Mem, Probe, Ptr},
    maps::{CLASHES, Clash, JOIN_WITHIN_NS, count},
    skb::Skb,
};

/// `IP_CT_NEW` in the low bits of `_nfct` (include/uapi/linux/netfilter/nf_conntrack_common.h).
const NEW: u64 = 2;
const INFO_MASK: u64 = 7;

/// `nf_ct_resolve_clash(skb, h, reply_hash)`, 5.10 to 7.2.
#[fentry(function = "nf_ct_resolve_clash")]
pub fn ct_clash_fentry(ctx: FEntryContext) -> i32 {
    clashed(&ctx);
    0
}

/// The same where trampolines are refused, or modules have no BTF (5.10).
#[kprobe(function = "nf_ct_resolve_clash")]
pub fn ct_clash_kprobe(ctx: ProbeContext) -> u32 {
    clashed(&ctx);
    0
}

/// Keeps the entry that is in the way for the drop of the packet, should it come to that.
#[inline(always)]
fn clashed<C: Call>(ctx: &C) {
    count(counters::CLASH_SEEN);
    // Half of an entry was found; the whole lies around it, so numbers and a helper it is.
    let hash = Ptr::<Probe>::new(ctx.arg(1));
    let Some(found) = hash.address(Field::nf_conntrack_tuple_hash_tuple, 0) else {
        return;
    };
    let direction = u32::from(found.get::<u8>(Field::nf_conntrack_tuple_dir)) & 1;
    let Some(whole) = hash.back(Field::nf_conn_tuplehash, direction * tuple::STRIDE) else {
        return;
    };
    let mut place = MaybeUninit::<Clash>::uninit();
    let clash = kread::zero(&mut place);
    // SAFETY: a helper without preconditions.
    clash.time_ns = unsafe { bpf_ktime_get_ns() };
    clash.status = whole.get::<u64>(Field::nf_conn_status) as u32;
    clash.direction = direction;
    tuples(whole, &mut clash.original, &mut clash.reply);
    if CLASHES.insert(ctx.arg(0), &*clash, 0).is_err() {
        count(counters::CLASH_STASH_FAILED);
    }
}

/// The entry that hangs on a packet; its pointer is NULL when there is none.
pub struct Entry {
    ct: Ptr<Probe>,
    info: u32,
    status: u32,
    /// The packet's address: clashes are kept under it.
    skb: u64,
}

impl Entry {
    /// No entry.
    pub const NONE: Self = Self {
        ct: Ptr::NULL,
        info: 0,
        status: 0,
        skb: 0,
    };

    /// Whether it is new, past source translation (or at least in its way) and not inserted.
    #[inline(always)]
    pub fn not_inserted(&self) -> bool {
        let passed = self.status & (status::SRC_NAT | status::SRC_NAT_DONE) != 0;
        self.is_new() && passed
    }

    /// Its `IPS_*` bits.
    #[inline(always)]
    pub fn status(&self) -> u32 {
        self.status
    }

    /// Copies the original tuple.
    #[inline(always)]
    pub fn original(&self, to: &mut [u8; tuple::SIZE]) {
        tuple_of(self.ct, 0, to);
    }

    #[inline(always)]
    fn is_new(&self) -> bool {
        !self.ct.is_null() && u64::from(self.info) == NEW && self.status & status::CONFIRMED == 0
    }
}

/// The entry of a packet.
#[inline(always)]
pub fn entry<M: Mem>(skb: &Skb<M>) -> Entry {
    let nfct: u64 = skb.0.get(Field::sk_buff_nfct);
    // A number for the verifier, so what it points to is read by helper.
    let ct = Ptr::<Probe>::new(nfct & !INFO_MASK);
    let status = if ct.is_null() {
        0
    } else {
        ct.get::<u64>(Field::nf_conn_status) as u32
    };
    Entry {
        ct,
        info: (nfct & INFO_MASK) as u32,
        status,
        skb: skb.0.id(),
    }
}

/// Fills a zeroed record.
#[inline(always)]
pub fn fill(record: &mut CtInsert, entry: &Entry) {
    if entry.ct.is_null() {
        record.header = CtInsert::absent();
        return;
    }
    record.header = CtInsert::header();
    record.status = entry.status;
    record.zone = entry.ct.get::<u16>(Field::nf_conn_zone_id);
    record.info = entry.info as u16;
    tuples(entry.ct, &mut record.original, &mut record.reply);
}

/// Fills a zeroed record with the entry that was in the way of this one, if that was seen.
#[inline(always)]
pub fn fill_clash(record: &mut CtClash, entry: &Entry) {
    record.header = CtClash::absent();
    if !entry.is_new() {
        return;
    }
    // SAFETY: copied field by field at once; an entry recycled meanwhile by the LRU belongs to another
    // packet, which the reader notices by the tuples.
    let Some(kept) = (unsafe { CLASHES.get(entry.skb) }) else {
        return;
    };
    // SAFETY: a helper without preconditions.
    let age = unsafe { bpf_ktime_get_ns() }.wrapping_sub(kept.time_ns);
    if age <= JOIN_WITHIN_NS {
        record.header = CtClash::header();
        record.status = kept.status;
        record.direction = kept.direction;
        kread::copy(&kept.original, &mut record.original);
        kread::copy(&kept.reply, &mut record.reply);
    }
    let _ = CLASHES.remove(entry.skb);
}

/// Copies both tuples of an entry.
#[inline(always)]
fn tuples(ct: Ptr<Probe>, original: &mut [u8; tuple::SIZE], reply: &mut [u8; tuple::SIZE]) {
    tuple_of(ct, 0, original);
    tuple_of(ct, tuple::STRIDE, reply);
}

/// Copies the tuple of one direction.
#[inline(always)]
fn tuple_of(ct: Ptr<Probe>, direction: u32, to: &mut [u8; tuple::SIZE]) {
    if let Some(hash) = ct.address(Field::nf_conn_tuplehash, direction)
        && let Some(from) = hash.address(Field::nf_conntrack_tuple_hash_tuple, 0)
    {
        kread::probe(from.raw(), to.as_mut_ptr(), tuple::SIZE as u32);
    }
}
