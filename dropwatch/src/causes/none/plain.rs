//! The explanation of drops that no cause claims: the reason in words, the place, where to look next. No blame.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use super::{firewall, same};
use crate::{
    judge::{Answer, View},
    model::{
        anchor::Drop,
        evidence::Refused,
        explanation::{Explanation, Line, Source},
    },
    reasons::{self, hint},
};

/// Explains a drop; `None` while facts are missing.
#[must_use]
pub fn explain(drop: &Drop, view: &View<'_>) -> Option<Answer> {
    // Asked for every case: the name of the namespace stands in its head line.
    let netns = view.netns(drop.netns);
    let martian = martian(drop, view);
    let refused = view.words();
    let by_netfilter = firewall::explain(drop, view);
    if view.pending() {
        return None;
    }
    let (what, look) = match (&refused, &by_netfilter) {
        (Some(refused), _) => (refused.what.clone(), Some(refused.look.clone())),
        (None, Some(said)) => (said.what.clone(), Some(said.look.clone())),
        (None, None) => words(drop, martian),
    };
    let values = hint::Values::of(drop, netns);
    // Rules may stand in the other words, and they have brackets of their own.
    let what = match (&refused, &by_netfilter) {
        (None, None) => hint::fill(&what, &values),
        _ => what,
    };
    let look = look.map(|look| hint::fill(&look, &values));
    let mut evidence = vec![Line {
        label: "reason".into(),
        text: format!("{} in {}", drop.reason.text(), drop.location.text()),
        source: Source::Kernel,
    }];
    let check = drop.source_check.clone().unwrap_or_default();
    if check.martian_handler {
        evidence.push(kernel(
            "verdict",
            "ip_handle_martian_source was called for it".into(),
        ));
    }
    if let Some(returned) = &check.returned {
        evidence.push(kernel(
            "verdict",
            format!("ip_route_input_noref returned {}", returned.value),
        ));
    }
    if let (Some(_), Some(mode)) = (martian, &check.mode) {
        evidence.push(kernel(
            "rp_filter",
            format!("{} in effect, and no part of this check", mode.effective()),
        ));
    }
    let kind = refused.as_ref().map(|r| r.kind);
    let mut unknown = view.unknown();
    unknown.extend(refused.iter().flat_map(|r| r.unknown.iter().cloned()));
    let mut own_title = None;
    let mut by_rules = None;
    let (kind, netfilter) = match by_netfilter {
        Some(said) => {
            evidence.extend(said.lines);
            // What conntrack refused was not dropped by what netfilter's rules or queues say.
            own_title = said.title.filter(|_| kind.is_none());
            by_rules = Some(said.same);
            (kind.or(said.kind), said.facts)
        }
        None => (kind, Value::Null),
    };
    if let Some(look) = look {
        evidence.push(Line {
            label: "look at".into(),
            text: look,
            source: Source::Advice,
        });
    }
    // Where the kernel gives no reasons at all, the place is what is known.
    let class = match &drop.reason.name {
        Some(name) => reasons::explain(name).map(|text| text.class),
        None => hint(drop).map(|hint| hint.class),
    };
    let same = same::Same::of(drop, refused.map(|r| r.key), by_rules, class, &what);
    let explanation = Explanation {
        title: own_title.unwrap_or_else(|| title(drop, martian, &same)),
        summary: what,
        facts: json!({
            "kind": kind,
            "reason": drop.reason.text(),
            "class": class,
            "martian": martian,
            "netfilter": netfilter,
        }),
        evidence,
        fixes: Vec::new(),
        unknown,
    };
    Some(same.answer(drop, explanation))
}

fn kernel(label: &str, text: String) -> Line {
    Line {
        label: label.into(),
        text,
        source: Source::Kernel,
    }
}

/// What the drops of the case have in common is named, and nothing else: a case of several devices names none of them.
fn title(drop: &Drop, martian: Option<&str>, same: &same::Same) -> String {
    let on = drop
        .dev
        .as_ref()
        .filter(|_| same.has_device())
        .map_or(String::new(), |d| format!(" on {}", d.name));
    match martian {
        Some(kind) => format!(
            "with a martian source ({}) refused{on}",
            kind.replace('_', " ")
        ),
        None if drop.reason.is_silent() => match &drop.location.symbol {
            Some(symbol) => format!(
                "dropped in {symbol}{on}, no reason given{}",
                same.destination()
            ),
            None => format!("dropped{on}, no reason given{}", same.destination()),
        },
        None => format!("dropped{on}: {}{}", drop.reason.text(), same.destination()),
    }
}

/// What happened, and where to look next.
fn words(drop: &Drop, martian: Option<&str>) -> (String, Option<String>) {
    if let Some(kind) = martian {
        let source = drop
            .packet
            .as_ref()
            .map_or_else(String::new, |p| format!(" {}", p.src));
        let what = match kind {
            "own_address" => "is an own address of this host",
            "loopback" => "is a loopback address, which must not come from a wire",
            "multicast" => "is a multicast address, which no packet may come from",
            "broadcast" => "is a broadcast address, which no packet may come from",
            "zero" => "is in 0.0.0.0/8, which no packet may come from",
            _ => "is not a source that a packet may have",
        };
        return (
            format!(
                "The source{source} {what}: the kernel refuses it as martian, whatever rp_filter says. This \
                 is not the reverse-path filter."
            ),
            Some(
                "who sends it: a forged or looped packet, an address configured twice \
                 (`ip addr`, `sysctl net.ipv4.conf.all.log_martians=1`)"
                    .into(),
            ),
        );
    }
    // Before there was a reason for it, forwarding used IP_INHDR (net/ipv4/ip_forward.c, 5.17 to 7.2).
    let forwarding = drop.location.symbol.as_deref() == Some("ip_forward");
    if forwarding && drop.packet.as_ref().is_some_and(|p| p.ttl <= 1) {
        return (
            "The TTL ran out: the packet came with 1 and was to be forwarded, so it was dropped and its \
             sender told by ICMP (time exceeded)."
                .into(),
            Some("`traceroute -n {dst}`: a loop shows as repeating hops; traceroute itself causes these drops".into()),
        );
    }
    if !drop.reason.is_silent()
        && let Some(text) = drop.reason.name.as_deref().and_then(reasons::explain)
    {
        return (text.what.into(), Some(text.look.into()));
    }
    match (hint(drop), drop.reason.is_silent()) {
        (Some(hint), true) => (format!("The kernel gives no reason. {}", hint.what), None),
        (Some(hint), false) => (hint.what.into(), None),
        (None, true) => (
            format!(
                "The kernel gives no reason; the packet was freed in {}.",
                drop.location.text()
            ),
            None,
        ),
        (None, false) => (
            format!(
                "The kernel calls it {}, which this version of dropwatch does not know.",
                drop.reason.text()
            ),
            None,
        ),
    }
}

/// What the place of the drop tells.
fn hint(drop: &Drop) -> Option<reasons::Hint> {
    reasons::location_hint(drop.location.symbol.as_deref()?)
}

/// Whether the source check refused it for another reason than the reverse path.
fn may_be_martian(drop: &Drop) -> bool {
    let check = drop.source_check.as_ref();
    let returned = check.and_then(|c| c.returned.as_ref()).map(|r| r.verdict);
    // IP_LOCALNET is either address being in 127/8; only the source makes it a martian source.
    let of_loopback = drop.packet.as_ref().is_some_and(|p| p.src.is_loopback());
    let named = match drop.reason.name.as_deref() {
        Some("IP_LOCAL_SOURCE" | "IP_INVALID_SOURCE") => true,
        Some("IP_LOCALNET") => of_loopback,
        _ => false,
    };
    let refused = returned == Some(Refused::LocalOrInvalid);
    // The handler also runs for the reverse-path filter: where reasons have names, that one has its own.
    let handled = drop.reason.name.is_some() && check.is_some_and(|c| c.martian_handler);
    named || refused || handled || impossible(drop)
}

/// Freed by the receive path, without a word, and with a source that this path always refuses: enough where
/// no hook saw the refusal (loopback sources never reach `fib_validate_source`).
fn impossible(drop: &Drop) -> bool {
    let receiving = drop
        .location
        .symbol
        .as_deref()
        .is_some_and(|s| s.split('.').next() == Some("ip_rcv_finish_core"));
    let source = drop.packet.as_ref().map(|p| p.src);
    let bad = matches!(source, Some(IpAddr::V4(source)) if by_address(source).is_some());
    drop.reason.name.is_some() && drop.reason.is_silent() && receiving && bad
}

/// What kind of impossible source it is.
fn martian(drop: &Drop, view: &View<'_>) -> Option<&'static str> {
    if !may_be_martian(drop) {
        return None;
    }
    let IpAddr::V4(source) = drop.packet.as_ref()?.src else {
        return Some("invalid");
    };
    if let Some(kind) = by_address(source) {
        return Some(kind);
    }
    match view.route(drop.netns, source, None)?.kind.as_str() {
        "local" => Some("own_address"),
        "broadcast" => Some("broadcast"),
        "multicast" => Some("multicast"),
        _ => Some("invalid"),
    }
}

/// Sources that are refused for what they are.
fn by_address(source: Ipv4Addr) -> Option<&'static str> {
    if source.is_loopback() {
        Some("loopback")
    } else if source.is_multicast() {
        Some("multicast")
    } else if source.is_broadcast() {
        Some("broadcast")
    } else if source.octets()[0] == 0 {
        Some("zero")
    } else {
        None
    }
}
