//! Sections that are joined to a drop, to the model.

use std::net::IpAddr;

use dropwatch_common::record::{
    ct_clash::CtClash,
    ct_insert::{CtInsert, tuple as layout},
    nfqueue::{Nfqueue, ran},
};

use crate::model::{
    anchor::Task,
    evidence::{Clash, CtState, Insertion, QueueTrip, Queued, Reinjected},
    hook::Hook,
    tuple::Tuple,
};

/// `NFPROTO_*` (include/uapi/linux/netfilter.h).
const NFPROTO_IPV4: u32 = 2;
const NFPROTO_IPV6: u32 = 10;

/// `None` when the tuples could not be read.
pub fn insertion(record: &CtInsert) -> Option<Insertion> {
    Some(Insertion {
        state: state(record.info),
        status: record.status,
        zone: record.zone,
        original: tuple(&record.original)?,
        reply: tuple(&record.reply)?,
    })
}

/// `enum ip_conntrack_info`; packets of the reply direction have 3 more.
fn state(info: u16) -> CtState {
    match info {
        0 | 3 => CtState::Established,
        1 | 4 => CtState::Related,
        2 => CtState::New,
        _ => CtState::Other,
    }
}

/// `None` when the tuples could not be read.
pub fn clash(record: &CtClash) -> Option<Clash> {
    Some(Clash {
        status: record.status,
        reply_side: record.direction == 1,
        original: tuple(&record.original)?,
        reply: tuple(&record.reply)?,
        timeout_ms: None,
        tcp_state: None,
    })
}

/// A way through a queue.
pub fn queue(record: &Nfqueue) -> QueueTrip {
    let wrote = |group: u32| record.ran & group != 0;
    QueueTrip {
        hook: Hook::from_number(record.hook),
        l3: match record.pf {
            NFPROTO_IPV4 => 4,
            NFPROTO_IPV6 => 6,
            _ => 0,
        },
        queued: wrote(ran::QUEUED).then_some(Queued {
            time_ns: record.queued_ns,
            queue: record.queue as u16,
            mark: record.mark_before,
        }),
        back: wrote(ran::REINJECTED).then(|| Reinjected {
            time_ns: record.reinjected_ns,
            mark: record.mark_after,
            verdict: record.verdict,
            process: Task {
                pid: record.tgid,
                comm: text(&record.comm),
            },
        }),
    }
}

/// A `struct nf_conntrack_tuple`; `None` when it is none of IP.
pub fn tuple(raw: &[u8; layout::SIZE]) -> Option<Tuple> {
    let port = |at: usize| u16::from_be_bytes([raw[at], raw[at + 1]]);
    let family = u16::from_ne_bytes([raw[layout::FAMILY], raw[layout::FAMILY + 1]]);
    let at = |at: usize| -> Option<IpAddr> {
        address(family, <[u8; 16]>::try_from(&raw[at..at + 16]).ok()?)
    };
    Some(Tuple {
        proto: raw[layout::PROTO],
        src: at(layout::SRC)?,
        dst: at(layout::DST)?,
        sport: port(layout::SRC_PORT),
        dport: port(layout::DST_PORT),
    })
}

/// An address of a family; IPv4 in the first four bytes.
pub fn address(family: u16, bytes: [u8; 16]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some([bytes[0], bytes[1], bytes[2], bytes[3]].into()),
        libc::AF_INET6 => Some(bytes.into()),
        _ => None,
    }
}

/// Text up to the first NUL.
pub fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
