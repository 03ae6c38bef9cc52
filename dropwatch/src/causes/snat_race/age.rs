//! How long the connection in the way had been there, by what is left of its time-out, and how long before its drop
//! a packet's port may have been chosen.
//!
//! Every packet starts a time-out anew, so that what is left tells how long ago the *last* one was: an entry is at
//! least that old, and may be much older.

use dropwatch_common::record::ct_insert::status;

use crate::{
    facts::{ConntrackEntry, ConntrackTimeouts, ruleset::Ruleset},
    judge::View,
    model::{anchor::Drop, hook::Hook},
    netfilter::{self, Packet},
};

/// Conntrack counts whole seconds, and reading takes a while: less is no difference.
pub const SLACK_NS: u64 = 2 * SECOND_NS;

/// Nanoseconds of a second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Priority at which sources are translated (`NF_IP_PRI_NAT_SRC`, include/uapi/linux/netfilter_ipv4.h).
const NAT_SRC: i64 = 100;

/// The kernel's default time-outs (net/netfilter/nf_conntrack_proto_{tcp,udp,icmp}.c, 5.10 to 7.2).
const DEFAULTS: ConntrackTimeouts = ConntrackTimeouts {
    udp: Some(30),
    udp_stream: Some(120),
    icmp: Some(30),
    tcp_syn_sent: Some(120),
    tcp_syn_recv: Some(60),
    tcp_established: Some(432_000),
};

/// Unacknowledged data and retransmissions shorten an established connection's time-out to this (`tcp_timeouts`,
/// net/netfilter/nf_conntrack_proto_tcp.c): below it, the full one is not known.
const TCP_SHORTENED_S: u64 = 300;

/// How long before its reading a connection's last packet was, in nanoseconds; `None` where that cannot be told.
pub fn idle_ns(
    proto: u8,
    status: u32,
    tcp_state: Option<&str>,
    left_ms: u64,
    set: Option<&ConntrackTimeouts>,
) -> Option<u64> {
    let set = set.unwrap_or(&DEFAULTS);
    let full = match (i32::from(proto), tcp_state) {
        (libc::IPPROTO_TCP, Some("SYN_SENT")) => set.tcp_syn_sent.or(DEFAULTS.tcp_syn_sent),
        (libc::IPPROTO_TCP, Some("SYN_RECV")) => set.tcp_syn_recv.or(DEFAULTS.tcp_syn_recv),
        (libc::IPPROTO_TCP, Some("ESTABLISHED")) if left_ms > TCP_SHORTENED_S * 1000 => {
            set.tcp_established.or(DEFAULTS.tcp_established)
        }
        // Between the first answer and the stream it may be either.
        (libc::IPPROTO_UDP, _) if status & status::SEEN_REPLY == 0 => set.udp.or(DEFAULTS.udp),
        (libc::IPPROTO_UDP, _) if status & status::ASSURED != 0 => {
            set.udp_stream.or(DEFAULTS.udp_stream)
        }
        (libc::IPPROTO_ICMP, _) => set.icmp.or(DEFAULTS.icmp),
        _ => None,
    }?;
    // More than the full one: a rule gave this connection another.
    let idle_ms = (u64::from(full) * 1000).checked_sub(left_ms)?;
    Some(idle_ms * 1_000_000)
}

/// The same for an entry as conntrack tells of it: up to a second too much, for it counts whole ones.
pub fn entry_idle_ns(
    proto: u8,
    entry: &ConntrackEntry,
    set: Option<&ConntrackTimeouts>,
) -> Option<u64> {
    let left_ms = u64::from(entry.timeout_s?) * 1000;
    idle_ns(
        proto,
        entry.status,
        entry.tcp_state.as_deref(),
        left_ms,
        set,
    )
}

/// How long before its drop the packet's port may have been chosen: a queue behind the translation holds packets
/// that have their port and are not entered yet. 0 = in the same breath.
pub fn held_ns(drop: &Drop, view: &View<'_>) -> u64 {
    let Some(trip) = &drop.queue else {
        return 0;
    };
    // At earlier hooks it was queued before anything was translated.
    if !matches!(trip.hook, Some(Hook::Postrouting | Hook::Input) | None) {
        return 0;
    }
    let Some(queued) = &trip.queued else {
        return u64::MAX;
    };
    let rules = view.ruleset(drop.netns);
    if trip
        .hook
        .zip(rules)
        .is_some_and(|(hook, set)| queues_before_translation(drop, hook, set))
    {
        return 0;
    }
    drop.time_ns.saturating_sub(queued.time_ns)
}

/// Whether every rule that can have queued it stands before the translation of sources.
fn queues_before_translation(drop: &Drop, hook: Hook, set: &Ruleset) -> bool {
    let Some((at_drop, queued)) =
        Packet::at_drop(drop, hook).zip(drop.queue.as_ref().and_then(|trip| trip.queued.as_ref()))
    else {
        return false;
    };
    // It may have had other addresses then.
    let packet = Packet {
        mark: Some(queued.mark),
        src: None,
        dst: None,
        sport: None,
        dport: None,
        ..at_drop
    };
    let found = netfilter::queued_by(set, &packet, queued.queue, None);
    let before = |priority: i64| priority < NAT_SRC;
    found.complete
        && !found.list.is_empty()
        && found
            .list
            .iter()
            .all(|one| one.base.base.as_ref().is_some_and(|b| before(b.priority)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: u8 = 17;
    const TCP: u8 = 6;

    fn idle_s(proto: u8, status: u32, state: Option<&str>, left_s: u64) -> Option<u64> {
        idle_ns(proto, status, state, left_s * 1000, None).map(|ns| ns / SECOND_NS)
    }

    #[test]
    fn what_is_left_tells_of_the_last_packet_where_the_full_time_is_known() {
        let assured = status::SEEN_REPLY | status::ASSURED;
        for (proto, status, state, left, idle) in [
            (UDP, 0, None, 30, Some(0)),
            (UDP, 0, None, 12, Some(18)),
            (UDP, status::SEEN_REPLY, None, 29, None),
            (UDP, assured, None, 100, Some(20)),
            (TCP, 0, Some("SYN_SENT"), 120, Some(0)),
            (TCP, assured, Some("ESTABLISHED"), 431_990, Some(10)),
            (TCP, assured, Some("ESTABLISHED"), 299, None),
            (TCP, assured, Some("TIME_WAIT"), 119, None),
            // Another time-out was set for it.
            (UDP, 0, None, 31, None),
            (47, 0, None, 30, None),
        ] {
            assert_eq!(
                idle_s(proto, status, state, left),
                idle,
                "{proto} {state:?} {left}"
            );
        }
    }

    #[test]
    fn the_namespaces_own_time_outs_count() {
        let set = ConntrackTimeouts {
            udp: Some(120),
            ..ConntrackTimeouts::default()
        };
        let idle = |left_s: u64| idle_ns(UDP, 0, None, left_s * 1000, Some(&set));
        assert_eq!(idle(30), Some(90 * SECOND_NS));
        assert_eq!(idle(120), Some(0));
    }
}
