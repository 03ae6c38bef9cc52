//! Evidence for a connection that conntrack would not insert.
//!
//! A new connection's entry hangs on its first packet until the last hook, where `__nf_conntrack_confirm`
//! (net/netfilter/nf_conntrack_core.c) inserts it. If its tuple is taken by then, the packet is dropped with
//! the entry still on it, not confirmed. No rule drops that late: source translation is done just before.

use dropwatch_common::{
    config::word,
    fields::Field,
    record::{
        Section,
        ct_insert::{CtInsert, status, tuple},
    },
};

use crate::{
    kread::{self, Mem, Probe, Ptr},
    maps::config,
    skb::Skb,
};

/// `IP_CT_NEW` in the low bits of `_nfct` (include/uapi/linux/netfilter/nf_conntrack_common.h).
const NEW: u64 = 2;
const INFO_MASK: u64 = 7;

/// An entry that was not inserted.
pub struct Entry {
    ct: Ptr<Probe>,
    status: u32,
}

/// The entry of a dropped packet, if it is new, translated and not inserted.
#[inline(always)]
pub fn entry<M: Mem>(skb: &Skb<M>, reason: u32) -> Option<Entry> {
    if reason != 0 && reason != config(word::REASON_NETFILTER_DROP) {
        return None;
    }
    let nfct: u64 = skb.0.get(Field::sk_buff_nfct);
    // A number for the verifier, so what it points to is read by helper.
    let ct = Ptr::<Probe>::new(nfct & !INFO_MASK);
    if ct.is_null() || nfct & INFO_MASK != NEW {
        return None;
    }
    let bits = ct.get::<u64>(Field::nf_conn_status) as u32;
    let passed = bits & (status::SRC_NAT | status::SRC_NAT_DONE) != 0;
    (passed && bits & status::CONFIRMED == 0).then_some(Entry { ct, status: bits })
}

/// Fills a zeroed record.
#[inline(always)]
pub fn fill(record: &mut CtInsert, entry: &Entry) {
    record.header = CtInsert::header();
    record.status = entry.status;
    record.zone = entry.ct.get::<u16>(Field::nf_conn_zone_id).into();
    for (direction, to) in [
        (0, &mut record.original),
        (tuple::STRIDE, &mut record.reply),
    ] {
        if let Some(hash) = entry.ct.address(Field::nf_conn_tuplehash, direction)
            && let Some(from) = hash.address(Field::nf_conntrack_tuple_hash_tuple, 0)
        {
            kread::probe(from.raw(), to.as_mut_ptr(), tuple::SIZE as u32);
        }
    }
}
