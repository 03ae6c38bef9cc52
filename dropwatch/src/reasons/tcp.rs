//! Reasons of TCP.

use super::Class::{Config, Malformed, Normal, Resource, Tcp};
use super::{ReasonText, text};

const AUTH: &str = "`nstat -az | grep -E 'TCPMD5|TCPAO'`; compare the keys of both ends (BGP daemons are the usual users).";
const TRACE: &str = "`ss -tniO[ dst {src}]` for the connection's state and `tcpdump -nn -i {dev|any}[ host {src}]` for the segment.";
const CLOCK: &str = "`nstat -az | grep -E 'PAWS|TSEcr'`; suspect several machines behind one address, a changed path, or a peer that was restored or restarted.";

pub(super) const TABLE: &[ReasonText] = &[
    text(
        "TCP_ABORT_ON_DATA",
        Tcp,
        "Data arrived for a connection whose process had already closed it, so the kernel answers with a reset.",
        "`nstat -az TcpExtTCPAbortOnData`; find out why the program closes while the peer still sends.",
    ),
    text(
        "TCP_ACK_UNSENT_DATA",
        Tcp,
        "The segment acknowledges data that was never sent on this connection.",
        TRACE,
    ),
    text(
        "TCP_AOFAILURE",
        Config,
        "The TCP-AO signature is wrong: the two ends use different keys, or the segment was changed on its way.",
        AUTH,
    ),
    text(
        "TCP_AOKEYNOTFOUND",
        Config,
        "The segment is signed with a TCP-AO key that this end does not have.",
        AUTH,
    ),
    text(
        "TCP_AONOTFOUND",
        Config,
        "The connection requires a TCP-AO signature and the segment has none.",
        AUTH,
    ),
    text(
        "TCP_AOUNEXPECTED",
        Config,
        "The segment has a TCP-AO signature and this connection does not expect one.",
        AUTH,
    ),
    text(
        "TCP_AUTH_HDR",
        Malformed,
        "The segment carries signature options (TCP-MD5, TCP-AO) twice or in a wrong form.",
        AUTH,
    ),
    text(
        "TCP_CLOSE",
        Tcp,
        "The segment belongs to a TCP socket that is closed already.",
        "Usually late segments of a finished connection; `nstat -az | grep TCPAbort` if connections end unexpectedly.",
    ),
    text(
        "TCP_CSUM",
        Malformed,
        "The TCP checksum does not fit what arrived: the segment was changed or damaged on its way, or its sender never completed it.",
        "`nstat -az TcpInCsumErrors`; if packets come from a virtual device, check offloads with `ethtool -k {dev}`.",
    ),
    text(
        "TCP_FASTOPEN",
        Tcp,
        "The segment does not fit a connection that is being opened with TCP Fast Open.",
        "`sysctl net.ipv4.tcp_fastopen` and `nstat -az | grep TCPFastOpen`.",
    ),
    text(
        "TCP_FLAGS",
        Malformed,
        "The TCP flags make no sense in the connection's state, such as a segment without ACK in an open connection or SYN together with FIN.",
        "`tcpdump -nn -i {dev|any}[ host {src}]`; port scanners send such segments.",
    ),
    text(
        "TCP_INVALID_ACK_SEQUENCE",
        Tcp,
        "The acknowledged number lies outside of what this end has sent and not yet seen acknowledged.",
        TRACE,
    ),
    text(
        "TCP_INVALID_END_SEQUENCE",
        Tcp,
        "The segment's last byte lies beyond the receive window, which is closed when the program here does not read.",
        "`nstat -az TcpExtBeyondWindow`; then `ss -tniO[ dst {src}]` and a capture of the segment.",
    ),
    text(
        "TCP_INVALID_SEQUENCE",
        Tcp,
        "The segment's sequence number lies outside the receive window, which is closed when the program here does not read.",
        TRACE,
    ),
    text(
        "TCP_INVALID_SYN",
        Tcp,
        "A SYN came in on a connection that exists already, so the kernel answers with a challenge ACK.",
        "`nstat -az | grep -E 'SYNChallenge|ChallengeACK'`; typical for a peer that restarted, or two clients given the same translated port.",
    ),
    text(
        "TCP_LISTEN_OVERFLOW",
        Resource,
        "The listening socket's queue of finished connections is full: the program does not call accept fast enough.",
        "`ss -ltn` (Recv-Q at Send-Q) and `nstat -az TcpExtListenOverflows`; raise the program's backlog and `net.core.somaxconn`.",
    ),
    text(
        "TCP_MD5FAILURE",
        Config,
        "The TCP-MD5 signature is wrong: the two ends use different passwords, or an address translation changed the segment.",
        AUTH,
    ),
    text(
        "TCP_MD5NOTFOUND",
        Config,
        "The connection requires a TCP-MD5 signature and the segment has none.",
        AUTH,
    ),
    text(
        "TCP_MD5UNEXPECTED",
        Config,
        "The segment has a TCP-MD5 signature and this end has no password for the peer.",
        AUTH,
    ),
    text(
        "TCP_MINTTL",
        Config,
        "The TTL or hop limit is below the socket's minimum (IP_MINTTL or IPV6_MINHOPCOUNT), so the peer is further away than the program allows.",
        "`nstat -az TcpExtTCPMinTTLDrop`; see the program's TTL security setting (BGP: ttl-security, GTSM).",
    ),
    text(
        "TCP_OFOMERGE",
        Normal,
        "The data is already held among the segments that came out of order.",
        "Nothing by itself; many of these mean reordering or needless retransmission: `nstat -az TcpExtTCPOFOMerge`.",
    ),
    text(
        "TCP_OFO_DROP",
        Normal,
        "A segment held out of order is no longer needed: its data has been received in the meantime.",
        "Nothing: the data is not lost.",
    ),
    text(
        "TCP_OFO_QUEUE_PRUNE",
        Resource,
        "Segments that came out of order were thrown away because the socket's memory is full; the peer must send them again.",
        "`nstat -az | grep -E 'OfoPruned|RcvPruned'`, `ss -tmpn`, `sysctl net.ipv4.tcp_rmem`.",
    ),
    text(
        "TCP_OLD_ACK",
        Normal,
        "The segment acknowledges what was acknowledged before.",
        "Nothing: duplicates and reordering cause this.",
    ),
    text(
        "TCP_OLD_DATA",
        Normal,
        "The data was received before: the peer sent it again although it had arrived.",
        "Nothing by itself; `nstat -az TcpExtDelayedACKLost` grows when acknowledgements are lost or late.",
    ),
    text(
        "TCP_OLD_SEQUENCE",
        Normal,
        "The segment lies wholly before the receive window, so nothing in it is new: either it is a duplicate, or a probe that begins one byte early on purpose (a keepalive, or the question whether a closed window has opened), which is answered: not evaluated.",
        "Nothing by itself. `ss -tnmio[ dst {src}]`: a Recv-Q that stays large means that the program here does not read; else many of these on a busy connection mean that acknowledgements do not reach the peer.",
    ),
    text(
        "TCP_OVERWINDOW",
        Tcp,
        "The data begins beyond the right edge of the receive window.",
        TRACE,
    ),
    text(
        "TCP_RESET",
        Tcp,
        "A RST segment that must not end a connection: its sequence number is not exactly the expected one, or it reached a listening socket.",
        "`nstat -az TcpExtTCPChallengeACK` and `tcpdump -nn -i {dev|any} 'tcp[[13] & 4 != 0'`.",
    ),
    text(
        "TCP_RFC7323_PAWS",
        Tcp,
        "The segment's timestamp is older than one seen before, so TCP takes it for a stray from the past (PAWS).",
        CLOCK,
    ),
    text(
        "TCP_RFC7323_PAWS_ACK",
        Normal,
        "An old acknowledgement with an outdated timestamp arrived late.",
        "Nothing by itself; `nstat -az | grep PAWS` counts them, and many of them mean reordering.",
    ),
    text(
        "TCP_RFC7323_TSECR",
        Tcp,
        "The timestamp that the peer echoes is not one that this end has sent.",
        CLOCK,
    ),
    text(
        "TCP_RFC7323_TW_PAWS",
        Tcp,
        "A segment for a connection in TIME_WAIT has an outdated timestamp, so it cannot open a new one.",
        CLOCK,
    ),
    text(
        "TCP_TOO_OLD_ACK",
        Tcp,
        "The segment acknowledges something so old that TCP treats it as a possible attack and answers with a challenge ACK.",
        "`nstat -az TcpExtTCPChallengeACK`; then a capture of the connection.",
    ),
    text(
        "TCP_ZEROWINDOW",
        Resource,
        "Data arrived although this end announces a window of zero: its receive buffer is full.",
        "`nstat -az TcpExtTCPZeroWindowDrop` and `ss -tmpn`: which program does not read?",
    ),
];
