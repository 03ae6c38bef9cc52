//! Reasons of devices, drivers, the receive path, bridges, CAN and wireless.

use super::Class::{Config, Device, Malformed, Normal, Program, Resource};
use super::{ReasonText, text};

const CAN: &str = "`ip -d -s link show[ {dev}]` and `candump -e {dev}`; compare the device's CAN type and MTU with the sender's.";

pub(super) const TABLE: &[ReasonText] = &[
    text(
        "ARP_PVLAN_DISABLE",
        Config,
        "An ARP request asks for an address that lies behind the device it came in on, and answering for it (private VLAN proxy ARP) is not switched on.",
        "`sysctl net.ipv4.conf.{dev|all}.proxy_arp_pvlan net.ipv4.conf.{dev|all}.proxy_arp`.",
    ),
    text(
        "BRIDGE_INGRESS_STP_STATE",
        Device,
        "The state of the bridge port does not let frames in.",
        "`bridge -d link show[ dev {dev}]` (state) and `ip -d link show type bridge` (UP? stp_state, forward_delay).",
    ),
    text(
        "CANFD_RX_INVALID_FRAME",
        Malformed,
        "A CAN FD frame is malformed, or the device cannot receive CAN frames.",
        CAN,
    ),
    text(
        "CANXL_RX_INVALID_FRAME",
        Malformed,
        "A CAN XL frame is malformed, or the device cannot receive CAN frames.",
        CAN,
    ),
    text(
        "CAN_RX_INVALID_FRAME",
        Malformed,
        "A CAN frame is malformed, or the device cannot receive CAN frames.",
        CAN,
    ),
    text(
        "CPU_BACKLOG",
        Resource,
        "The CPU's queue of received packets is full, or its per-flow limit was hit, because packets come in faster than this CPU handles them.",
        "`cat /proc/net/softnet_stat` (2nd column: drops, 11th: flow limit), `sysctl net.core.netdev_max_backlog`; spread the load with RPS or more queues.",
    ),
    text(
        "DEV_HDR",
        Malformed,
        "The driver's own header or metadata in front of the packet is invalid, such as a virtio header from a virtual machine.",
        "`ip -s -d link show[ {dev}]`; look at the program or virtual machine at the other end of the device.",
    ),
    text(
        "DEV_READY",
        Device,
        "The device is not ready to send or receive: it is down, or its other end or queue is not there yet.",
        "`ip -d link show[ {dev}]`: is it UP with LOWER_UP, and is its peer or program running?",
    ),
    text(
        "FULL_RING",
        Resource,
        "The device's ring of packets is full because whoever should take them out is too slow or does not read; for tun and tap that is the program or virtual machine that holds the device.",
        "`ip -s link show[ {dev}]`, `top -H` for the reader; a larger `txqueuelen` only helps against bursts.",
    ),
    text(
        "HDR_TRUNC",
        Malformed,
        "A header could not be read because the packet ends before it does.",
        "`tcpdump -vv -e -nn -i {dev|any}` shows the length.",
    ),
    text(
        "IPVLAN_MULTICAST_BACKLOG",
        Resource,
        "The queue in which ipvlan keeps multicast packets for its devices is full.",
        "`ip -s -d link show type ipvlan`; find the multicast or broadcast sender with `tcpdump -e -nn -i {dev|any} multicast`.",
    ),
    text(
        "LOCAL_MAC",
        Device,
        "The source MAC address is that of the receiving device itself: a loop, or a duplicate address.",
        "`ip link show[ {dev}]` and `tcpdump -e -nn -i {dev|any}`; `bridge fdb show[ dev {dev}]`.",
    ),
    text(
        "MACVLAN_BROADCAST_BACKLOG",
        Resource,
        "The queue in which macvlan keeps broadcast packets for its devices is full.",
        "`ip -s -d link show type macvlan` (bcqueuelen); find the sender with `tcpdump -e -nn -i {dev|any} broadcast`.",
    ),
    text(
        "MAC_IEEE_MAC_CONTROL",
        Normal,
        "The frame is a link control frame (such as PAUSE), which a bridge must not forward.",
        "Nothing; `ethtool -a {dev}` shows flow control if there are many.",
    ),
    text(
        "MAC_INVALID_SOURCE",
        Malformed,
        "The source MAC address is invalid: zero or a multicast address.",
        "`tcpdump -e -nn -i {dev|any}` shows the frame.",
    ),
    text(
        "NOMEM",
        Resource,
        "The kernel could not get memory for the packet.",
        "`free -m` and `dmesg | grep -i 'page allocation'`.",
    ),
    text(
        "NO_TX_TARGET",
        Device,
        "The device has nowhere to send the packet to: no port, remote or forwarding entry for it.",
        "`bridge fdb show[ dev {dev}]` and `ip -d link show[ {dev}]`.",
    ),
    text(
        "RECURSION_LIMIT",
        Config,
        "The packet went through virtual devices that send into each other without end.",
        "`dmesg | grep -i 'dead loop'`; look for a route or bridge that leads a tunnel into itself: `ip route get {dst}`, `bridge link`.",
    ),
    text(
        "SKB_BAD_GSO",
        Malformed,
        "The packet's segmentation data (GSO) is inconsistent, as a broken or hostile virtual machine or program might write it.",
        "`ip -d link show[ {dev}]`; look at the program or virtual machine that sent it, and at `ethtool -k {dev}`.",
    ),
    text(
        "SKB_CSUM",
        Device,
        "The packet's checksum could not be computed before sending.",
        "`dmesg | tail` and `ethtool -k {dev}`; try with checksum offload switched off (`ethtool -K {dev} tx off`).",
    ),
    text(
        "SKB_GSO_SEG",
        Malformed,
        "A large packet could not be cut into segments.",
        "`dmesg | tail` and `ethtool -k {dev}`; try `ethtool -K {dev} gso off tso off`.",
    ),
    text(
        "SKB_UCOPY_FAULT",
        Resource,
        "Data could not be copied from the sending program's memory.",
        "`dmesg | tail`; programs that use zero-copy and change or unmap their buffers cause this.",
    ),
    text(
        "TAP_FILTER",
        Program,
        "An eBPF filter attached to the tun or tap device refused the packet.",
        "`bpftool prog show`; the program that holds the device sets it (TUNSETFILTEREBPF): `ip tuntap list`.",
    ),
    text(
        "TAP_TXFILTER",
        Config,
        "The address filter of the tap device does not let this destination through.",
        "The program that holds the device sets it (TUNSETTXFILTER): `ip tuntap list`, then that program's settings.",
    ),
    text(
        "UNHANDLED_PROTO",
        Device,
        "Nothing at this place takes packets of this type or protocol.",
        "`tcpdump -e -nn -i {dev|any}` shows the type.",
    ),
    text(
        "XDP",
        Program,
        "An XDP program in the kernel's generic mode ended the packet, or what it wanted to do with it failed.",
        "`ip -d link show[ dev {dev}]` (xdpgeneric, prog id) and `bpftool prog show`.",
    ),
];

/// mac80211's list is long, changes with every kernel, and concerns single radio frames.
const WIRELESS: ReasonText = text(
    "RX_DROP_*",
    Device,
    "The wireless stack (mac80211) refused a received radio frame: wrong key or signature, replay, duplicate, or a frame that does not fit its state; the name says which.",
    "`iw dev {dev} station dump`, `iw event -t`, `dmesg | grep -i wlan`; a few of these are normal on any radio link.",
);

/// The text for a whole family of names.
pub(super) fn family(name: &str) -> Option<&'static ReasonText> {
    name.starts_with("RX_DROP").then_some(&WIRELESS)
}
