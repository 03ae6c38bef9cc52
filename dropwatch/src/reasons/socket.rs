//! Reasons around sockets, firewalls and security, and the two that say nothing.

use super::Class::{Firewall, Malformed, Normal, Program, Resource, Socket, Unknown};
use super::{ReasonText, text};

pub(super) const TABLE: &[ReasonText] = &[
    text(
        "BPF_CGROUP_EGRESS",
        Program,
        "An eBPF program attached to the sender's cgroup refused the outgoing packet.",
        "`bpftool cgroup tree` lists such programs and their cgroups; Cilium and systemd (IPAddressDeny=) attach some.",
    ),
    text(
        "MAX",
        Unknown,
        "This is the end marker of the kernel's list and never a real reason.",
        "Seeing it means that the reason was decoded with another kernel's list; please report it.",
    ),
    text(
        "NETFILTER_DROP",
        Firewall,
        "A netfilter hook dropped the packet: an iptables, nftables or ebtables rule or chain policy, or connection tracking itself.",
        "`nft list ruleset` and `iptables-save -c` (watch the counters); `conntrack -S` for insert_failed and drop.",
    ),
    text(
        "NOT_SPECIFIED",
        Unknown,
        "The kernel code that dropped the packet gives no reason, so only the place of the drop tells more.",
        "Look at the function in which it was dropped, and at `nstat -az` for an error counter that moves with it.",
    ),
    text(
        "NO_SOCKET",
        Socket,
        "No socket took the packet: none here is bound to or connected with these addresses and ports, or the one that is has no use for it in its state.",
        "`ss -tuanp` shows addresses, ports and devices that sockets are bound to.",
    ),
    text(
        "PACKET_SOCK_ERROR",
        Resource,
        "A packet socket's filter accepted the packet but handing it to the socket failed; the copy for the capturing program is lost, not the packet itself.",
        "`ss -0pm` shows packet sockets and their drops; a larger capture buffer helps (`tcpdump -B`).",
    ),
    text(
        "PFMEMALLOC",
        Resource,
        "The packet lies in the emergency memory reserve, which this path or socket may not use, so memory was short when it came in.",
        "`free -m`, `dmesg | grep -i 'page allocation'` and `nstat -az TcpExtPFMemallocDrop`; consider a larger `vm.min_free_kbytes`.",
    ),
    text(
        "PROTO_MEM",
        Resource,
        "The memory limit for all sockets of this protocol together is reached.",
        "`cat /proc/net/sockstat` against `sysctl net.ipv4.tcp_mem net.ipv4.udp_mem` (both in pages).",
    ),
    text(
        "QUEUE_PURGE",
        Unknown,
        "A queue was emptied with all that waited in it, as happens when a socket or a device goes away.",
        "Nothing, unless a device or service should not have been stopped: `ip monitor link`, `journalctl -e`.",
    ),
    text(
        "SECURITY_HOOK",
        Firewall,
        "A Linux security module, such as SELinux or Smack, refused the packet.",
        "`ausearch -m avc -ts recent` or `dmesg | grep -i denied`.",
    ),
    text(
        "SKB_CONSUMED",
        Normal,
        "The packet was used up in the ordinary way; this is no drop.",
        "Nothing to look at.",
    ),
    text(
        "SKB_NOT_DROPPED_YET",
        Normal,
        "The packet is not dropped; the kernel uses this value for \"no reason so far\".",
        "Nothing to look at.",
    ),
    text(
        "SOCKET_BACKLOG",
        Resource,
        "The receiving process held the socket locked and its backlog of waiting packets was full.",
        "`nstat -az TcpExtTCPBacklogDrop` and `ss -tmpn`; the limit follows the socket's receive and send buffer sizes.",
    ),
    text(
        "SOCKET_CLOSE",
        Socket,
        "The socket was closed while packets were still waiting in it.",
        "Nothing, unless the process should not have closed it: `ss -tanp`, the service's log.",
    ),
    text(
        "SOCKET_FILTER",
        Program,
        "A filter on the receiving socket (SO_ATTACH_FILTER or SO_ATTACH_BPF), or an eBPF program for its cgroup, refused the packet.",
        "`bpftool cgroup tree` for cgroup programs; `ss -0bp` for filters of packet sockets, where this is just a capture filter at work.",
    ),
    text(
        "SOCKET_RCVBUFF",
        Resource,
        "The socket's receive buffer is full: packets come in faster than the program reads them, at least for a moment.",
        "`ss -uampn` (rmem against rb, drops in d), `nstat -az UdpRcvbufErrors`; speed up the reader or raise `net.core.rmem_max` and SO_RCVBUF.",
    ),
    text(
        "SUBSYS_MASK",
        Unknown,
        "This is a bit mask in the kernel's list and never a real reason.",
        "Seeing it means that the reason was decoded wrongly; please report it.",
    ),
    text(
        "UDP_CSUM",
        Malformed,
        "The UDP checksum does not fit what arrived: the packet was changed or damaged on its way, or its sender never completed it.",
        "`nstat -az UdpInCsumErrors`; if packets come from a virtual device, check offloads with `ethtool -k {dev}`.",
    ),
    text(
        "UNIX_DISCONNECT",
        Normal,
        "A Unix datagram socket was connected to another peer, or saw that its peer is gone, and its receive queue was emptied.",
        "Nothing: this is local communication, no network packet.",
    ),
    text(
        "UNIX_SKIP_OOB",
        Normal,
        "A reader of a Unix socket skipped out-of-band data that it did not ask for.",
        "Nothing: this is local communication, no network packet.",
    ),
];
