//! Frames that come in, up to the IP layer.

use std::net::IpAddr;

use super::{
    SILENT, Thing, always, known, of_neighbours, packet, to_group, v4, v6, without_reasons,
};
use crate::{
    model::{anchor::Drop, proto::Proto},
    reasons::Class::{Device, Malformed, Normal, Program, Unknown},
};

const OTHER_MAC: &str = "The frame is not for the device that received it. Either its destination is another MAC address: of another \
     machine, which is often normal (a switch or bridge floods frames, or the device takes all of them), or a wrong or old one, or that of \
     a device on top of this one (such as a macvlan) that is down or gone. Or it has a VLAN tag for which there is no VLAN device here: not \
     evaluated.";

pub(super) const THINGS: &[Thing] = &[
    known(
        &[("OTHERHOST", "ip_rcv_core"), ("OTHERHOST", "ip6_rcv_core")],
        always,
        Device,
        OTHER_MAC,
        "`tcpdump -e -nn -i {dev|any}` shows destination MAC and VLAN tag; compare `ip -d link show[ dev {dev}]` \
         and the devices on top of it, `ip -d link show type vlan`.",
    ),
    known(
        &[
            ("IP_INHDR", "ip_rcv_core"),
            ("PKT_TOO_SMALL", "ip_rcv_core"),
            ("HDR_TRUNC", "ip_rcv_core"),
            (SILENT, "ip_rcv_core"),
            (SILENT, "ip_rcv"),
        ],
        |drop| drop.ethertype == 0x0800 && drop.len < 20,
        Malformed,
        "The frame ends before its IPv4 header does, which takes 20 bytes: there are no addresses in it.",
        "`tcpdump -e -nn -xx -i {dev|any} 'less 34'` shows it and the sender's MAC address.",
    ),
    known(
        &[
            ("IP_INHDR", "ip6_rcv_core"),
            ("PKT_TOO_SMALL", "ip6_rcv_core"),
            ("HDR_TRUNC", "ip6_rcv_core"),
            (SILENT, "ip6_rcv_core"),
        ],
        |drop| drop.ethertype == 0x86dd && drop.len < 40,
        Malformed,
        "The frame ends before its IPv6 header does, which takes 40 bytes: there are no addresses in it.",
        "`tcpdump -e -nn -xx -i {dev|any} 'less 54'` shows it and the sender's MAC address.",
    ),
    known(
        &[("IP_INHDR", "ip_rcv_core")],
        always,
        Malformed,
        "The IPv4 header is none: either its version is not 4, or it is shorter than 20 bytes or longer than the packet, or the length \
         of the whole packet that stands in it is less than its own: not evaluated.",
        "`tcpdump -vv -e -nn -xx -i {dev|any}` shows it and the sender's MAC address; `nstat -az IpInHdrErrors`.",
    ),
    known(
        &[("UNHANDLED_PROTO", "ip6_rcv_core")],
        always,
        Malformed,
        "The frame says that it holds an IPv6 packet, but the version in its header is not 6.",
        "`tcpdump -e -nn -xx -i {dev|any} ip6` shows it and the sender's MAC address.",
    ),
    known(
        &[("IP_INHDR", "ip6_rcv_core"), (SILENT, "ip6_rcv_core")],
        |drop| packet(drop, |p| must_not_come(p.src, p.dst)),
        Malformed,
        "An IPv6 packet that must not come from a link: its source or destination is the loopback address, or its source is a multicast \
         group, or its destination a group that is never to leave a node (ff00::/16, ff01::/16). The kernel refuses such packets whatever is set.",
        "`tcpdump -e -nn -i {dev|any} ip6` shows the MAC address of who sends them; `nstat -az | grep -E 'Ip6InHdrErrors|Ip6InAddrErrors'`.",
    ),
    known(
        &[(SILENT, "ip6_rcv_core")],
        |drop| !without_reasons(drop),
        Unknown,
        "The device that the packet came in on has no IPv6 at all: either its MTU is below 1280, which IPv6 needs, or the device is just \
         being removed, or IPv6 was not started on it; a lack of memory ends here too: not evaluated.",
        "`ip link show[ dev {dev}]` (mtu) and `ip -6 addr show[ dev {dev}]`.",
    ),
    known(
        &[
            ("UNHANDLED_PROTO", "ip6_tlvopt_unknown"),
            (SILENT, "ip6_tlvopt_unknown"),
        ],
        always,
        Malformed,
        "An IPv6 extension header holds an option that this kernel does not know, and the option's type asks to drop the packet then.",
        "`tcpdump -vv -nn -i {dev|any} ip6[ and host {src}]` shows the header; `nstat -az Ip6InHdrErrors`.",
    ),
    known(
        &[("UNHANDLED_PROTO", "__netif_receive_skb_core")],
        |drop| matches!(drop.ethertype, 0x0800 | 0x0806 | 0x86dd),
        Device,
        "A frame of a type that this kernel handles (IP, ARP) was given to nobody: either the device it came in on is an inactive \
         port of a bond or team, which takes only what is meant for that very device, or IPv6 is not there at all: not evaluated.",
        "`ip -d link show[ dev {dev}]` (master, and the port's state) and `cat /proc/net/bonding/*`.",
    ),
    known(
        &[("UNHANDLED_PROTO", "__netif_receive_skb_core")],
        |drop| drop.ethertype == 0x88cc,
        Normal,
        "An LLDP frame, by which a switch or another host announces itself, and no program here asked for such frames. Nobody waits \
         for them where no LLDP service runs.",
        "Nothing; `lldpcli show neighbors` where lldpd is to run.",
    ),
    known(
        &[("UNHANDLED_PROTO", "__netif_receive_skb_core")],
        always,
        Device,
        "Nothing on this machine takes frames of this type on this device. Often normal: switches and other hosts announce themselves \
         by such frames; but a VLAN, MPLS or PPPoE frame whose module or device is missing ends here too: not evaluated.",
        "`tcpdump -e -nn -i {dev|any} not ip and not ip6 and not arp` shows the type.",
    ),
    known(
        &[("UNHANDLED_PROTO", "icmp_rcv")],
        always,
        Normal,
        "An ICMP message of a type that the kernel has no use for: it ignores it, as the standard (RFC 1122) demands.",
        "`tcpdump -vv -nn -i {dev|any} icmp` if somebody should wait for it: a program gets such messages by a raw socket.",
    ),
    known(
        &[(SILENT, "ip_rcv_finish_core"), (SILENT, "ip_rcv_finish")],
        group_of_the_link,
        Normal,
        "Multicast of this network to a group that nobody on this host has joined on the device, or not for this source, so nobody here \
         waits for it: this is normal (a switch floods such packets, neighbours report their groups).",
        "Nothing, unless a program should get it: `ip maddr show[ dev {dev}]` lists the groups that are joined.",
    ),
    known(
        &[(SILENT, "ip_rcv_finish_core"), (SILENT, "ip_rcv_finish")],
        to_group,
        Unknown,
        "Multicast that was not let in. Often normal: nobody on this host has joined the group on this device, or only for other \
         sources. An IP option that is refused (source route), and on kernels before 6.14 a source that may not be, end here too: not \
         evaluated.",
        "`ip maddr show[ dev {dev}]`: is the group there? A program joins for one device; `cat /proc/net/mcfilter` lists the sources.",
    ),
    known(
        &[(SILENT, "ip_rcv_finish_core"), (SILENT, "ip_rcv_finish")],
        always,
        Unknown,
        "The packet was refused before it was known whether it is for this host: either for its addresses (source or destination that \
         may not be; on some kernels the reverse-path filter), or for its IP options (a source route that \
         accept_source_route does not allow, a broken option): not evaluated.",
        "`nstat -az | grep -E 'IpInHdrErrors|IpInAddrErrors|IPReversePathFilter'`, \
         `sysctl net.ipv4.conf.{dev|all}.accept_source_route net.ipv4.conf.all.accept_source_route` and \
         `ip route get {dst}[ from {src} iif {iif}][ mark {mark}]`.",
    ),
    known(
        &[(SILENT, "ip6_mc_input")],
        of_neighbours,
        Normal,
        "A message of neighbour discovery or of multicast membership (MLD) to a group that nobody on this host has joined: it is for \
         other hosts and routers of the network, as whenever an interface comes up.",
        "Nothing.",
    ),
    known(
        &[(SILENT, "ip6_mc_input")],
        v6,
        Normal,
        "Multicast to a group that nobody on this host has joined on the device. This is normal where others on the network are meant; a \
         program that should get it has to join on this very device.",
        "`ip -6 maddr show[ dev {dev}]` lists the groups that are joined.",
    ),
    known(
        &[(SILENT, "arp_process"), (SILENT, "arp_rcv")],
        always,
        Unknown,
        "An ARP message was refused: either it does not fit (type of hardware or message, length, an address that nobody may ask \
         for), or it is gratuitous and drop_gratuitous_arp is set, or IPv4 is off on the device: not evaluated. An IP packet is not \
         lost by that.",
        "`tcpdump -vv -e -nn -i {dev|any} arp` and `sysctl net.ipv4.conf.{dev|all}.drop_gratuitous_arp \
         net.ipv4.conf.all.drop_gratuitous_arp`.",
    ),
    known(
        &[(SILENT, "igmp_rcv")],
        always,
        Unknown,
        "An IGMP message that this host has no use for. Often normal: neighbours report the groups that they join and leave, for \
         routers. One that is malformed, or of an unknown type, ends here too: not evaluated.",
        "`tcpdump -vv -e -nn -i {dev|any} igmp`.",
    ),
    known(
        &[(SILENT, "icmpv6_rcv")],
        |drop| super::icmp(drop, 8, 128),
        Unknown,
        "An echo request (ping) was not answered: either a setting says so (echo_ignore_all, for some destinations echo_ignore_multicast \
         or echo_ignore_anycast), or the answer could not be sent (rate limit, no route back, memory): not evaluated.",
        "`sysctl net.ipv6.icmp` and `nstat -az | grep Icmp6Out`.",
    ),
    known(
        &[(SILENT, "icmpv6_rcv"), (SILENT, "ndisc_rcv")],
        |drop| super::icmp(drop, 0, 136),
        Unknown,
        "A neighbour advertisement was refused: either it is malformed or inconsistent, or nobody asked for it and \
         drop_unsolicited_na is set: not evaluated.",
        "`sysctl net.ipv6.conf.{dev|all}.drop_unsolicited_na net.ipv6.conf.all.drop_unsolicited_na` and \
         `tcpdump -vv -e -nn -i {dev|any} icmp6`.",
    ),
    known(
        &[(SILENT, "do_xdp_generic"), ("XDP", "*")],
        always,
        Program,
        "An XDP program in the kernel's generic mode ended the packet: either it said drop or failed (aborted), or what it wanted \
         (to send or redirect the packet) could not be done: not evaluated.",
        "`ip -d link show[ dev {dev}]` (xdpgeneric, prog/xdp id), `bpftool prog show`.",
    ),
    known(
        &[(SILENT, "veth_xdp_rcv_skb")],
        always,
        Program,
        "An XDP program on this veth device (native mode) ended the packet: either it said drop or failed (aborted), or the packet \
         could not be made ready for it or sent where it wanted: not evaluated.",
        "`ethtool -S {dev}` counts xdp_drops and xdp errors, `ip -d link show[ dev {dev}]` names the program (prog/xdp id), \
         `bpftool prog show`.",
    ),
    known(
        &[(SILENT, "br_stp_rcv")],
        always,
        Normal,
        "A spanning-tree message (BPDU) reached a bridge: the kernel frees every one of them this way, read or ignored.",
        "Nothing; `bridge -d link show[ dev {dev}]` shows the port's state.",
    ),
    known(
        &[
            (SILENT, "stp_pdu_rcv"),
            (SILENT, "llc_rcv"),
            (SILENT, "snap_rcv"),
        ],
        always,
        Device,
        "A frame of a kind that spanning tree and old link protocols use (802.2). Often normal: no bridge here takes part in spanning \
         tree, or nothing listens to that protocol; a malformed frame ends here too: not evaluated.",
        "`tcpdump -e -vv -nn -i {dev|any} stp` and `ip -d link show type bridge` (stp_state).",
    ),
    known(
        &[("UDP_CSUM", "__udp6_lib_rcv"), ("UDP_CSUM", "udpv6_rcv")],
        v6,
        Malformed,
        "The UDP checksum was refused: either it is 0, which IPv6 forbids unless the socket allows it, or it does not fit what \
         arrived (changed or damaged on its way, or never completed by the sender): not evaluated.",
        "`tcpdump -vv -nn -i {dev|any}[ host {src}]` shows whether it is 0; `nstat -az Udp6InCsumErrors`; for virtual devices, offloads: \
         `ethtool -k {dev}`.",
    ),
    known(
        &[
            ("IP_INHDR", "ip_rcv_finish_core"),
            ("IP_INHDR", "ip_rcv_finish"),
        ],
        v4,
        Malformed,
        "The IP options of the packet are broken.",
        "`tcpdump -vv -nn -i {dev|any}[ host {src}]` shows them; `nstat -az IpInHdrErrors`.",
    ),
];

/// Link-local groups and IGMP: packets to them may come from 0.0.0.0 too (`ip_mc_validate_source`,
/// net/ipv4/route.c), so whether the group is joined is the check that is left.
///
/// Only where the reverse-path filter is a reason of its own.
fn group_of_the_link(drop: &Drop) -> bool {
    drop.reason.name.is_some()
        && packet(drop, |p| match (p.dst, p.src) {
            (IpAddr::V4(dst), IpAddr::V4(src)) => {
                let local = dst.octets()[..3] == [224, 0, 0] || p.proto == Proto::IGMP;
                local && !src.is_loopback() && !src.is_multicast() && !src.is_broadcast()
            }
            _ => false,
        })
}

/// Whether the kernel refuses these addresses from any link (net/ipv6/ip6_input.c, `ip6_rcv_core`, 5.10 to 7.2). Scope 1 counts
/// in frames to many only, which packets to a group are.
fn must_not_come(source: IpAddr, to: IpAddr) -> bool {
    let (IpAddr::V6(source), IpAddr::V6(to)) = (source, to) else {
        return false;
    };
    let scope = to.octets()[1] & 0xf;
    source.is_loopback()
        || to.is_loopback()
        || source.is_multicast()
        || to.is_multicast() && scope <= 1
}
