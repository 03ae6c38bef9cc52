//! What it means that a packet was freed in a certain function.
//!
//! For kernels that give no reason (before 5.17) and for code that gives none. A hint says what
//! that function does with packets it refuses, not which of its checks it was.
//! Functions as of Linux 5.10 to 7.2.

use super::Class;

/// Hints by function, sorted.
pub(super) const EXACT: &[(&str, Class, &str)] = &[
    (
        "__cgroup_bpf_run_filter_skb",
        Class::Program,
        "An eBPF program attached to a cgroup refused it; see `bpftool cgroup tree`.",
    ),
    (
        "__netif_receive_skb_core",
        Class::Device,
        "Nothing took the received frame: unknown type, a device with no use for it, or an ingress filter; see `tcpdump -e -nn -i {dev|any}` and `tc filter show dev {dev} ingress`.",
    ),
    (
        "__nf_queue",
        Class::Firewall,
        "The packet should go to a queue program (NFQUEUE) but could not be queued; see `cat /proc/net/netfilter/nfnetlink_queue`.",
    ),
    (
        "icmp_rcv",
        Class::Unknown,
        "An ICMP message is malformed, unknown, or ignored by a setting; see `sysctl net.ipv4.icmp_echo_ignore_all` and `nstat -az | grep Icmp`.",
    ),
    (
        "icmpv6_rcv",
        Class::Unknown,
        "An ICMPv6 message is malformed, unknown, or ignored by a setting; see `nstat -az | grep Icmp6`.",
    ),
    (
        "ip6_finish_output2",
        Class::Neighbour,
        "The next hop's neighbour entry could not be made or used; see `ip -6 neigh` and `dmesg | grep 'table overflow'`.",
    ),
    (
        "ip6_fragment",
        Class::Unknown,
        "The packet was to be cut into fragments and could not be: it is larger than the way's MTU and not this host's own, or memory was short; see `ip -6 route get {dst}` and `nstat -az | grep Ip6Frag`.",
    ),
    (
        "ip6_input_finish",
        Class::Unknown,
        "Nothing here handles this IP protocol, or an extension header or IPsec policy forbids it; see `ss -6wnp` and `ip xfrm policy`.",
    ),
    (
        "ip6_mc_input",
        Class::Normal,
        "Multicast to a group that nobody on this host has joined on the device: normal where others on the link are meant; see `ip -6 maddr show[ dev {dev}]`.",
    ),
    (
        "ip6_pkt_discard",
        Class::Routing,
        "There is no usable IPv6 route, or a route says to drop it; see `ip -6 route get {dst}` and `ip -6 rule`.",
    ),
    (
        "ip6_pkt_drop",
        Class::Routing,
        "There is no usable IPv6 route, or a route says to drop it; see `ip -6 route get {dst}` and `ip -6 rule`.",
    ),
    (
        "ip6_protocol_deliver_rcu",
        Class::Unknown,
        "Nothing here handles this IP protocol, or an extension header or IPsec policy forbids it; see `ss -6wnp` and `ip xfrm policy`.",
    ),
    (
        "ip6_rcv_core",
        Class::Malformed,
        "The IPv6 header is invalid, the frame is for another machine, or IPv6 is disabled on the device; see `nstat -az | grep Ip6In`.",
    ),
    (
        "ip_defrag",
        Class::Unknown,
        "A fragment does not fit, or too many fragments wait; see `nstat -az | grep -i reasm`.",
    ),
    (
        "ip_do_fragment",
        Class::Unknown,
        "The packet was to be cut into fragments and could not be: it must not be fragmented, or memory was short; see `ip route get {dst}` and `nstat -az | grep IpFrag`.",
    ),
    (
        "ip_expire",
        Class::Unknown,
        "Not all fragments of the packet arrived in time; see `nstat -az | grep -i reasm`.",
    ),
    (
        "ip_finish_output2",
        Class::Neighbour,
        "The next hop's neighbour entry could not be made or used; see `ip neigh` and `dmesg | grep 'table overflow'`.",
    ),
    (
        "ip_fragment",
        Class::Config,
        "The packet is larger than the MTU and must not be fragmented; see `ip route get {dst}` and `tracepath -n {dst}`.",
    ),
    (
        "ip_local_deliver_finish",
        Class::Unknown,
        "Nothing here handles this IP protocol, or an IPsec policy forbids it; see `ss -wnp` and `ip xfrm policy`.",
    ),
    (
        "ip_protocol_deliver_rcu",
        Class::Unknown,
        "Nothing here handles this IP protocol, or an IPsec policy forbids it; see `ss -wnp` and `ip xfrm policy`.",
    ),
    (
        "ip_rcv_core",
        Class::Malformed,
        "The IPv4 header is invalid, or the frame is for another machine's MAC address (then it is no loss); see `nstat -az | grep IpIn`.",
    ),
    (
        "ipv6_frag_rcv",
        Class::Unknown,
        "A fragment of an IPv6 packet is malformed, overlaps others, or too many fragments wait; see `nstat -az | grep Ip6Reasm`.",
    ),
    (
        "ipv6_rthdr_rcv",
        Class::Config,
        "An IPv6 routing header is malformed, of a type that is always refused (0), or of one that is not switched on; see `sysctl net.ipv6.conf.{dev|all}.accept_source_route net.ipv6.conf.{dev|all}.seg6_enabled` and `nstat -az Ip6InHdrErrors`.",
    ),
    (
        "ndisc_rcv",
        Class::Malformed,
        "A neighbour discovery message is invalid; see `tcpdump -vv -e -nn icmp6`.",
    ),
    (
        "neigh_probe",
        Class::Normal,
        "A packet that asked for the next hop's MAC address was freed after use; this is usually no loss.",
    ),
    (
        "net_tx_action",
        Class::Device,
        "A packet that the device had finished with, or one of a device that was stopped, was freed later; see `ip -s link show[ {dev}]`.",
    ),
    (
        "netlink_unicast",
        Class::Normal,
        "A netlink message found no receiver or no room; this is local communication, no network packet.",
    ),
    (
        "nf_hook_slow",
        Class::Firewall,
        "A netfilter hook dropped it: an iptables or nftables rule or policy, or connection tracking; see `nft list ruleset`, `iptables-save -c`, `conntrack -S`.",
    ),
    (
        "nf_hook_slow_list",
        Class::Firewall,
        "A netfilter hook dropped it: an iptables or nftables rule or policy, or connection tracking; see `nft list ruleset`, `iptables-save -c`, `conntrack -S`.",
    ),
    (
        "nf_queue",
        Class::Firewall,
        "The packet should go to a queue program (NFQUEUE) but nobody listens, or the queue is full, or its program asked for no copies; see `cat /proc/net/netfilter/nfnetlink_queue`.",
    ),
    (
        "nf_reinject",
        Class::Firewall,
        "It came back from a queue program (NFQUEUE) and was dropped at the same hook: by the program's verdict or by a later rule; see `cat /proc/net/netfilter/nfnetlink_queue` and the rules on marks.",
    ),
    (
        "nfqnl_enqueue_packet",
        Class::Firewall,
        "The packet could not be given to a queue program (NFQUEUE): its queue is full, or it asked for no copies, or it reads too slowly; see `cat /proc/net/netfilter/nfnetlink_queue`.",
    ),
    (
        "nfqnl_reinject",
        Class::Firewall,
        "It came back from a queue program (NFQUEUE) and was dropped at the same hook: by the program's verdict or by a later rule; see `cat /proc/net/netfilter/nfnetlink_queue` and the rules on marks.",
    ),
    (
        "nft_do_chain",
        Class::Firewall,
        "An nftables rule or chain policy dropped it; see `nft list ruleset` and `nft monitor trace`.",
    ),
    (
        "ping_rcv",
        Class::Unknown,
        "No ICMP datagram socket took this echo reply, which is often normal: raw sockets get copies of their own.",
    ),
    (
        "raw_rcv",
        Class::Socket,
        "A raw socket refused its copy of the packet; see `ss -wnp`.",
    ),
    (
        "rawv6_rcv",
        Class::Socket,
        "A raw socket refused its copy of the packet; see `ss -6wnp`.",
    ),
    (
        "tcp_add_backlog",
        Class::Resource,
        "The process held the socket locked and its backlog was full; see `nstat -az TcpExtTCPBacklogDrop`.",
    ),
    (
        "tcp_conn_request",
        Class::Tcp,
        "A SYN was refused: the listening socket's queues are full or the request is not allowed; see `nstat -az | grep Listen` and `ss -ltn`.",
    ),
    (
        "tun_net_xmit",
        Class::Device,
        "The tun or tap device could not take it: its ring is full, a filter refused it, or no program holds the device; see `ip -s link show[ {dev}]`.",
    ),
    (
        "udp_queue_rcv_one_skb",
        Class::Socket,
        "The UDP socket could not take it: receive buffer full, checksum, filter or IPsec; see `ss -uampn`.",
    ),
    (
        "udp_queue_rcv_skb",
        Class::Socket,
        "The UDP socket could not take it: receive buffer full, checksum, filter or IPsec; see `ss -uampn`.",
    ),
    (
        "udpv6_queue_rcv_one_skb",
        Class::Socket,
        "The UDP socket could not take it: receive buffer full, checksum, filter or IPsec; see `ss -6uampn`.",
    ),
    (
        "udpv6_queue_rcv_skb",
        Class::Socket,
        "The UDP socket could not take it: receive buffer full, checksum, filter or IPsec; see `ss -6uampn`.",
    ),
];

/// Hints by the beginning of the function's name, tried in this order when none fits exactly.
pub(super) const PREFIXES: &[(&str, Class, &str)] = &[
    (
        "unix_",
        Class::Normal,
        "A Unix socket was closed or refused a message; this is local communication, no network packet.",
    ),
    (
        "vsock_",
        Class::Normal,
        "A virtual machine socket (vsock) freed a buffer; no network packet.",
    ),
    (
        "virtio_transport_",
        Class::Normal,
        "A virtual machine socket (vsock) freed a buffer; no network packet.",
    ),
    (
        "netlink_",
        Class::Normal,
        "A netlink message was freed; this is local communication, no network packet.",
    ),
    (
        "nft_do_chain_",
        Class::Firewall,
        "An nftables rule or chain policy dropped it; see `nft list ruleset` and `nft monitor trace`.",
    ),
    (
        "nf_ct_frag6_",
        Class::Unknown,
        "Fragments of an IPv6 packet do not fit or did not all arrive; see `nstat -az | grep -i reasm`.",
    ),
    (
        "ip_vs_",
        Class::Unknown,
        "IPVS could not pass it on; see `ipvsadm -Ln --stats`, `ipvsadm -Lnc` and `sysctl net.ipv4.vs`.",
    ),
    (
        "ovs_",
        Class::Device,
        "Open vSwitch dropped it; see `ovs-appctl dpctl/dump-flows -m`.",
    ),
    (
        "br_",
        Class::Device,
        "A Linux bridge dropped it; see `bridge -d link`, `bridge fdb` and `bridge vlan`.",
    ),
    (
        "bond_",
        Class::Device,
        "A bond had no port to send the frame by, or could not take it; see `cat /proc/net/bonding/{dev}`.",
    ),
    (
        "team_",
        Class::Device,
        "A team had no port to send the frame by, or could not take it; see `ip -d link show[ dev {dev}]`.",
    ),
    (
        "vxlan_",
        Class::Device,
        "A VXLAN device dropped it; see `ip -s -d link show type vxlan` and `bridge fdb`.",
    ),
    (
        "macvlan_",
        Class::Device,
        "A macvlan device dropped it; see `ip -s -d link show type macvlan`.",
    ),
    (
        "ipvlan_",
        Class::Device,
        "An ipvlan device dropped it; see `ip -s -d link show type ipvlan`.",
    ),
    (
        "xfrm4_",
        Class::Firewall,
        "IPsec dropped it; see `ip xfrm policy`, `ip -s xfrm state` and `cat /proc/net/xfrm_stat`.",
    ),
    (
        "xfrm6_",
        Class::Firewall,
        "IPsec dropped it; see `ip xfrm policy`, `ip -s xfrm state` and `cat /proc/net/xfrm_stat`.",
    ),
    (
        "xfrm_",
        Class::Firewall,
        "IPsec dropped it; see `ip xfrm policy`, `ip -s xfrm state` and `/proc/net/xfrm_stat`.",
    ),
    (
        "ieee80211_",
        Class::Device,
        "The wireless stack dropped a frame; see `iw dev {dev} station dump`.",
    ),
];

/// What it usually means that a packet was freed somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hint {
    /// In a sentence, with where to look next, for [`super::hint::fill`].
    pub what: &'static str,
    /// What kind of reason it is; [`Class::Unknown`] where it may be several.
    pub class: Class,
}

/// A function's name without offset (`+0x1c/0x40`) and compiler suffixes (`.isra.0`, `.part.0`, `.cold`).
#[must_use]
pub fn function(symbol: &str) -> &str {
    symbol.split(['+', '.', ' ']).next().unwrap_or(symbol)
}

/// What it usually means that a packet was freed in `symbol`, or `None` if there is nothing
/// certain to say. Offsets (`+0x1c/0x40`) and compiler suffixes (`.isra.0`) are ignored.
pub fn location_hint(symbol: &str) -> Option<Hint> {
    let name = function(symbol);
    let exact = EXACT
        .binary_search_by_key(&name, |(known, ..)| known)
        .ok()
        .map(|at| &EXACT[at]);
    let found = exact.or_else(|| {
        PREFIXES
            .iter()
            .find(|(prefix, ..)| name.starts_with(prefix))
    });
    found.map(|(_, class, what)| Hint {
        what,
        class: *class,
    })
}
