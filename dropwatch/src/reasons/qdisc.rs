//! Reasons of traffic control: queueing disciplines, filters and actions.
//!
//! Up to 6.18 those of queueing disciplines are members of the core list (`QDISC_OVERLIMIT`);
//! later they have a list of their own (`QDISC_DROP_OVERLIMIT`).

use super::Class::{Config, Malformed, Program, Resource, Unknown};
use super::{ReasonText, text};

const STATS: &str = "`tc -s qdisc show[ dev {dev}]` (dropped, overlimits, backlog).";
const FQ: &str = "`tc -s -d qdisc show[ dev {dev}]`: fq's own counters (flows_plimit, horizon_drops, band drops) and limits.";
const AQM: &str = "`tc -s qdisc show[ dev {dev}]`; dropping early is this discipline's purpose, so ask what fills the link.";
const FILTERS: &str = "`tc -s filter show dev {dev} ingress`, the same with `egress`, and `tc chain show dev {dev} ingress`.";

const OVERLIMIT: &str =
    "A queueing discipline of the device holds as many packets or bytes as its limit allows.";
const CONGESTED: &str = "The queueing discipline dropped the packet on purpose, to tell the sender that the link is congested (CoDel, PIE, RED and the like).";
const FLOOD: &str =
    "CAKE's protection against senders that do not slow down (BLUE) dropped the packet.";
const BAND: &str = "The limit of the packet's priority band in the fq discipline is reached.";
const HORIZON: &str =
    "The packet asks to be sent further in the future than the fq discipline allows.";
const FLOW: &str =
    "This one flow has more packets in the queue than the discipline allows a single flow.";
const STEP: &str = "DualPI2 dropped the packet because its low-latency queue is too slow and the packet cannot carry a congestion mark (ECN) instead.";

pub(super) const TABLE: &[ReasonText] = &[
    text("CAKE_FLOOD", Resource, FLOOD, AQM),
    text("DUALPI2_STEP_DROP", Resource, STEP, AQM),
    text("FQ_BAND_LIMIT", Resource, BAND, FQ),
    text("FQ_FLOW_LIMIT", Resource, FLOW, FQ),
    text("FQ_HORIZON_LIMIT", Config, HORIZON, FQ),
    text(
        "QDISC_BURST_DROP",
        Resource,
        "Too many packets waited in front of the queueing discipline at once.",
        "`sysctl net.core.qdisc_max_burst` is the limit; `tc -s qdisc show[ dev {dev}]` shows the load.",
    ),
    text("QDISC_CONGESTED", Resource, CONGESTED, AQM),
    text(
        "QDISC_DROP",
        Unknown,
        "The way out of the device did not take the packet: its queueing discipline, a filter of it, or the lack of any queue while the device has no carrier.",
        "`tc -s qdisc show[ dev {dev}]`; on kernels that have it the tracepoint qdisc:qdisc_drop names the discipline's reason.",
    ),
    text("QDISC_DROP_BAND_LIMIT", Resource, BAND, FQ),
    text("QDISC_DROP_CAKE_FLOOD", Resource, FLOOD, AQM),
    text("QDISC_DROP_CONGESTED", Resource, CONGESTED, AQM),
    text("QDISC_DROP_FLOOD_PROTECTION", Resource, FLOOD, AQM),
    text("QDISC_DROP_FLOW_LIMIT", Resource, FLOW, FQ),
    text("QDISC_DROP_FQ_BAND_LIMIT", Resource, BAND, FQ),
    text("QDISC_DROP_FQ_HORIZON_LIMIT", Config, HORIZON, FQ),
    text(
        "QDISC_DROP_GENERIC",
        Unknown,
        "The queueing discipline dropped the packet for no more specific reason.",
        STATS,
    ),
    text("QDISC_DROP_HORIZON_LIMIT", Config, HORIZON, FQ),
    text("QDISC_DROP_L4S_STEP_NON_ECN", Resource, STEP, AQM),
    text(
        "QDISC_DROP_MAX",
        Unknown,
        "This is the end marker of the kernel's list and never a real reason.",
        "Seeing it means that the reason was decoded with another kernel's list; please report it.",
    ),
    text(
        "QDISC_DROP_MAXFLOWS",
        Resource,
        "The queueing discipline has no free slot to keep track of another flow.",
        STATS,
    ),
    text("QDISC_DROP_OVERLIMIT", Resource, OVERLIMIT, STATS),
    text(
        "QDISC_DROP_REASON",
        Unknown,
        "This is the base value of the queueing disciplines' list and never a real reason.",
        "Seeing it means that the reason was decoded wrongly; please report it.",
    ),
    text(
        "QDISC_DROP_UNSPEC",
        Unknown,
        "The queueing discipline gave no reason.",
        STATS,
    ),
    text("QDISC_OVERLIMIT", Resource, OVERLIMIT, STATS),
    text(
        "TC_CHAIN_NOTFOUND",
        Config,
        "A traffic control rule jumps to a chain that does not exist.",
        FILTERS,
    ),
    text(
        "TC_COOKIE_ERROR",
        Malformed,
        "Traffic control could not go on where the hardware left off: the data that says so is missing or invalid.",
        FILTERS,
    ),
    text(
        "TC_EGRESS",
        Program,
        "A traffic control filter or eBPF program on the device's way out dropped the packet, or an action of it (police, redirect) could not do its work.",
        "`tc -s filter show dev {dev} egress` and `bpftool net show[ dev {dev}]`; Cilium and other networks work there.",
    ),
    text(
        "TC_INGRESS",
        Program,
        "A traffic control filter or eBPF program on the device's way in dropped the packet, or an action of it (police, redirect) could not do its work.",
        "`tc -s filter show dev {dev} ingress` and `bpftool net show[ dev {dev}]`; Cilium and other networks work there.",
    ),
    text(
        "TC_RECLASSIFY_LOOP",
        Config,
        "Traffic control rules send the packet round in circles.",
        FILTERS,
    ),
];
