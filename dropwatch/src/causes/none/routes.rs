//! Packets that the routing tables refuse, or the setting that forbids forwarding: named apart, each with its route
//! or key (net/ipv4/route.c, `ip_error`, 5.10 to 7.2). And multicast that nobody here listens to.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

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
    pub facts: Value,
    /// What kind of reason it is.
    pub class: Class,
    /// Proof.
    pub lines: Vec<Line>,
}

const LOOK: &str = "`ip route get {dst}[ from {src} iif {iif}][ mark {mark}]` and `ip rule`";

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
        facts: facts(json!({ "kind": "no_listener", "group": group, "dev": name })),
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
        facts: facts(json!({ "kind": "forwarding_off", "key": key, "ip_forward": all })),
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
        facts: facts(json!({ "kind": "none", "mark": drop.mark })),
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
    let what = match &route.prefix {
        Some(prefix) => format!("{kind} route, {prefix}{table}"),
        None => format!("{kind} route or policy rule (which one is not known)"),
    };
    let told = match kind.as_str() {
        "blackhole" => "without a word to the sender",
        "prohibit" => "and tells the sender by ICMP (administratively prohibited)",
        _ => "and tells the sender by ICMP (host unreachable)",
    };
    let look = match (&route.prefix, route.table) {
        (Some(prefix), Some(table)) => {
            format!("`ip route show table {table} exact {prefix}`; who made it is shown as proto")
        }
        _ => LOOK.to_owned(),
    };
    let article = if kind == "unreachable" { "an" } else { "a" };
    Said {
        title: format!("refused by {article} {what}"),
        what: format!(
            "The destination is covered by {article} {what}: it drops the packet {told}. Somebody wanted it so."
        ),
        look,
        facts: facts(json!({ "kind": kind, "prefix": route.prefix, "table": route.table })),
        class: Class::Routing,
        lines: vec![line("route", what)],
    }
}

/// All fields are always there.
fn facts(known: Value) -> Value {
    let names = [
        "kind",
        "prefix",
        "table",
        "mark",
        "key",
        "ip_forward",
        "group",
        "dev",
    ];
    let all = names.map(|name| {
        (
            name.to_owned(),
            known.get(name).cloned().unwrap_or_default(),
        )
    });
    Value::Object(all.into_iter().collect())
}

fn line(label: &str, text: String) -> Line {
    Line {
        label: label.into(),
        text,
        source: Source::Config,
    }
}
