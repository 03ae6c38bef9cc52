//! Reasons of tunnels, PSP and Open vSwitch.

use super::Class::{Config, Device, Malformed, Program, Resource, Routing, Unknown};
use super::{ReasonText, text};

const OVS: &str = "`ovs-appctl dpctl/dump-flows -m` for the flow and `ovs-appctl ofproto/trace` (with the bridge and that flow) for the decision.";
const GRE: &str = "`ip -s -d tunnel show` or `ip -s -d link show[ {dev}]`, and `tcpdump -vv -nn -i {dev|any} 'ip proto 47'`; compare both ends.";
const VXLAN: &str =
    "`ip -d link show type vxlan` and `tcpdump -nn -i {dev|any} udp port 4789`; compare both ends.";
const PSP: &str =
    "`ss -tniO[ dst {src}]` for the connection; compare which ends use PSP encryption for it.";

pub(super) const TABLE: &[ReasonText] = &[
    text(
        "GRE_CSUM",
        Malformed,
        "The checksum in the GRE header is wrong.",
        GRE,
    ),
    text(
        "GRE_INVALID_HDR",
        Malformed,
        "The GRE header is invalid, such as an unsupported version or source routing.",
        GRE,
    ),
    text(
        "GRE_TUNNEL_NOT_FOUND",
        Config,
        "No GRE tunnel in the packet's network namespace has these end points and this key.",
        GRE,
    ),
    text(
        "IP_TUNNEL_ECN",
        Malformed,
        "The congestion marks (ECN) of the outer and inner header contradict each other, so the packet must be dropped (RFC 6040).",
        "`ip -s -d link show[ {dev}]` (rx errors); find the router that sets CE on packets whose sender does not support ECN.",
    ),
    text(
        "OVS_DROP_ACTION_ERROR",
        Device,
        "Open vSwitch failed to carry out one of the flow's actions.",
        OVS,
    ),
    text(
        "OVS_DROP_CONNTRACK",
        Resource,
        "Open vSwitch's connection tracking action failed for the packet.",
        "`ovs-appctl dpctl/dump-conntrack`, `conntrack -S`, `sysctl net.netfilter.nf_conntrack_max net.netfilter.nf_conntrack_count`.",
    ),
    text(
        "OVS_DROP_DEFERRED_LIMIT",
        Resource,
        "Open vSwitch had too many postponed actions for one packet.",
        OVS,
    ),
    text(
        "OVS_DROP_EXPLICIT",
        Program,
        "A flow of Open vSwitch says to drop the packet.",
        OVS,
    ),
    text(
        "OVS_DROP_EXPLICIT_WITH_ERROR",
        Program,
        "A flow of Open vSwitch says to drop the packet because the flow could not be translated properly.",
        OVS,
    ),
    text(
        "OVS_DROP_FRAG_INVALID_PROTO",
        Malformed,
        "Open vSwitch must fragment the packet but can do so for IPv4 and IPv6 only.",
        OVS,
    ),
    text(
        "OVS_DROP_FRAG_L2_TOO_LONG",
        Malformed,
        "Open vSwitch must fragment the packet but its link-layer header is too long.",
        OVS,
    ),
    text(
        "OVS_DROP_IP_TTL",
        Routing,
        "The TTL or hop limit ran out when Open vSwitch counted it down.",
        OVS,
    ),
    text(
        "OVS_DROP_LAST_ACTION",
        Program,
        "The list of actions of the Open vSwitch flow ended without sending the packet anywhere, which is how most of its drops are written.",
        OVS,
    ),
    text(
        "OVS_DROP_MAX",
        Unknown,
        "This is the end marker of the kernel's list and never a real reason.",
        "Seeing it means that the reason was decoded with another kernel's list; please report it.",
    ),
    text(
        "OVS_DROP_METER",
        Config,
        "A meter of Open vSwitch limits the rate.",
        "`ovs-vsctl list-br` for the bridges, then the meter-stats of `ovs-ofctl -O OpenFlow13`.",
    ),
    text(
        "OVS_DROP_REASON",
        Unknown,
        "This is the base value of Open vSwitch's list and never a real reason.",
        "Seeing it means that the reason was decoded wrongly; please report it.",
    ),
    text(
        "OVS_DROP_RECURSION_LIMIT",
        Config,
        "Open vSwitch's actions send the packet round too many times.",
        OVS,
    ),
    text(
        "PSP_INPUT",
        Config,
        "A received segment does not have the PSP encryption that the connection requires, or has one that it must not have.",
        PSP,
    ),
    text(
        "PSP_OUTPUT",
        Config,
        "A segment of a connection with PSP encryption was about to leave through a device that cannot encrypt it.",
        PSP,
    ),
    text(
        "TNL_OLD_SEQ",
        Device,
        "The packet's sequence number is older than the tunnel expects, so it is lost: either it was overtaken on its way, or the other end began anew, and all that it sends is lost until its numbers catch up: not evaluated.",
        GRE,
    ),
    text(
        "TNL_OPT_MISMATCH",
        Config,
        "The packet's tunnel options, such as checksum or sequence number, differ from those the tunnel is set up with.",
        GRE,
    ),
    text(
        "TUNNEL_TXINFO",
        Config,
        "A packet without tunnel information reached a tunnel device that expects it from outside (external mode).",
        "`ip -d link show[ {dev}]` (external); routes with `encap`, `tc` tunnel_key actions or eBPF must supply it.",
    ),
    text(
        "VXLAN_ENTRY_EXISTS",
        Config,
        "A known machine appeared behind another VXLAN end point, but its forwarding entry is static or points to a nexthop and must not move.",
        "`bridge fdb show[ dev {dev}]` (static, nhid).",
    ),
    text(
        "VXLAN_INVALID_HDR",
        Malformed,
        "The VXLAN header is invalid: reserved bits are set, or the flag for a valid VNI is not.",
        VXLAN,
    ),
    text(
        "VXLAN_VNI_NOT_FOUND",
        Config,
        "No VXLAN device in the packet's network namespace takes this VNI on this UDP port.",
        VXLAN,
    ),
];
