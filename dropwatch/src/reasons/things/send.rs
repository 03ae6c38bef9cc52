//! Queueing disciplines, their filters, and devices that cannot send.

use super::{ANYWHERE, SILENT, Thing, always, known};
use crate::reasons::Class::{Device, Resource, Unknown};

const STATS: &str = "`ip -s link show[ dev {dev}]` (NO-CARRIER? then its `dropped` moves and no discipline's counter does), \
     `tc -s qdisc show[ dev {dev}]` (which discipline's dropped or overlimits moves), `tc -s filter show dev {dev}`.";

pub(super) const THINGS: &[Thing] = &[
    // 7.2 frees them in lists.
    known(
        &[
            ("QDISC_DROP", ANYWHERE),
            ("QDISC_DROP_GENERIC", ANYWHERE),
            ("QDISC_DROP_UNSPEC", ANYWHERE),
        ],
        always,
        Unknown,
        "The way out of the device did not take the packet. The kernel gives this one reason for many checks: no queue at all, as the \
         device has no carrier or is down (noop); a filter or policer of a discipline; netem's loss; a packet larger than tbf's burst; \
         a limit; an early drop by an AQM: not evaluated which.",
        STATS,
    ),
    known(
        &[
            ("QDISC_OVERLIMIT", ANYWHERE),
            ("QDISC_DROP_OVERLIMIT", ANYWHERE),
        ],
        always,
        Resource,
        "A queueing discipline of the device holds as many packets or bytes as its limit allows, for the whole or for one flow; this \
         packet was over it, or had to make room (fq_codel takes it from the longest flow).",
        "`tc -s -d qdisc show[ dev {dev}]` (limit, backlog, dropped, overlimits): what fills the queue, and what lets it out so slowly?",
    ),
    known(
        &[
            ("QDISC_CONGESTED", ANYWHERE),
            ("QDISC_DROP_CONGESTED", ANYWHERE),
            (SILENT, "fq_codel_dequeue"),
            (SILENT, "__fq_codel_dequeue"),
            (SILENT, "codel_qdisc_dequeue"),
        ],
        always,
        Resource,
        "The queueing discipline dropped the packet by its own law (CoDel, PIE, RED or the like) because packets wait too long or too \
         many do, to tell the sender to slow down: it works as it is meant to.",
        "`tc -s qdisc show[ dev {dev}]` (drops, target, backlog): what fills the link?",
    ),
    known(
        &[
            (SILENT, "kfree_skb_list"),
            (SILENT, "kfree_skb_list_reason"),
            (SILENT, "__tcf_kfree_skb_list"),
            (SILENT, "__dev_queue_xmit"),
            (SILENT, "__dev_xmit_skb"),
        ],
        always,
        Unknown,
        "The way out of the device did not take the packet: either the device is down or has no carrier (noop), or a discipline dropped \
         it (a limit, a filter or policer, netem's loss, a packet larger than tbf's burst, an early drop), or a filter on the way out \
         did; lists of packets and fragments are freed here too: not evaluated.",
        STATS,
    ),
    known(
        &[
            (SILENT, "rtnl_kfree_skbs"),
            (SILENT, "__rtnl_unlock"),
            (SILENT, "qdisc_reset"),
            (SILENT, "__qdisc_reset"),
            (SILENT, "pfifo_fast_reset"),
        ],
        always,
        Device,
        "Packets that waited in a device's queueing discipline were freed with its queue: either the device went down or away, or the \
         discipline was changed or replaced: not evaluated.",
        "`ip monitor link` and `tc monitor`.",
    ),
    known(
        &[(SILENT, "enqueue_to_backlog")],
        always,
        Unknown,
        "A received packet did not get into the CPU's queue: either that is full, or its flow's share (flow limit) is used up, or the \
         device was just going down: not evaluated.",
        "`cat /proc/net/softnet_stat` (2nd column: drops, 11th: flow limit), `sysctl net.core.netdev_max_backlog`.",
    ),
];
