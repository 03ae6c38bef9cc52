//! Virtual devices, and buffers that hold no packet.

use super::{ANYWHERE, SILENT, Thing, always, known};
use crate::reasons::Class::{Device, Normal};

pub(super) const THINGS: &[Thing] = &[
    known(
        &[
            (SILENT, "__dev_forward_skb2"),
            (SILENT, "__dev_forward_skb"),
            (SILENT, "dev_forward_skb"),
        ],
        always,
        Device,
        "A device that should have received the frame from another device of this machine did not take it (the other end of a veth pair, \
         or where an eBPF program sent it): either the frame is larger than that device's MTU, or that device is down: not evaluated. \
         The device shown is the one it was sent by.",
        "`ip -s -d link show[ dev {dev}]`: its other end's mtu, UP, and RX dropped.",
    ),
    known(
        &[(SILENT, "veth_xmit")],
        always,
        Device,
        "A veth device could not hand the frame over: either its other end is gone (being removed) or could not take it, or the frame \
         is too short: not evaluated.",
        "`ip -s -d link show[ dev {dev}]` and the same at its other end.",
    ),
    known(
        &[(SILENT, ANYWHERE), ("QUEUE_PURGE", ANYWHERE)],
        |drop| drop.packet.is_none() && drop.ethertype == 0 && drop.len == 0,
        Normal,
        "A buffer without a packet was freed: it holds no data and names no protocol, so nothing was lost by that.",
        "Nothing.",
    ),
];
