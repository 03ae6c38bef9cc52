//! The explanation in words.

use super::{
    case::{Case, Effective, Kind, Way},
    reverse::ReverseRoute,
};
use crate::{
    facts::SetVia,
    model::{
        evidence::SourceCheck,
        explanation::{Line, Source},
    },
};

/// Reads well after a count.
pub fn title(case: &Case<'_>) -> String {
    let dev = on(case);
    match case.kind {
        _ if case.spoof_suspected => {
            format!(
                "with an inside source on the outside device {dev}, refused by the reverse-path filter"
            )
        }
        Kind::StrictMismatch => format!("refused by the strict reverse-path filter on {dev}"),
        Kind::LooseNoAddress => {
            format!("refused by the loose reverse-path filter on {dev}, which has no IPv4 address")
        }
        Kind::NoRoute => {
            format!(
                "refused by the reverse-path filter on {dev}: {}",
                no_way(case)
            )
        }
        Kind::LocalRoute => {
            format!("refused on {dev}: the source is inside a local route, and rp_filter is on")
        }
        Kind::Unknown => format!("refused by the reverse-path filter on {dev}"),
    }
}

/// The same for a case that may come to be of several devices; `None` where it is of one.
pub fn counted(case: &Case<'_>) -> Option<String> {
    if !case.of_all_devices() {
        return None;
    }
    let what = match case.kind {
        _ if case.spoof_suspected => "with an inside source, refused by the reverse-path filter",
        Kind::StrictMismatch => "refused by the strict reverse-path filter",
        Kind::LooseNoAddress => {
            "refused by the loose reverse-path filter for want of an IPv4 address"
        }
        Kind::NoRoute => {
            return Some(format!(
                "refused by the reverse-path filter: {}",
                no_way(case)
            ));
        }
        Kind::LocalRoute => "refused: the source is inside a local route, and rp_filter is on",
        Kind::Unknown => return None,
    };
    Some(what.into())
}

/// Why there is no way back to the source.
fn no_way(case: &Case<'_>) -> String {
    let kind = case.reverse.as_ref().and_then(|r| r.kind.as_deref());
    match kind.filter(|kind| matches!(*kind, "blackhole" | "unreachable" | "prohibit")) {
        Some(kind) => format!("the route to the source is of type {kind}"),
        None => "no route to the source".into(),
    }
}

/// The device that it came in by, or the VRF where that one is not known.
fn on(case: &Case<'_>) -> String {
    match (&case.vrf, &case.effective) {
        (Some(vrf), None) => format!("a device of VRF {vrf}"),
        (Some(vrf), Some(_)) if *vrf != case.dev.name => format!("{} (VRF {vrf})", case.dev.name),
        _ => case.dev.name.clone(),
    }
}

/// What happened, in this instance.
pub fn summary(case: &Case<'_>) -> String {
    let Case { source, .. } = case;
    let dev = &case.dev.name;
    let back = leads_back(case);
    let value = case.effective.as_ref().map_or(0, |e| e.value);
    let why = match case.kind {
        Kind::StrictMismatch => format!(
            ": {back}, not by {dev} where the packet came in, and rp_filter = {value} (strict) demands the same device"
        ),
        Kind::LooseNoAddress => format!(
            ": {back}, and {dev} has no IPv4 address of its own: on such a device even rp_filter = {value} (loose) \
             refuses what strict mode would"
        ),
        Kind::NoRoute => format!(": {back}{}", demands(case)),
        Kind::LocalRoute => format!(
            ": {source} is no address of this host, but {back} is a local one, so the kernel takes it for its own; it \
             only asks for such routes because rp_filter = {value} here"
        ),
        Kind::Unknown if case.reverse.is_some() => {
            format!(": {back}. What the filter was set to at the drop is not known")
        }
        Kind::Unknown => ". Its route back could not be read".into(),
    };
    format!(
        "The reverse-path filter refused a packet from {source} on {}{why}.{}",
        on(case),
        judgement(case)
    )
}

fn demands(case: &Case<'_>) -> String {
    match &case.effective {
        Some(e) if e.value > 0 => {
            format!(
                ", and rp_filter = {} ({}) demands a way back",
                e.value,
                mode(e.value)
            )
        }
        _ => String::new(),
    }
}

/// Where the route back leads, as the start of a sentence.
fn leads_back(case: &Case<'_>) -> String {
    let source = case.source;
    let table = match &case.vrf {
        Some(vrf) => format!(" in the table of VRF {vrf}"),
        None => String::new(),
    };
    match &case.reverse {
        Some(ReverseRoute {
            kind: Some(kind),
            dev: None,
            prefix,
            ..
        }) => format!(
            "the route back to {source}{table} is of type {kind} ({})",
            prefix.as_deref().unwrap_or("its prefix is not known")
        ),
        _ if case.kind == Kind::LocalRoute => format!(
            "the route that it is in ({})",
            case.reverse
                .as_ref()
                .and_then(|r| r.prefix.as_deref())
                .unwrap_or("prefix not known")
        ),
        Some(ReverseRoute { ways, .. }) if ways.len() > 1 => {
            format!(
                "the route back to {source}{table} leaves by {}",
                ways.join(" or ")
            )
        }
        Some(ReverseRoute {
            dev: Some(back), ..
        }) => {
            format!("the route back to {source}{table} leaves by {back}")
        }
        _ if case.kind == Kind::NoRoute => format!("there is no route back to {source}{table}"),
        _ => format!("the route back to {source}{table} leaves by another device"),
    }
}

/// Whether the filter was right.
fn judgement(case: &Case<'_>) -> String {
    if !case.spoof_suspected {
        return String::new();
    }
    let dev = &case.dev.name;
    let origin = &case.origin;
    match (&origin.owner, &origin.owner_sends_by) {
        _ if origin.conversation == Some(true) => format!(
            " {dev} carries a default route, and conntrack has seen this connection answered: the path is asymmetric, \
             the source is hardly forged."
        ),
        (Some(owner), Some(by)) => format!(
            " {dev} carries a default route, and {owner} has that address here, whose own routes lead to the destination by \
             {by}: the path is asymmetric, the source is hardly forged."
        ),
        (Some(owner), None) if origin.owner_sends_back => format!(
            " {dev} carries a default route, and {owner} has that address here, whose own routes lead straight to this \
             host: the source was forged, or its packet left this machine and came back. The filter did its job."
        ),
        (Some(owner), None) => format!(
            " {dev} carries a default route, and {owner} has that address here: either the source was forged and the filter did \
             its job, or the owner's packets take another way here than those to it (an asymmetric path): nothing seen here \
             tells which."
        ),
        (None, _) => format!(
            " {dev} carries a default route, so this is an asymmetric path (the machine sends by a router there, and \
             its answers would leave by the other device) or a forged source: nothing seen here tells which."
        ),
    }
}

/// The lines of proof.
pub fn evidence(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = |label: &str, text: String, source| {
        lines.push(Line {
            label: label.into(),
            text,
            source,
        });
    };
    line("verdict", verdict(case), Source::Kernel);
    let mode_source = if case.by_kernel {
        Source::Kernel
    } else {
        Source::Config
    };
    if let Some(effective) = &case.effective {
        line("in effect", in_effect(effective), mode_source);
    }
    if let Some(vrf) = &case.vrf {
        let text = format!(
            "{vrf}: its table is asked, the values are those of the device that the packet came in by"
        );
        line("vrf", text, Source::Config);
    }
    let addresses = match (case.has_address, case.link.map(|l| l.ipv4.join(", "))) {
        (Some(false), _) => "no IPv4 address".into(),
        (_, Some(list)) if !list.is_empty() => list,
        (Some(true), _) => "has an IPv4 address".into(),
        (None, Some(_)) => "no IPv4 address".into(),
        (None, None) => "addresses not known".into(),
    };
    let kind = case
        .link
        .and_then(|l| l.kind.as_deref())
        .map_or(String::new(), |k| format!(" ({k})"));
    line(
        "device",
        format!(
            "{}{kind}, ifindex {}: {addresses}",
            case.dev.name, case.dev.ifindex
        ),
        if case.link.is_some() {
            Source::Config
        } else {
            mode_source
        },
    );
    if case.reverse.is_some() || case.kind == Kind::NoRoute {
        line("route back", route_back(case), route_source(case));
    }
    if case.mark_helps {
        let text = format!(
            "with the packet's mark {:#x} it would leave by {}, but the filter looks it up without (src_valid_mark = 0)",
            case.drop.mark, case.dev.name
        );
        line("mark", text, Source::Config);
    }
    if let Some(way) = case.way {
        let way = match way {
            Way::Local => "it was for this host",
            Way::Forward => "it was to be forwarded",
        };
        line("path", way.into(), Source::Config);
    }
    if let Some(peer) = peer(case) {
        line("peer", peer, Source::Config);
    }
    for by in &case.set_by {
        let how = match by.via {
            SetVia::Inherited => " (inherited when the device was made)",
            SetVia::Glob => " (by pattern)",
            SetVia::Explicit => "",
        };
        let at = &by.at;
        line(
            "set by",
            format!("{}:{}: {}{how}", at.file, at.line, at.text),
            Source::File,
        );
    }
    if let Some(udev) = case.files.and_then(|f| f.udev.as_ref()) {
        line(
            "set again by",
            format!("{}:{}: {}", udev.file, udev.line, udev.text),
            Source::File,
        );
    }
    if let Some(w) = &case.written_by {
        line(
            "written by",
            format!(
                "{}[{}] wrote {}: {} -> {}, {} ms before the drop",
                w.comm, w.pid, w.key, w.old, w.new, w.before_ms
            ),
            Source::Kernel,
        );
    }
    lines
}

fn mode(value: i32) -> &'static str {
    if value == 1 { "strict" } else { "loose" }
}

fn verdict(case: &Case<'_>) -> String {
    let check = case.drop.source_check.clone().unwrap_or_default();
    let mut text = match &case.drop.reason.name {
        Some(name) => format!("drop reason {name} in {}", case.drop.location.text()),
        None => format!("freed in {}", case.drop.location.text()),
    };
    let SourceCheck {
        martian_handler,
        returned,
        ..
    } = check;
    if let Some(returned) = returned {
        text += &format!("; ip_route_input_noref returned {}", returned.value);
    } else if martian_handler {
        text += "; ip_handle_martian_source was called for it";
    }
    text
}

fn in_effect(e: &Effective) -> String {
    let winner = if e.winning_key == "both" {
        "both keys say so".to_owned()
    } else {
        format!("{} wins, the larger counts", e.winning_key)
    };
    format!(
        "{} ({}): net.ipv4.conf.all.rp_filter = {}, {} = {}; {winner}",
        e.value,
        mode(e.value),
        e.all,
        e.device_key,
        e.device
    )
}

fn route_back(case: &Case<'_>) -> String {
    let Some(route) = &case.reverse else {
        return format!("no route to {}", case.source);
    };
    let mut text = match route.kind.as_deref() {
        Some("unicast") | None => String::new(),
        Some(kind) => format!("{kind} "),
    };
    text += &route
        .prefix
        .clone()
        .unwrap_or_else(|| format!("to {}", case.source));
    if let Some(gateway) = route.gateway {
        text += &format!(" via {gateway}");
    }
    if let Some(dev) = &route.dev {
        text += &format!(" dev {dev}");
    }
    if route.ways.len() > 1 {
        text += &format!(" (one of {})", route.ways.join(", "));
    }
    match route.table {
        Some(254) => text += " table main",
        Some(255) => text += " table local",
        Some(table) => text += &format!(" table {table}"),
        None => {}
    }
    if let Some(source) = route.source {
        text += &format!(" src {source}");
    }
    text
}

fn route_source(case: &Case<'_>) -> Source {
    let seen = case
        .drop
        .source_check
        .as_ref()
        .is_some_and(|c| c.lookup.is_some());
    if seen { Source::Kernel } else { Source::Config }
}

fn peer(case: &Case<'_>) -> Option<String> {
    let peer = case.peer.as_ref()?;
    let name = peer
        .name
        .clone()
        .unwrap_or_else(|| format!("ifindex {}", peer.ifindex));
    let mut text = match (&peer.netns.name, peer.netns.inum) {
        (Some(netns), Some(inum)) => format!("{name} in netns {netns} ({inum})"),
        (Some(netns), None) => format!("{name} in netns {netns}"),
        (None, Some(inum)) => format!("{name} in netns {inum}"),
        (None, None) => format!("{name} in an unknown netns"),
    };
    if let Some(pod) = &peer.pod {
        text += &format!(", pod {pod}");
    }
    let processes: Vec<_> = peer
        .processes
        .iter()
        .map(|p| format!("{}[{}]", p.comm, p.pid))
        .collect();
    if !processes.is_empty() {
        text += &format!(", processes {}", processes.join(" "));
    }
    Some(text)
}
