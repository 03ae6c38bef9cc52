//! Ports of Linux bridges.

use super::{SILENT, Thing, always, known};
use crate::reasons::Class::{Device, Unknown};

pub(super) const THINGS: &[Thing] = &[
    known(
        &[
            ("BRIDGE_INGRESS_STP_STATE", "br_handle_frame"),
            ("BRIDGE_INGRESS_STP_STATE", "br_handle_frame_finish"),
        ],
        always,
        Device,
        "The state of the bridge port does not let frames in: either spanning tree holds it (listening, learning, blocking), or it is \
         disabled because the bridge or the port is down: not evaluated.",
        "`bridge -d link show[ dev {dev}]` (state) and `ip -d link show type bridge` (UP? stp_state, forward_delay).",
    ),
    known(
        &[(SILENT, "br_dev_queue_push_xmit")],
        always,
        Device,
        "A bridge could not send the frame out by a port (the device shown): either it is larger than that port's MTU, or the port is \
         down, or its header does not fit: not evaluated.",
        "`ip -s -d link show[ dev {dev}]` (mtu, UP) against the length of the packet.",
    ),
    known(
        &[
            (SILENT, "br_allowed_ingress"),
            (SILENT, "__allowed_ingress"),
            (SILENT, "br_handle_vlan"),
        ],
        always,
        Device,
        "The bridge's VLAN filter refused the frame: either its VLAN is not allowed on the port, or it has no tag and the port has no \
         PVID, or the VLAN's own state or kind of tag does not fit: not evaluated.",
        "`bridge vlan show[ dev {dev}]` and `ip -d link show type bridge` (vlan_filtering, vlan_default_pvid).",
    ),
    known(
        &[(SILENT, "br_handle_frame")],
        always,
        Device,
        "A bridge did not let the frame in: either its source MAC address is invalid, or it is a control frame that must not be \
         forwarded (01:80:c2:00:00:0x), or the port's state does not let it in (spanning tree, or port or bridge is down): not \
         evaluated.",
        "`tcpdump -e -nn -i {dev|any}`, `bridge -d link show[ dev {dev}]` (state), `ip -d link show type bridge`.",
    ),
    known(
        &[(SILENT, "br_handle_frame_finish")],
        always,
        Device,
        "A bridge did not pass the frame on: either the port's state allows no forwarding (spanning tree, port or bridge down), or the \
         port is locked and does not know the source, or the frame would go back to where it came from (hairpin off), or the port that \
         it belongs to may not have it (state, isolated, flooding off), or the bridge's own options refuse it: not evaluated.",
        "`bridge -d link` (state, locked, flood, isolated, hairpin), `bridge fdb` (which port has the destination MAC?), `bridge vlan`.",
    ),
    known(
        &[
            (SILENT, "br_forward"),
            (SILENT, "br_flood"),
            (SILENT, "br_multicast_flood"),
            (SILENT, "__br_forward"),
            (SILENT, "maybe_deliver"),
        ],
        always,
        Device,
        "A bridge has no port for the frame: either it would go back to where it came from, or the port that it belongs to may not have \
         it (state, VLAN, isolated, flooding off), or memory was short: not evaluated. Often normal: flooded frames of others end so.",
        "`bridge -d link` (state, flood, isolated), `bridge fdb`, `bridge vlan`.",
    ),
    known(
        &[
            ("NO_TX_TARGET", "br_handle_frame_finish"),
            ("NO_TX_TARGET", "br_flood"),
            ("NO_TX_TARGET", "br_forward"),
            ("NO_TX_TARGET", "br_dev_xmit"),
        ],
        always,
        Unknown,
        "A bridge has no port for the frame: either there is none but that it came from, or those that there are may not have it \
         (flooding off, state, VLAN, isolated): not evaluated. Often normal: flooded frames of others end so.",
        "`bridge -d link` (state, flood, isolated), `bridge fdb`, `bridge vlan`.",
    ),
];
