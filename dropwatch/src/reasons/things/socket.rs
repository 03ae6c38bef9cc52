//! UDP, ICMP and raw sockets, and what waits in queues of sockets that are closed.

use super::{ANYWHERE, SILENT, Thing, always, flag, icmp, known, packet, to_many, without_reasons};
use crate::model::{proto::Proto, tcp_flags::TcpFlags};
use crate::reasons::Class::{Malformed, Normal, Socket, Unknown};

/// Of a UDP header.
const HEADER_BYTES: u32 = 8;

const CLOSED_UDP: &str = "No UDP socket in the packet's network namespace takes it: either none is bound to this port and address, or one is but \
     connected to another peer or bound to another device or VRF: not evaluated. For a packet to one host the kernel answers with \
     ICMP (port unreachable), as a rule.";
const LISTENERS: &str = "`ss -uanp[ sport = :{dport}]` in this namespace (local and peer address, %device); for a VRF `sysctl net.ipv4.udp_l3mdev_accept`.";

pub(super) const THINGS: &[Thing] = &[
    // Freed in icmp_rcv up to 6.12, and in the socket's own function before and after.
    known(
        &[
            ("NO_SOCKET", "ping_rcv"),
            ("NO_SOCKET", "icmp_rcv"),
            ("NO_SOCKET", "icmpv6_rcv"),
            (SILENT, "ping_rcv"),
        ],
        |drop| icmp(drop, 0, 129),
        Unknown,
        "An echo reply (an answer to a ping) that no ICMP datagram socket took. Often normal: raw sockets, which most ping programs use, \
         get copies of their own before, so an answered ping ends here. But a socket that is bound to another device or VRF than the \
         answer came in by (ping -I) gets neither: not evaluated.",
        "Nothing, unless a ping misses its answers: `ss -wanp` lists raw sockets (%device).",
    ),
    known(
        &[(SILENT, "icmp_rcv")],
        |drop| icmp(drop, 0, 129),
        Unknown,
        "An echo reply (an answer to a ping) that no ICMP datagram socket took (none waits, or it is bound to another device or VRF), or \
         whose checksum does not fit: not evaluated. Often normal: raw sockets, which most ping programs use, get copies of their own \
         before, and an answered ping ends so.",
        "`nstat -az | grep -E 'IcmpInErrors|IcmpInCsumErrors'`.",
    ),
    known(
        &[
            ("NO_SOCKET", "icmp_rcv"),
            ("NO_SOCKET", "icmpv6_rcv"),
            ("NO_SOCKET", "ping_rcv"),
        ],
        always,
        Socket,
        "No socket took this ICMP message: either none waits for it, or the one that does is bound to another device or VRF: not \
         evaluated. Copies for raw sockets are made before.",
        "`tcpdump -vv -nn -i {dev|any} icmp or icmp6` and `ss -wanp` (%device).",
    ),
    known(
        &[
            ("NO_SOCKET", "__udp4_lib_rcv"),
            ("NO_SOCKET", "__udp6_lib_rcv"),
            ("NO_SOCKET", "udp_rcv"),
            ("NO_SOCKET", "udpv6_rcv"),
        ],
        always,
        Socket,
        CLOSED_UDP,
        LISTENERS,
    ),
    // UDP takes its own header off for a socket only.
    known(
        &[
            (SILENT, "__udp4_lib_rcv"),
            (SILENT, "__udp6_lib_rcv"),
            (SILENT, "udp_rcv"),
            (SILENT, "udpv6_rcv"),
        ],
        |drop| drop.len < HEADER_BYTES,
        Malformed,
        "The packet is too short to hold a UDP header.",
        "`tcpdump -vv -e -nn -i {dev|any}[ host {src}]`; `nstat -az UdpInErrors`.",
    ),
    known(
        &[
            (SILENT, "__udp4_lib_rcv"),
            (SILENT, "__udp6_lib_rcv"),
            (SILENT, "udp_rcv"),
            (SILENT, "udpv6_rcv"),
            (SILENT, "__udp4_lib_mcast_deliver"),
            (SILENT, "__udp6_lib_mcast_deliver"),
        ],
        to_many,
        Socket,
        "A datagram to a multicast group or to everybody, and no UDP socket took a copy: either none is bound to this port, or those \
         that are did not join this group on this device (or do not take other sockets' groups, IP_MULTICAST_ALL), or an IPsec policy \
         or the checksum refused it: not evaluated. Often normal: it was for others.",
        "`ss -uanp[ sport = :{dport}]` and, for a group, `ip maddr show[ dev {dev}]`.",
    ),
    known(
        &[(SILENT, "__udp4_lib_rcv"), (SILENT, "__udp6_lib_rcv")],
        without_reasons,
        Socket,
        "The datagram reached UDP and was refused: either no UDP socket takes it (none is bound to this port and address, or it is \
         connected to another peer or bound to another device or VRF), or its length or checksum does not fit, or an IPsec policy \
         refused it: not evaluated.",
        "`ss -uanp[ sport = :{dport}]`, `nstat -az | grep -E 'UdpNoPorts|InCsumErrors'`, `ip xfrm policy`.",
    ),
    known(
        &[
            (SILENT, "__udp4_lib_rcv"),
            (SILENT, "__udp6_lib_rcv"),
            (SILENT, "udp_rcv"),
            (SILENT, "udpv6_rcv"),
        ],
        always,
        Unknown,
        "The datagram reached UDP and was refused: either an IPsec policy demands protection that it does not have, or it went to the \
         broadcast address of a network and no socket took a copy: not evaluated.",
        "`ip xfrm policy`, `cat /proc/net/xfrm_stat` (XfrmIn), `ss -uanp[ sport = :{dport}]`, `nstat -az | grep Udp`.",
    ),
    known(
        &[
            ("QUEUE_PURGE", ANYWHERE),
            (SILENT, "sk_stream_kill_queues"),
            (SILENT, "inet_sock_destruct"),
            (SILENT, "tcp_disconnect"),
        ],
        |drop| flag(drop, TcpFlags::FIN) && drop.len == 0,
        Normal,
        "The FIN of the peer was still in the queue of a TCP socket when that was closed: both ends have closed the connection, and a \
         FIN without data is nothing that anybody could have read.",
        "Nothing.",
    ),
    known(
        &[
            ("QUEUE_PURGE", ANYWHERE),
            (SILENT, "sk_stream_kill_queues"),
            (SILENT, "inet_sock_destruct"),
            (SILENT, "tcp_disconnect"),
        ],
        |drop| packet(drop, |p| p.proto == Proto::TCP),
        Socket,
        "A TCP segment was freed with the queue that it waited in: as a rule data that the program had not read when it closed the \
         connection, or a device's queue that was emptied: not evaluated.",
        "`nstat -az TcpExtTCPAbortOnClose` counts connections that were closed with unread data; else `ip monitor link`.",
    ),
    known(
        &[
            (SILENT, "udp_destruct_common"),
            (SILENT, "udp_destruct_sock"),
            (SILENT, "udpv6_destruct_sock"),
            ("QUEUE_PURGE", "udp_destruct_common"),
            ("SOCKET_CLOSE", "udp_destruct_common"),
        ],
        always,
        Socket,
        "A UDP socket was closed, and datagrams that its program had not read went with it. Often normal: a program ends, or has its \
         answer from another packet.",
        "`ss -uampn`: a receive queue that stays filled belongs to a program that does not read.",
    ),
    known(
        &[
            ("QUEUE_PURGE", ANYWHERE),
            (SILENT, "skb_queue_purge"),
            (SILENT, "skb_queue_purge_reason"),
            (SILENT, "__skb_queue_purge"),
            (SILENT, "__skb_queue_purge_reason"),
            (SILENT, "inet_sock_destruct"),
            (SILENT, "sk_stream_kill_queues"),
            (SILENT, "packet_release"),
        ],
        always,
        Unknown,
        "A queue was emptied with all that waited in it: either a socket was closed before its program had read this (for a capturing \
         program that is only its copy), or a device, its queue or a network namespace went away: not evaluated. Often normal: \
         something was stopped.",
        "Nothing, unless that should not have been stopped: `ip monitor link`, `journalctl -e`.",
    ),
    known(
        &[(SILENT, "packet_rcv"), (SILENT, "tpacket_rcv")],
        always,
        Normal,
        "A capturing program (packet socket) did not get its copy; the packet itself goes its way.",
        "`ss -0pm` shows packet sockets and their drops; a larger capture buffer helps (`tcpdump -B`).",
    ),
];
