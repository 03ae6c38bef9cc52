//! Routes, forwarding and neighbours.

use std::net::IpAddr;

use super::{ANYWHERE, SILENT, Thing, always, known, of_neighbours, packet, to_group, v4, v6};
use crate::{
    model::{anchor::Drop, proto::Proto},
    reasons::Class::{Config, Neighbour, Normal, Routing, Unknown},
};

const ROUTE: &str = "`ip route get {dst}[ from {src} iif {iif}][ mark {mark}][ ipproto {with_ports} sport {sport} dport {dport}]` and `ip[ {six}] rule`.";

pub(super) const THINGS: &[Thing] = &[
    // Before there was a reason for it, forwarding used IP_INHDR, and for nothing else.
    known(
        &[("IP_INHDR", "ip_forward"), ("IP_INHDR", "ip6_forward")],
        no_hops_left,
        Routing,
        "The TTL (hop limit) ran out: the packet came with 1 or less and was to be forwarded, so it was dropped, and its sender is told by \
         ICMP (time exceeded), as a rule.",
        "`traceroute -n {dst}`: a loop shows as repeating hops; traceroute itself causes these drops.",
    ),
    known(
        &[(SILENT, "ip_forward"), (SILENT, "ip6_forward")],
        no_hops_left,
        Unknown,
        "The packet came with a TTL (hop limit) of 1 or less, which is too little to be forwarded. Checks that come before that one end here \
         too (a frame for another or a group MAC address, an IPsec policy, IPv6 forwarding that is off): not evaluated.",
        "`traceroute -n {dst}`: a loop shows as repeating hops; `nstat -az | grep -E 'InHdrErrors|ForwErrors'`.",
    ),
    known(
        &[(SILENT, "ip_forward")],
        always,
        Unknown,
        "The packet was to be forwarded, and refused: either its frame was sent to a broadcast, multicast or foreign MAC address \
         although the IP address is a single host's, or a strict source route leads elsewhere, or it came merged by LRO, or memory was \
         short; before 6.0 also TTL, size and IPsec: not evaluated.",
        "`tcpdump -e -nn -i {dev|any}[ host {dst}]` (destination MAC), `nstat -az | grep IpForw`.",
    ),
    known(
        &[(SILENT, "ip6_forward")],
        always,
        Unknown,
        "The IPv6 packet was to be forwarded, and refused: either an IPsec policy forbids it or demands protection that it does not have, \
         or its frame was sent to a broadcast, multicast or foreign MAC address, or it came merged by LRO, or memory was short; before 6.0 \
         also forwarding that is off, size, and addresses that may not leave their link: not evaluated.",
        "`ip xfrm policy`, `cat /proc/net/xfrm_stat`, `tcpdump -e -nn -i {dev|any}[ host {dst}]` (destination MAC), \
         `sysctl net.ipv6.conf.all.forwarding` and `nstat -az | grep Ip6`.",
    ),
    known(
        &[("IP_INADDRERRORS", "ip6_forward")],
        |drop| packet(drop, |p| is_of_the_link(p.src)),
        Routing,
        "The IPv6 packet was to be forwarded, and its source is an address that must not leave its link (link-local, loopback, a group, or \
         none at all): no router forwards such packets. Forwarding that is off ends here too: not evaluated.",
        "`tcpdump -e -nn -i {dev|any} ip6 and dst host {dst}`: who sends from such an address to another network? Then \
         `sysctl net.ipv6.conf.all.forwarding`.",
    ),
    known(
        &[("IP_INADDRERRORS", "ip6_forward")],
        always,
        Unknown,
        "The IPv6 packet was to be forwarded, and refused: either forwarding is off, or the destination may not leave its link, or a \
         proxied neighbour is gone: not evaluated.",
        "`sysctl net.ipv6.conf.all.forwarding net.ipv6.conf.{dev|all}.forwarding` and `ip -6 route get {dst}[ from {src} iif {iif}]`.",
    ),
    known(
        &[("PKT_TOO_BIG", "ip_forward")],
        v4,
        Config,
        "The packet is larger than the MTU of its way out and must not be fragmented (DF), so it was not forwarded. The device shown \
         is its way in; the MTU that counts is that of the way out: of the device, of the route or of the path.",
        "`ip route get {dst}[ from {src} iif {iif}][ mark {mark}][ ipproto {with_ports} sport {sport} dport {dport}]` names the way out (and an mtu of its own), `ip link` that device's \
         mtu, `tracepath -n {dst}`; ICMP 'fragmentation needed' must reach the sender.",
    ),
    known(
        &[("PKT_TOO_BIG", "ip6_forward")],
        v6,
        Config,
        "The packet is larger than the MTU of its way out, and routers do not fragment IPv6, so it was not forwarded. The device \
         shown is the way out; the MTU that counts is that device's, the route's or the path's.",
        "`ip link show[ dev {dev}]`, `ip -6 route get {dst}` (mtu), `tracepath -n {dst}`; ICMPv6 'packet too big' must reach the sender.",
    ),
    known(
        &[
            ("IP_INNOROUTES", "ip6_pkt_discard"),
            ("IP_INNOROUTES", "ip6_pkt_drop"),
        ],
        |drop| to_group(drop) && of_neighbours(drop),
        Normal,
        "Multicast came to a device that has no IPv6 multicast route (ff00::/8), as while IPv6 is only being set up on it: messages of \
         neighbour discovery and multicast membership that are sent when an interface comes up end so.",
        "Nothing, unless it lasts: `ip -6 route show table local[ dev {dev}]` must have ff00::/8.",
    ),
    known(
        &[
            ("IP_INNOROUTES", "ip6_pkt_discard"),
            ("IP_INNOROUTES", "ip6_pkt_drop"),
        ],
        to_group,
        Unknown,
        "Multicast came to a device for which no IPv6 route takes it: either the device has no multicast route (ff00::/8), as while IPv6 is \
         only being set up on it, or a policy rule or another route comes first. Programs here that joined the group do not get it then; \
         whether there are any was not evaluated.",
        "`ip -6 route show table local[ dev {dev}]` must have ff00::/8; `ip -6 rule`, `ip -6 maddr show[ dev {dev}]`.",
    ),
    known(
        &[
            ("IP_INNOROUTES", "ip6_pkt_prohibit"),
            ("IP_OUTNOROUTES", "ip6_pkt_prohibit_out"),
            (SILENT, "ip6_pkt_prohibit"),
            (SILENT, "ip6_pkt_prohibit_out"),
        ],
        always,
        Routing,
        "A route or policy rule of the type prohibit covers the destination: somebody wanted it so. The sender is told by ICMPv6 \
         (administratively prohibited), as a rule.",
        "`ip -6 route show table all type prohibit` and `ip -6 rule`.",
    ),
    known(
        &[
            ("IP_INNOROUTES", "ip6_pkt_discard"),
            ("IP_INNOROUTES", "ip6_pkt_drop"),
        ],
        always,
        Routing,
        "The packet cannot be routed: either no route fits its destination, or the one that does is ignored because its link is down \
         (ignore_routes_with_linkdown), or the route or policy rule that fits is of the type unreachable or prohibit: not evaluated.",
        "`ip route get {dst}[ from {src} iif {iif}][ mark {mark}][ ipproto {with_ports} sport {sport} dport {dport}]`, `ip -6 rule` and `ip -6 route show table all` (linkdown, unreachable).",
    ),
    known(
        &[("IP_INNOROUTES", "ip_error")],
        v4,
        Routing,
        "No route that may be used fits the destination: either there is none in the tables that the packet's rules name, or there is one \
         of the type throw, or it is ignored because its link is down (ignore_routes_with_linkdown), or a policy rule of the type \
         unreachable covers the packet: not evaluated.",
        "`ip route get {dst}[ from {src} iif {iif}][ mark {mark}][ ipproto {with_ports} sport {sport} dport {dport}]`, `ip rule` and `ip route show table all` (linkdown).",
    ),
    known(
        &[("IP_INNOROUTES", ANYWHERE), ("IP_OUTNOROUTES", ANYWHERE)],
        always,
        Routing,
        "No route that may be used was found for the packet: either there is none, or it is ignored because its link is down \
         (ignore_routes_with_linkdown), or a route or policy rule says that there is no way (unreachable, prohibit, throw): not evaluated.",
        ROUTE,
    ),
    known(
        &[(SILENT, "ip_error")],
        always,
        Routing,
        "The route look-up ended in an error that the kernel does not name: either a route or policy rule of the type unreachable, prohibit or \
         blackhole fits (a VRF's table often has such a default), or IPv4 is off on the device; before 6.0 also a missing route, or \
         forwarding that is off: not evaluated.",
        "`ip route get {dst}[ from {src} iif {iif}][ mark {mark}][ ipproto {with_ports} sport {sport} dport {dport}]`, `ip rule` and `sysctl net.ipv4.ip_forward`.",
    ),
    known(
        &[(SILENT, "dst_discard_out"), (SILENT, "dst_discard")],
        |drop| packet(drop, |p| p.l3 == 6 && p.proto == Proto::NONE),
        Unknown,
        "An IPv6 packet that says of itself that it carries nothing (next header 59): either that is how its delivery to this host ends, \
         which is normal, or it was sent along a route that discards everything: not evaluated.",
        "`ip -6 route get {dst}`: is the destination local?",
    ),
    known(
        &[
            (SILENT, "dst_discard_out"),
            (SILENT, "dst_discard"),
            (SILENT, "__dst_discard"),
        ],
        always,
        Routing,
        "The packet was sent along a route that discards everything: either a blackhole route or policy rule, or a route whose device is \
         just going away, or one that waits for an IPsec association: not evaluated.",
        "`ip route get {dst}[ mark {mark}]`, `ip[ {six}] route show table all type blackhole`, `ip[ {six}] rule`, `ip xfrm policy`.",
    ),
    known(
        &[
            ("NEIGH_FAILED", ANYWHERE),
            (SILENT, "neigh_invalidate"),
            (SILENT, "arp_error_report"),
            (SILENT, "ndisc_error_report"),
        ],
        always,
        Neighbour,
        "The next hop's MAC address (on the same network: the destination's own) is not known: no answer to ARP or neighbour discovery \
         came in time, and the packets that waited for it are freed, usually about three seconds after they were sent.",
        "`ip[ {six}] neigh show[ dev {dev}]` (FAILED) and `ip route get {dst}[ mark {mark}]` for which next hop it is; is it on this \
         network and VLAN, and does it answer: `tcpdump -e -nn -i {dev|any} arp or icmp6`?",
    ),
    known(
        &[(SILENT, "__neigh_event_send")],
        always,
        Neighbour,
        "The next hop's MAC address is not known, and the packet could not wait for it: either too many others wait already, or the \
         entry is given up or just being removed: not evaluated.",
        "`ip[ {six}] neigh show[ dev {dev}]` (INCOMPLETE, FAILED), `sysctl net.{ip|ipv4}.neigh.{dev|default}.unres_qlen_bytes`.",
    ),
    known(
        &[
            ("QUEUE_PURGE", "neigh_destroy"),
            ("QUEUE_PURGE", "neigh_flush_dev"),
            ("QUEUE_PURGE", "neigh_flush_one"),
            (SILENT, "neigh_destroy"),
            (SILENT, "neigh_flush_dev"),
            (SILENT, "neigh_flush_one"),
        ],
        always,
        Neighbour,
        "The packet waited for the MAC address of its next hop, and the neighbour entry was removed before an answer came: either the \
         device went down or away, or the entry was deleted or given up: not evaluated.",
        "`ip monitor link neigh`, `ip[ {six}] neigh show[ dev {dev}]`.",
    ),
    known(
        &[("FRAG_REASM_TIMEOUT", "inet_frag_rbtree_purge")],
        always,
        Unknown,
        "A packet could not be put together from its fragments, and those that had come were thrown away, as happens when the others do \
         not come in time.",
        "`nstat -az | grep -i reasm`; find the hop that loses fragments, or avoid them (smaller MTU); \
         `sysctl net.ipv4.ipfrag_time net.ipv6.ip6frag_time`.",
    ),
];

/// Whether routers must not forward what has this source (RFC 4291; net/ipv6/ip6_output.c, `ip6_forward`, 5.10 to 7.2).
fn is_of_the_link(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6.is_loopback()
                || v6.is_multicast()
                || v6.is_unspecified()
        }
    }
}

fn no_hops_left(drop: &Drop) -> bool {
    packet(drop, |p| p.ttl <= 1)
}
