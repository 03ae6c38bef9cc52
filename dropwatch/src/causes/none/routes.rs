//! Packets that the routing tables refuse, or the setting that forbids forwarding: named apart, each with its route
//! or key (net/ipv4/route.c, `ip_error`, 5.10 to 7.2). And multicast that nobody here listens to.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use crate::{
    causes::source_check,
    facts::Route,
    judge::View,
    model::{
        anchor::Drop,
        explanation::{Line, Source},
    },
    reasons::Class,
};

/// What there is to say.
pub struct Said {
    /// Reads well after a count.
    pub title: String,
    /// What happened.
    pub what: String,
    /// Where to look next, for [`crate::reasons::hint::fill`].
    pub look: String,
    /// `facts.route`.
    pub facts: RouteFacts,
    /// What kind of reason it is.
    pub class: Class,
    /// Proof.
    pub lines: Vec<Line>,
}

/// What routing had against a packet. All but its kind is null where the kind has no such thing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RouteFacts {
    /// What it was.
    kind: RouteKind,
    /// Of the route.
    prefix: Option<String>,
    /// Routing table of the route.
    table: Option<u32>,
    /// Mark of the packet, with `none`.
    mark: Option<u32>,
    /// The setting, with `forwarding_off`; the policy rule that refuses by itself, as `ip rule 100`.
    key: Option<String>,
    /// Whether it is on for all, with `forwarding_off`.
    ip_forward: Option<bool>,
    /// With `no_listener`.
    group: Option<Ipv4Addr>,
    /// Device, with `no_listener`.
    dev: Option<String>,
}

/// What routing can have against a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// A route or policy rule that drops silently.
    Blackhole,
    /// A route that drops with "host unreachable", or a policy rule with "network unreachable".
    Unreachable,
    /// A route or policy rule that drops with "administratively prohibited".
    Prohibit,
    /// There is no route.
    None,
    /// It was to be forwarded, and forwarding is off.
    ForwardingOff,
    /// Nobody here joined the multicast group.
    NoListener,
}

impl RouteFacts {
    /// With nothing known but the kind.
    fn of(kind: RouteKind) -> Self {
        Self {
            kind,
            prefix: None,
            table: None,
            mark: None,
            key: None,
            ip_forward: None,
            group: None,
            dev: None,
        }
    }
}

const LOOK: &str = "`ip route get {dst}[ from {src} iif {iif}][ mark {mark}][ ipproto {with_ports} sport {sport} dport {dport}]` and `ip rule`";

/// Explains a drop; `None` when routing was not the matter, when it cannot be told which, or while facts are pending.
pub fn explain(drop: &Drop, view: &View<'_>) -> Option<Said> {
    let packet = drop.packet.as_ref()?;
    let (IpAddr::V4(source), IpAddr::V4(to)) = (packet.src, packet.dst) else {
        return None;
    };
    let symbol = drop.location.symbol.as_deref()?;
    match symbol.split('.').next()? {
        "ip_rcv_finish_core" if to.is_multicast() && drop.reason.is_silent() => {
            unheard(drop, to, view)
        }
        "ip_error" => refused(drop, source, to, view),
        _ => None,
    }
}

/// A group's packet that no socket here asked for: it is refused before anything else is looked at.
fn unheard(drop: &Drop, group: Ipv4Addr, view: &View<'_>) -> Option<Said> {
    let dev = source_check::checked(drop, view)?.dev;
    let shown = drop.dev.as_ref()?;
    let groups = view.groups(drop.netns, dev.ifindex);
    // In a VRF its own groups count too.
    let of_vrf = view.groups(drop.netns, shown.ifindex);
    let (groups, of_vrf) = (groups?, of_vrf?);
    let takes = |list: &[Ipv4Addr]| list.contains(&group);
    if takes(&groups.joined) || takes(&of_vrf.joined) || groups.routed {
        return None;
    }
    let name = &dev.name;
    Some(Said {
        title: format!("to the multicast group {group}, which nobody here joined on {name}"),
        what: format!(
            "No program here joined the multicast group {group} on {name}, so the kernel has no use for the packet. \
             This is normal where others on the link are meant."
        ),
        look: "`ip maddr show[ dev {dev}]` lists the groups of the device".into(),
        facts: RouteFacts {
            group: Some(group),
            dev: Some(name.clone()),
            ..RouteFacts::of(RouteKind::NoListener)
        },
        class: Class::Normal,
        lines: vec![line("groups", format!("{group} is not joined on {name}"))],
    })
}

/// `ip_error`: no route, one that refuses, or forwarding is off.
fn refused(drop: &Drop, source: Ipv4Addr, to: Ipv4Addr, view: &View<'_>) -> Option<Said> {
    let dev = drop.dev.as_ref()?;
    let route = view.route_of(drop.netns, to, Some(source), drop.mark, dev.ifindex, 0);
    let settings = view.rp_filter(drop.netns);
    let checked = source_check::checked(drop, view);
    let (route, checked) = (route?, checked?);
    let name = &checked.dev.name;
    let switches = settings.and_then(|s| s.forwarding.as_ref());
    let is_on = |name: &str| Some(switches?.iter().any(|n| n == name));
    // With reasons the kernel tells these apart itself; the facts must agree with it.
    let kernel = match drop.reason.name.as_deref() {
        Some("IP_INNOROUTES") => Some("none"),
        Some("IP_INADDRERRORS") => Some("forwarding_off"),
        Some(_) if drop.reason.is_silent() => Some("refused"),
        _ => None,
    };
    let off = is_on(name) == Some(false);
    match (kernel, route.kind.as_str()) {
        (Some("forwarding_off") | None, _) if off => Some(forwarding_off(name, is_on("all"))),
        (Some("none") | None, "none" | "throw") => Some(no_route(drop)),
        // A rule of this type ends as a missing route does (net/ipv4/fib_rules.c, `fib4_rule_action`).
        (Some("none") | None, "unreachable") if route.rule.is_some() => Some(by_route(route)),
        (Some("refused"), "unreachable") if route.rule.is_some() => None,
        (Some("refused") | None, "blackhole" | "unreachable" | "prohibit") => Some(by_route(route)),
        _ => None,
    }
}

fn forwarding_off(name: &str, all: Option<bool>) -> Said {
    let key = if name.contains('.') {
        format!("net/ipv4/conf/{name}/forwarding")
    } else {
        format!("net.ipv4.conf.{name}.forwarding")
    };
    let whole = match all {
        Some(false) => "; net.ipv4.ip_forward, which sets it for all devices, is 0 too",
        Some(true) => "; net.ipv4.ip_forward is 1, so it was switched off for this device",
        None => "",
    };
    Said {
        title: format!("to be forwarded, but forwarding is off on {name}"),
        what: format!(
            "The destination is no address of this host, and forwarding is off on {name}, where the packet came in ({key} = 0{whole})."
        ),
        look: "`sysctl net.ipv4.ip_forward[ net.ipv4.conf.{dev}.forwarding]`: a machine that is to forward needs it; \
               else ask who sends such packets here (`tcpdump -e -nn -i {dev|any} dst host {dst}` shows the MAC \
               address)"
            .into(),
        facts: RouteFacts {
            key: Some(key.clone()),
            ip_forward: all,
            ..RouteFacts::of(RouteKind::ForwardingOff)
        },
        class: Class::Config,
        lines: vec![line("forwarding", format!("{key} = 0{whole}"))],
    }
}

fn no_route(drop: &Drop) -> Said {
    let marked = match drop.mark {
        0 => String::new(),
        mark => format!(" for a packet with mark {mark:#x}"),
    };
    Said {
        title: format!("to where there is no route{marked}"),
        what: format!(
            "The look-up finds no route to the destination{marked} that may be used. Where `ip route` shows one that fits, a route of the \
             type throw or a policy rule ends the look-up before it, or it is ignored because its link is down \
             (ignore_routes_with_linkdown): not evaluated."
        ),
        look: format!("{LOOK}, `ip route show table all` (throw, linkdown)"),
        facts: RouteFacts {
            mark: Some(drop.mark),
            ..RouteFacts::of(RouteKind::None)
        },
        class: Class::Routing,
        lines: vec![line("route", format!("none{marked}"))],
    }
}

fn by_route(route: &Route) -> Said {
    let kind = &route.kind;
    let table = match route.table {
        Some(254) => " in table main".to_owned(),
        Some(255) => " in table local".to_owned(),
        Some(table) => format!(" in table {table}"),
        None => String::new(),
    };
    // A policy rule can refuse as well, and has no prefix.
    let what = match (&route.prefix, route.rule) {
        (Some(prefix), _) => format!("{kind} route, {prefix}{table}"),
        (None, Some(rule)) => format!("{kind} policy rule, of priority {rule}"),
        (None, None) => format!("{kind} route or policy rule (which one is not known)"),
    };
    let (refusing, told) = match kind.as_str() {
        "blackhole" => (RouteKind::Blackhole, "without a word to the sender"),
        "prohibit" => (
            RouteKind::Prohibit,
            "and tells the sender by ICMP (administratively prohibited), as a rule",
        ),
        _ if route.rule.is_some() => (
            RouteKind::Unreachable,
            "and tells the sender by ICMP (network unreachable)",
        ),
        _ => (
            RouteKind::Unreachable,
            "and tells the sender by ICMP (host unreachable), as a rule",
        ),
    };
    let look = match (&route.prefix, route.table) {
        _ if route.rule.is_some() => "`ip rule`".to_owned(),
        (Some(prefix), Some(table)) => {
            format!("`ip route show table {table} exact {prefix}`; who made it is shown as proto")
        }
        _ => LOOK.to_owned(),
    };
    let article = if kind == "unreachable" { "an" } else { "a" };
    Said {
        title: format!("refused by {article} {what}"),
        what: format!(
            "The {} is covered by {article} {what}: it drops the packet {told}. Somebody wanted it so.",
            if route.rule.is_some() {
                "packet"
            } else {
                "destination"
            }
        ),
        look,
        facts: RouteFacts {
            prefix: route.prefix.clone(),
            table: route.table,
            key: route.rule.map(|rule| format!("ip rule {rule}")),
            ..RouteFacts::of(refusing)
        },
        class: Class::Routing,
        lines: vec![line("route", what)],
    }
}

fn line(label: &str, text: String) -> Line {
    Line {
        label: label.into(),
        text,
        source: Source::Config,
    }
}
