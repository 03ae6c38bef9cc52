//! TCP segments.

use super::{SILENT, Thing, always, flag, known, without_reasons};
use crate::model::tcp_flags::TcpFlags;
use crate::reasons::Class::{Malformed, Resource, Socket, Tcp, Unknown};

const LISTENERS: &str = "`ss -tlnp[ sport = :{dport}]` in this namespace (address, %device); for a VRF `sysctl net.ipv4.tcp_l3mdev_accept`.";
const NOBODY: &[(&str, &str)] = &[("NO_SOCKET", "tcp_v4_rcv"), ("NO_SOCKET", "tcp_v6_rcv")];
const SILENT_RCV: &[(&str, &str)] = &[(SILENT, "tcp_v4_rcv"), (SILENT, "tcp_v6_rcv")];
const SILENT_DO_RCV: &[(&str, &str)] = &[(SILENT, "tcp_v4_do_rcv"), (SILENT, "tcp_v6_do_rcv")];
/// Of a TCP header without options. At TCP's entrance the packet begins with it.
const HEADER_BYTES: u32 = 20;
const COUNTERS: &str = "`ss -tanp[ dst {src}]` (TIME-WAIT, SYN-RECV) and `nstat -az | grep -E 'ListenOverflows|ListenDrops|TimeWait|TW'`.";

const COUNTERS_OR_MAC: &str = "`ss -tanp[ dst {src}]` (TIME-WAIT, SYN-RECV), `nstat -az | grep -E 'ListenOverflows|ListenDrops|TimeWait|TW'`, \
     `tcpdump -e -vv -nn -i {dev|any}[ host {src}]` (destination MAC, lengths).";

pub(super) const THINGS: &[Thing] = &[
    known(
        NOBODY,
        |drop| flag(drop, TcpFlags::RST),
        Unknown,
        "A RST that no TCP socket took. Often normal: the connection is not there, or no longer, and a RST asks for nothing and is not \
         answered. But a socket that is bound to another device or VRF than the packet came in by does not get it either, and goes on \
         waiting: not evaluated.",
        "`ss -tanp[ dst {src}]` (%device) against the device; `tcpdump -nn -i {dev|any}[ host {src}]` if there are many (scans, forged \
         senders).",
    ),
    known(
        NOBODY,
        |drop| flag(drop, TcpFlags::SYN) && !flag(drop, TcpFlags::ACK),
        Socket,
        "Somebody wants to connect, and no TCP socket in the packet's network namespace listens for it: either none has this port, or \
         it is bound to another address, device or VRF: not evaluated. The kernel answers with a RST, unless an IPsec policy forbids the \
         packet.",
        LISTENERS,
    ),
    known(
        NOBODY,
        always,
        Socket,
        "A segment of a connection for which no TCP socket was found: either it ended or was aborted here before (a late segment, a \
         restart), or it was never this host's (addresses or ports were changed on the way), or its socket is bound to another device or \
         VRF than the packet came in by (another way back than out): not evaluated. The kernel answers with a RST, unless an IPsec \
         policy forbids the packet.",
        "`ss -tanp[ dst {src}]` for what there is (%device) and `conntrack -L -p tcp[ -s {src}]` for translations; `nstat -az TcpOutRsts`.",
    ),
    known(
        SILENT_RCV,
        |drop| drop.len < HEADER_BYTES,
        Malformed,
        "The packet is too short to hold a TCP header.",
        "`tcpdump -vv -e -nn -i {dev|any}[ host {src}]`; `nstat -az TcpInErrs`.",
    ),
    known(
        SILENT_RCV,
        |drop| without_reasons(drop) && flag(drop, TcpFlags::SYN) && !flag(drop, TcpFlags::ACK),
        Unknown,
        "Somebody wants to connect: either no TCP socket here listens for it (the port, or its address, device or VRF), or the SYN was \
         repeated while its handshake goes on (often normal), or a check came first (length, checksum, filter, IPsec, TTL, a broadcast \
         or multicast MAC address): not evaluated.",
        LISTENERS,
    ),
    known(
        SILENT_RCV,
        without_reasons,
        Unknown,
        "Either the segment belongs to no connection here, or to one that is closed already (TIME_WAIT: often normal; data for FIN_WAIT2 \
         is answered with a RST and lost), or to a handshake that cannot be finished (an accept queue without room), or a check came \
         first (length, checksum, filter, IPsec, TTL, a broadcast or multicast MAC address): not evaluated.",
        COUNTERS,
    ),
    known(
        SILENT_RCV,
        |drop| flag(drop, TcpFlags::RST),
        Unknown,
        "Often normal: a RST for a handshake that was not finished, or for a connection in TIME_WAIT, ends what is left of it or is \
         ignored, and is freed here. One whose frame was sent to a broadcast or multicast MAC address, or that is shorter than its \
         header says, ends here too, without any effect: not evaluated.",
        "Nothing by itself; `tcpdump -e -nn -i {dev|any}[ host {src}]` (destination MAC), `nstat -az | grep -E 'TcpEstabResets|TcpAttemptFails'`.",
    ),
    known(
        SILENT_RCV,
        |drop| flag(drop, TcpFlags::FIN),
        Unknown,
        "Often normal: the FIN of a peer whose connection this end has closed first (TIME_WAIT) is acknowledged and freed here, and a \
         repeated one too. A handshake that cannot be finished (accept queue without room, before 6.14), a frame to a broadcast or \
         multicast MAC address and a segment shorter than its header says end here too: not evaluated.",
        COUNTERS,
    ),
    known(
        SILENT_RCV,
        |drop| flag(drop, TcpFlags::SYN) && !flag(drop, TcpFlags::ACK),
        Unknown,
        "Often normal: a SYN that is repeated while its handshake goes on is freed here, and answered again. One that does not fit a \
         connection in TIME_WAIT, one in a frame to a broadcast or multicast MAC address (TCP takes none of these), and one that is \
         shorter than its header says end here too, without an answer: not evaluated.",
        COUNTERS_OR_MAC,
    ),
    known(
        SILENT_RCV,
        always,
        Unknown,
        "Either a late segment of a connection that both ends have closed (TIME_WAIT), which is acknowledged and often normal; or data for \
         one that only this end has closed (FIN_WAIT2), which is answered with a RST and lost; or the last step of a handshake that does \
         not fit, or for which the accept queue has no room (before 6.14); or a frame to a broadcast or multicast MAC address, or a \
         segment shorter than its header says: not evaluated.",
        COUNTERS_OR_MAC,
    ),
    known(
        &[
            ("TCP_FLAGS", "tcp_v4_do_rcv"),
            ("TCP_FLAGS", "tcp_v6_do_rcv"),
        ],
        |drop| flag(drop, TcpFlags::ACK) && !flag(drop, TcpFlags::SYN),
        Tcp,
        "An ACK came to a listening socket for which no handshake is under way: either a segment of a connection that this host does not \
         know (any more), or whose socket is bound to another device or VRF; or the end of a handshake by SYN cookie that was too late or does not fit: not evaluated. It is answered with a RST.",
        "`nstat -az | grep -E 'Syncookies'` and `tcpdump -nn -i {dev|any}[ host {src}]`.",
    ),
    known(
        SILENT_DO_RCV,
        always,
        Unknown,
        "The segment does not fit its socket: either its checksum is wrong, or its state (an ACK to a listening socket, a SYN cookie \
         that does not fit, a handshake without a usable child): not evaluated.",
        "`ss -tanp[ dst {src}]` and `nstat -az | grep -E 'TcpInCsumErrors|Syncookies|Listen'`.",
    ),
    known(
        &[
            ("TCP_INVALID_SEQUENCE", "tcp_validate_incoming"),
            ("TCP_INVALID_END_SEQUENCE", "tcp_validate_incoming"),
            ("TCP_OVERWINDOW", "tcp_data_queue"),
            ("TCP_ZEROWINDOW", "tcp_data_queue"),
        ],
        |drop| drop.reason.name.as_deref() != Some("TCP_ZEROWINDOW"),
        Tcp,
        "The segment lies outside the receive window: either the window is closed because the program here does not read and the peer \
         tries it again, or the segment is a stray (old, forged, or of a connection whose addresses were reused): not evaluated.",
        "`ss -tnmiO[ dst {src}]` (Recv-Q, rmem: does the program read?), `nstat -az | grep -E 'BeyondWindow|ChallengeACK|ZeroWindow'`.",
    ),
    known(
        &[("TCP_ZEROWINDOW", "tcp_data_queue")],
        always,
        Resource,
        "Data came although the receive window is closed: the program here has not read what came before.",
        "`ss -tnmp[ dst {src}]` (Recv-Q: which program does not read?), `nstat -az TcpExtTCPZeroWindowDrop`.",
    ),
    known(
        &[
            ("TCP_FLAGS", "tcp_validate_incoming"),
            ("TCP_FLAGS", "tcp_rcv_established"),
            ("TCP_FLAGS", "tcp_rcv_state_process"),
        ],
        |drop| flag(drop, TcpFlags::SYN) && flag(drop, TcpFlags::FIN),
        Malformed,
        "A segment with both SYN and FIN, which no ordinary TCP sends.",
        "`tcpdump -nn -i {dev|any}[ host {src}]`; port scanners send such segments.",
    ),
    known(
        &[
            (SILENT, "tcp_rcv_state_process"),
            (SILENT, "tcp_rcv_synsent_state_process"),
        ],
        always,
        Unknown,
        "The segment does not fit the state of its connection: either flags or acknowledgement do not fit a handshake, or the socket \
         is closed or closing, or it cannot take data any more; a SYN that a listener does not take (full queues) can end here too: \
         not evaluated.",
        "`ss -tanp[ dst {src}]` and `nstat -az | grep -E 'Listen|TCPAbort|ChallengeACK'`.",
    ),
    known(
        &[
            (SILENT, "tcp_data_queue"),
            (SILENT, "tcp_rcv_established"),
            (SILENT, "tcp_validate_incoming"),
        ],
        always,
        Unknown,
        "The segment does not fit its open connection: either it was received before, or lies outside the window (also when the \
         program here does not read), or its timestamp is outdated, or its flags or checksum do not fit, or memory is short: not \
         evaluated.",
        "`ss -tnmiO[ dst {src}]` and `nstat -az | grep -E 'PAWS|ChallengeACK|ZeroWindow|OFO|Pruned|TcpInCsumErrors'`.",
    ),
];
