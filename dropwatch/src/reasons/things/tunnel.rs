//! Tunnels, IPsec and WireGuard.

use super::{SILENT, Thing, always, known};
use crate::reasons::Class::{Config, Device, Firewall, Unknown};

pub(super) const THINGS: &[Thing] = &[
    known(
        &[(SILENT, "wg_xmit")],
        always,
        Config,
        "WireGuard could not send the packet: either the destination is in no peer's allowed-ips, or that peer has no endpoint yet, or \
         the packet is no valid IP packet: not evaluated.",
        "`wg show[ {dev}]` (allowed ips, endpoint, latest handshake); `ip route get {dst}[ mark {mark}]`.",
    ),
    known(
        &[(SILENT, "gre_rcv")],
        always,
        Config,
        "A GRE packet was not taken by any tunnel: either no tunnel has these end points and this key, or the packet's version, \
         checksum or header does not fit: not evaluated.",
        "`ip -d link show type gre` and `ip -d link show type gretap` (local, remote, ikey), \
         `tcpdump -vv -nn -i {dev|any} 'proto 47'` (key); compare both ends.",
    ),
    known(
        &[
            (SILENT, "tunnel4_rcv"),
            (SILENT, "tunnel64_rcv"),
            (SILENT, "tunnelmpls4_rcv"),
            (SILENT, "tunnel6_rcv"),
            (SILENT, "tunnel46_rcv"),
            (SILENT, "tunnelmpls6_rcv"),
        ],
        always,
        Config,
        "A packet within a packet (IPIP, SIT, IPv6 or MPLS in IP) was not taken by any tunnel device: either none here has these end \
         points, or it is too short: not evaluated. The sender is told by ICMP (port unreachable), as a rule.",
        "`ip -d link show type ipip`, `ip -d link show type sit` and `ip -d link show type ip6tnl` (local, remote); compare both ends.",
    ),
    known(
        &[
            (SILENT, "ip_tunnel_rcv"),
            (SILENT, "__ip6_tnl_rcv"),
            (SILENT, "ip6_tnl_rcv"),
        ],
        always,
        Config,
        "A tunnel device refused a packet that came for it: either checksum or sequence number are used by one end only, or the number is \
         too old, or the packet within is malformed or its congestion marks contradict each other: not evaluated.",
        "`ip -s -d link show[ dev {dev}]` (RX errors, crc, frame, fifo; csum, seq); compare both ends.",
    ),
    known(
        &[
            (SILENT, "ip_tunnel_xmit"),
            (SILENT, "ip_md_tunnel_xmit"),
            (SILENT, "ipip_tunnel_xmit"),
            (SILENT, "ipgre_xmit"),
            (SILENT, "gre_tap_xmit"),
            (SILENT, "sit_tunnel_xmit"),
            (SILENT, "ipip6_tunnel_xmit"),
            (SILENT, "ip6_tnl_start_xmit"),
            (SILENT, "ip6gre_tunnel_xmit"),
            (SILENT, "vti_tunnel_xmit"),
        ],
        always,
        Config,
        "A tunnel device could not send the packet: either there is no route to the tunnel's other end, or that route leads into the \
         tunnel itself, or the packet is too large for the way and must not be fragmented, or no other end is set: not evaluated.",
        "`ip -s -d link show[ dev {dev}]` (TX carrier: no route; collsns: into itself; errors: too large and others; remote, mtu), then \
         `ip route get` with the remote address.",
    ),
    known(
        &[
            ("IP_OUTNOROUTES", "vxlan_xmit_one"),
            ("IP_OUTNOROUTES", "vxlan_xmit"),
            ("IP_OUTNOROUTES", "geneve_xmit"),
            ("IP_OUTNOROUTES", "ip_tunnel_xmit"),
        ],
        always,
        Config,
        "A tunnel device could not send the packet, as it has no way to its other end: either there is no route to that address, or the \
         route leads into the tunnel itself: not evaluated. Routes for the packet's own destination have no part in it.",
        "`ip -s -d link show[ dev {dev}]` (TX carrier: no route; collsns: into itself; remote), `bridge fdb show[ dev {dev}]` (dst), then \
         `ip route get` with that address.",
    ),
    known(
        &[
            (SILENT, "vxlan_xmit"),
            (SILENT, "vxlan_xmit_one"),
            (SILENT, "geneve_xmit"),
        ],
        always,
        Unknown,
        "A tunnel device could not send the packet: either no other end is known for the destination, or there is no route to it, or that \
         leads into the tunnel itself, or the packet is too large: not evaluated.",
        "`ip -s -d link show[ dev {dev}]` (TX carrier, collsns, errors), `bridge fdb show[ dev {dev}]`.",
    ),
    known(
        &[
            (SILENT, "xfrm4_udp_encap_rcv"),
            (SILENT, "xfrm6_udp_encap_rcv"),
        ],
        always,
        Firewall,
        "A datagram on a port for IPsec over UDP was ended: either a keep-alive (one byte), which is normal and does its work on the \
         way, or an ESP packet that is too short or malformed: not evaluated.",
        "`tcpdump -vv -nn -i {dev|any} udp[ and host {src}]` (isakmp-nat-keep-alive), `cat /proc/net/xfrm_stat`.",
    ),
    known(
        &[(SILENT, "xfrm_input")],
        always,
        Firewall,
        "IPsec refused a packet that came in: either no association (SA) has its SPI and address, or it is out of the replay window, or \
         its protection is not genuine, or the SA is expired or of another kind: not evaluated.",
        "`cat /proc/net/xfrm_stat` (XfrmInNoStates: unknown SPI), `ip -s xfrm state`.",
    ),
    known(
        &[
            (SILENT, "ip_vs_nat_xmit"),
            (SILENT, "ip_vs_dr_xmit"),
            (SILENT, "ip_vs_tunnel_xmit"),
            (SILENT, "ip_vs_bypass_xmit"),
            (SILENT, "ip_vs_icmp_xmit"),
            (SILENT, "ip_vs_nat_xmit_v6"),
            (SILENT, "ip_vs_dr_xmit_v6"),
            (SILENT, "ip_vs_tunnel_xmit_v6"),
            (SILENT, "ip_vs_bypass_xmit_v6"),
            (SILENT, "ip_vs_icmp_xmit_v6"),
        ],
        always,
        Unknown,
        "IPVS could not send the packet to its real server: either it is larger than the MTU of the way there and must not be \
         fragmented, or there is no route to the server, or the route is of another kind than the forwarding method allows: not \
         evaluated.",
        "`ipvsadm -Ln --stats`, `ipvsadm -Lnc`, and `ip route get` with the server's address (mtu).",
    ),
    known(
        &[(SILENT, "tun_queue_purge")],
        always,
        Device,
        "The packet waited in a tun or tap device for the program that holds it, and was freed unread as that program closed the device \
         (or this queue of it), or the device was removed.",
        "`ip -d link show[ dev {dev}]` and `ip tuntap list`; the program's log, if it should not have ended.",
    ),
];
