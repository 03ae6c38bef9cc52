//! Reasons of IPv4, IPv6, ICMP, fragments, IPsec and neighbours.

use super::Class::{Config, Device, Firewall, Malformed, Neighbour, Normal, Resource, Routing};
use super::{ReasonText, text};

const NDISC: &str =
    "`tcpdump -vv -e -nn -i {dev|any} icmp6` shows the packet and the sender's MAC address.";
const MARTIAN: &str = "`sysctl -w net.ipv4.conf.all.log_martians=1`, then `dmesg -w`; rp_filter settings do not change this.";

pub(super) const TABLE: &[ReasonText] = &[
    text(
        "DUP_FRAG",
        Normal,
        "The same IP fragment arrived twice.",
        "Nothing by itself; if frequent, look for a loop or a mirror port with `tcpdump -e -nn`.",
    ),
    text(
        "FRAG_REASM_TIMEOUT",
        Resource,
        "Not all fragments of a packet arrived in time, so those that did are thrown away.",
        "`nstat -az | grep -i reasm`; find the hop that loses fragments, or avoid them (smaller MTU); `sysctl net.ipv4.ipfrag_time net.ipv6.ip6frag_time`.",
    ),
    text(
        "FRAG_TOO_FAR",
        Config,
        "Too many other fragmented packets from the same source came in between two fragments of this one.",
        "`sysctl net.ipv4.ipfrag_max_dist` is the limit (0 switches it off); look for heavy reordering or loss.",
    ),
    text(
        "ICMP_CSUM",
        Malformed,
        "The ICMP checksum is wrong.",
        "`nstat -az | grep -E 'Icmp6?InCsum'` and `tcpdump -vv -nn -i {dev|any} icmp or icmp6`.",
    ),
    text(
        "INVALID_PROTO",
        Malformed,
        "The packet is of a form that its protocol's standard forbids here, such as an ICMP timestamp request to a broadcast address.",
        "`tcpdump -vv -e -nn -i {dev|any}` shows the packet and who sends it.",
    ),
    text(
        "IPV6DISABLED",
        Config,
        "IPv6 is switched off on the device.",
        "`sysctl net.ipv6.conf.{dev|all}.disable_ipv6 net.ipv6.conf.all.disable_ipv6`.",
    ),
    text(
        "IPV6_BAD_EXTHDR",
        Malformed,
        "An IPv6 extension header is malformed or not allowed.",
        "`tcpdump -vv -nn -i {dev|any} ip6` and `nstat -az Ip6InHdrErrors`.",
    ),
    text(
        "IPV6_NDISC_BAD_CODE",
        Malformed,
        "A neighbour discovery message has an ICMPv6 code other than 0.",
        NDISC,
    ),
    text(
        "IPV6_NDISC_BAD_OPTIONS",
        Malformed,
        "A neighbour discovery message has malformed options.",
        NDISC,
    ),
    text(
        "IPV6_NDISC_FRAG",
        Config,
        "A neighbour discovery message came in fragments, which the kernel refuses by default.",
        "`sysctl net.ipv6.conf.{dev|all}.suppress_frag_ndisc`; honest senders do not fragment these messages.",
    ),
    text(
        "IPV6_NDISC_HOP_LIMIT",
        Malformed,
        "A neighbour discovery message does not have hop limit 255, so it may come from outside the link.",
        NDISC,
    ),
    text(
        "IPV6_NDISC_NS_OTHERHOST",
        Normal,
        "A neighbour solicitation asks for an address of another machine.",
        "Nothing, unless this machine should own the address: `ip -6 addr`.",
    ),
    text(
        "IPV6_TOO_MANY_EXTHDRS",
        Malformed,
        "The packet has more IPv6 extension headers than the kernel will read.",
        "`tcpdump -vv -nn -i {dev|any} ip6`; honest traffic hardly ever has that many.",
    ),
    text(
        "IP_CSUM",
        Malformed,
        "The checksum of the IPv4 header is wrong.",
        "`nstat -az | grep -i CsumErr` and `ethtool -S {dev}`; suspect a cable, a network card or a faulty offload.",
    ),
    text(
        "IP_INADDRERRORS",
        Routing,
        "The destination is not one of this machine's addresses and the packet may not be forwarded: forwarding is off on the device it came in on, or the route says host unreachable.",
        "`sysctl net.{ip|ipv4}.conf.all.forwarding[ net.{ip|ipv4}.conf.{dev}.forwarding]`, then `ip route get {dst}[ from {src} iif {iif}][ mark {mark}][ ipproto {with_ports} sport {sport} dport {dport}]`.",
    ),
    text(
        "IP_INHDR",
        Malformed,
        "Something is wrong with the IP header: version, length or options, or, on kernels without a reason of its own for it, the TTL ran out while forwarding.",
        "`nstat -az | grep -E 'Ip6?InHdrErrors'` and `tcpdump -vv -nn -i {dev|any}`; a TTL of 1 points to a routing loop or traceroute.",
    ),
    text(
        "IP_INNOROUTES",
        Routing,
        "There is no route to the destination of a packet that came in.",
        "`ip route get {dst}[ from {src} iif {iif}][ mark {mark}][ ipproto {with_ports} sport {sport} dport {dport}]` and `ip[ {six}] rule`.",
    ),
    text(
        "IP_INVALID_DEST",
        Malformed,
        "The destination address is invalid, such as 0.0.0.0.",
        "`tcpdump -e -nn -i {dev|any} dst host {dst}` shows the sender's MAC address.",
    ),
    text(
        "IP_INVALID_SOURCE",
        Malformed,
        "The source address can never be a sender: multicast, limited broadcast, or zero where it is not allowed.",
        MARTIAN,
    ),
    text(
        "IP_LOCALNET",
        Config,
        "A packet from outside has a loopback address (127.0.0.0/8) as source or destination, which the device must not accept.",
        "`sysctl net.ipv4.conf.{dev|all}.route_localnet` allows it; look for a DNAT rule to 127.0.0.1.",
    ),
    text(
        "IP_LOCAL_SOURCE",
        Routing,
        "The source address is one of this machine's own, yet the packet came in from outside.",
        "`ip -o addr | grep -F {src}`: duplicate address, or a packet that came back; `sysctl net.ipv4.conf.{dev|all}.accept_local` allows it where rp_filter is not strict (1).",
    ),
    text(
        "IP_NOPROTO",
        Config,
        "The kernel has nothing for this IP protocol here, and no raw socket took a copy: either there is none for it, or its address or device is another, or its receive buffer is full: not evaluated.",
        "`tcpdump -nn -i {dev|any} 'proto {proto}'`; a tunnel or SCTP needs its module (`lsmod`), a program (OSPF, VRRP) a raw socket: `ss -wanmp` (rmem against rb, drops in d).",
    ),
    text(
        "IP_OUTNOROUTES",
        Routing,
        "There is no route for a packet that should leave.",
        "`ip route get {dst}[ mark {mark}]` and `ip[ {six}] rule`; `nstat -az IpOutNoRoutes`.",
    ),
    text(
        "IP_RPFILTER",
        Config,
        "The reverse-path filter refused the packet: the route back to its source does not fit the device it came in on.",
        "`ip route get {src}` and `sysctl net.ipv4.conf.all.rp_filter net.ipv4.conf.{dev|all}.rp_filter` (the larger counts; 1 strict, 2 loose).",
    ),
    text(
        "IP_TTL_EXCEEDED",
        Routing,
        "The TTL or hop limit ran out before the packet could be forwarded.",
        "`traceroute -n {dst}`: a loop shows as repeating hops; traceroute itself causes these drops.",
    ),
    text(
        "NEIGH_CREATEFAIL",
        Neighbour,
        "No neighbour entry could be made for the next hop: the table is full, memory is short, or the device is going away.",
        "`dmesg | grep 'table overflow'`, `ip -s -s neigh | wc -l` against `sysctl net.ipv4.neigh.default.gc_thresh3`.",
    ),
    text(
        "NEIGH_DEAD",
        Neighbour,
        "The neighbour entry was being removed while the packet waited for it.",
        "`ip monitor neigh link`: is a device or an address going away?",
    ),
    text(
        "NEIGH_FAILED",
        Neighbour,
        "The next hop's MAC address is not known: no answer to ARP or neighbour discovery came in time.",
        "`ip neigh show[ dev {dev}]` (FAILED) and `ip route get {dst}[ mark {mark}]` for which next hop it is: wrong subnet, VLAN or gateway, or the machine is off.",
    ),
    text(
        "NEIGH_HH_FILLFAIL",
        Neighbour,
        "The device's link-layer header could not be written in front of the packet.",
        "`ip -d link show[ {dev}]` and `ip neigh show[ dev {dev}]`: has the entry a valid address of the right length?",
    ),
    text(
        "NEIGH_QUEUEFULL",
        Neighbour,
        "Too many packets wait for the same next hop's MAC address.",
        "`ip neigh show[ dev {dev}]` (INCOMPLETE?); the limit is `sysctl net.{ip|ipv4}.neigh.{dev|default}.unres_qlen_bytes`.",
    ),
    text(
        "OTHERHOST",
        Device,
        "The frame is not for the device that received it: its destination is another MAC address, or it has a VLAN tag for which there is no VLAN device.",
        "`tcpdump -e -nn -i {dev|any}` shows destination MAC and VLAN tag; compare `ip -d link show[ dev {dev}]` and `ip -d link show type vlan`.",
    ),
    text(
        "PKT_TOO_BIG",
        Config,
        "The packet is larger than the MTU of its way allows and must not be fragmented.",
        "`ip route get {dst}[ mark {mark}]` names the way out and an mtu of its own, `ip link` the devices' mtu; `tracepath -n {dst}`; check that ICMP 'too big' is let through.",
    ),
    text(
        "PKT_TOO_SMALL",
        Malformed,
        "The packet is too short for the header that should be there, or a length in a header does not fit: more than there is, or less than that header itself takes.",
        "`tcpdump -vv -e -nn -i {dev|any}[ host {src}]` shows the lengths.",
    ),
    text(
        "UNICAST_IN_L2_MULTICAST",
        Config,
        "The frame was a multicast or broadcast one but the IP address in it is a single machine's, which the device is told to refuse.",
        "`sysctl net.ipv4.conf.{dev|all}.drop_unicast_in_l2_multicast`.",
    ),
    text(
        "XFRM_POLICY",
        Firewall,
        "An IPsec policy forbids the packet, demands protection that it does not have, or finds no association (SA) to protect it with.",
        "`ip xfrm policy`, `ip -s xfrm state`, `cat /proc/net/xfrm_stat`.",
    ),
];
