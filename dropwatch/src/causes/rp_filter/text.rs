//! The explanation in words.

use super::case::{Case, Kind, ReverseRoute, Way};
use crate::model::{
    evidence::SourceCheck,
    explanation::{Line, Source},
};

/// Reads well after a count.
pub fn title(case: &Case<'_>) -> String {
    let dev = &case.dev.name;
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
            format!("refused by the reverse-path filter on {dev}: no route to the source")
        }
    }
}

/// What happened, in this instance.
pub fn summary(case: &Case<'_>) -> String {
    let Case {
        dev,
        source,
        effective,
        ..
    } = case;
    let dev = &dev.name;
    let value = effective.value;
    let back = match &case.reverse {
        Some(ReverseRoute {
            dev: Some(back), ..
        }) => format!("the route back to {source} leaves by {back}"),
        _ => format!("the route back to {source} leaves by another device"),
    };
    let why = match case.kind {
        Kind::StrictMismatch => format!(
            "{back}, not by {dev} where the packet came in, and rp_filter = {value} (strict) demands the same device"
        ),
        Kind::LooseNoAddress => format!(
            "{back}, and {dev} has no IPv4 address of its own: on such a device even rp_filter = {value} \
             (loose) refuses what strict mode would"
        ),
        Kind::NoRoute => format!(
            "there is no route back to {source}, and rp_filter = {value} ({}) demands one",
            mode(value)
        ),
    };
    let judgement = if case.spoof_suspected {
        format!(
            " {dev} carries a default route, so this looks like a forged source from outside: the filter \
             did its job."
        )
    } else {
        String::new()
    };
    format!("The reverse-path filter refused a packet from {source} on {dev}: {why}.{judgement}")
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
    let check = case.drop.source_check.as_ref();
    let mode_source = if check.is_some_and(|c| c.mode.is_some()) {
        Source::Kernel
    } else {
        Source::Config
    };
    line("in effect", in_effect(case), mode_source);
    let addresses = match (case.has_address, case.link.map(|l| l.ipv4.join(", "))) {
        (Some(false), _) => "no IPv4 address".into(),
        (_, Some(list)) if !list.is_empty() => list,
        _ => "has an IPv4 address".into(),
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
    line("route back", route_back(case), route_source(case));
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
        let how = match by.via.as_str() {
            "inherited" => " (inherited when the device was made)",
            "glob" => " (by pattern)",
            _ => "",
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

fn in_effect(case: &Case<'_>) -> String {
    let e = &case.effective;
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
    let mut text = route
        .prefix
        .clone()
        .unwrap_or_else(|| format!("to {}", case.source));
    if let Some(gateway) = route.gateway {
        text += &format!(" via {gateway}");
    }
    if let Some(dev) = &route.dev {
        text += &format!(" dev {dev}");
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
    let mut text = match (&peer.netns["name"], &peer.netns["inum"]) {
        (serde_json::Value::String(netns), inum) => format!("{name} in netns {netns} ({inum})"),
        (_, serde_json::Value::Number(inum)) => format!("{name} in netns {inum}"),
        _ => format!("{name} in an unknown netns"),
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
