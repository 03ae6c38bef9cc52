//! The explanation of drops that no cause claims: the reason in words, the place, where to look next. No blame.

use serde_json::json;

use super::{facts::Facts, firewall, martian, routes, same};
use crate::{
    causes::source_check::MartianKind,
    judge::{Answer, View},
    model::{
        anchor::Drop,
        explanation::{Explanation, Line, Source},
    },
    reasons::{self, hint},
};

/// Explains a drop; `None` while facts are missing.
#[must_use]
pub fn explain(drop: &Drop, view: &View<'_>) -> Option<Answer> {
    // Asked for every case: the name of the namespace stands in its head line.
    let netns = view.netns(drop.netns);
    let martian = martian::explain(drop, view);
    let route = routes::explain(drop, view);
    let refused = view.words();
    let by_netfilter = firewall::explain(drop, view);
    if view.pending() {
        return None;
    }
    let (what, look) = match (&refused, &by_netfilter) {
        (Some(refused), _) => (refused.what.clone(), Some(refused.look.clone())),
        (None, Some(said)) => (said.what.clone(), Some(said.look.clone())),
        (None, None) => match (&martian, &route) {
            (Some(said), _) => (said.what.clone(), said.look.clone()),
            (None, Some(said)) => (said.what.clone(), Some(said.look.clone())),
            (None, None) => words(drop),
        },
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
    evidence.extend(martian.iter().flat_map(|said| said.lines.clone()));
    evidence.extend(route.iter().flat_map(|said| said.lines.clone()));
    if drop.reason.name.as_deref() == Some("PKT_TOO_BIG") {
        evidence.push(kernel(
            "length",
            format!(
                "{} bytes (several packets in one where segmentation is left to the device)",
                drop.len
            ),
        ));
    }
    let kind = refused.as_ref().map(|r| r.kind);
    let mut unknown = view.unknown();
    unknown.extend(refused.iter().flat_map(|r| r.unknown.iter().cloned()));
    let mut own_title = route.as_ref().map(|said| said.title.clone());
    let mut by_rules = None;
    let (kind, netfilter) = match by_netfilter {
        Some(said) => {
            evidence.extend(said.lines);
            // What refused it was conntrack then, whatever the queue had said.
            own_title = match (&refused, said.behind) {
                (Some(_), Some(queue)) => Some(format!("refused by conntrack behind {queue}")),
                (Some(_), None) => own_title,
                (None, _) => said.title.or(own_title),
            };
            unknown.extend(said.unknown);
            by_rules = Some(said.same);
            (kind.or(said.kind), Some(said.facts))
        }
        None => (kind, None),
    };
    if let Some(look) = look {
        evidence.push(Line {
            label: "look at".into(),
            text: look,
            source: Source::Advice,
        });
    }
    let class = match martian {
        Some(_) if drop.reason.is_silent() => Some(reasons::Class::Routing),
        _ => class(drop),
    };
    let class = route.as_ref().map(|said| said.class).or(class);
    let same = match &route {
        Some(said) if refused.is_none() && by_rules.is_none() => {
            same::Same::Route(said.facts.clone())
        }
        _ => same::Same::of(drop, refused.map(|r| r.key), by_rules, class, &what),
    };
    let martian_kind = martian.as_ref().map(|said| said.kind);
    let explanation = Explanation {
        title: own_title.unwrap_or_else(|| title(drop, martian_kind, &same)),
        summary: what,
        facts: json!(Facts {
            kind,
            reason: drop.reason.text(),
            class,
            martian: martian_kind,
            route: route.map(|said| said.facts),
            netfilter,
        }),
        evidence,
        fixes: Vec::new(),
        unknown,
    };
    Some(same.answer(drop, explanation))
}

/// What kind of thing dropped it. Where the kernel gives no reasons at all, the place is what is known.
pub(super) fn class(drop: &Drop) -> Option<reasons::Class> {
    if let Some(thing) = reasons::thing(drop) {
        return Some(thing.class);
    }
    match &drop.reason.name {
        Some(name) => reasons::explain(name).map(|text| text.class),
        None => hint(drop).map(|hint| hint.class),
    }
}

fn kernel(label: &str, text: String) -> Line {
    Line {
        label: label.into(),
        text,
        source: Source::Kernel,
    }
}

/// What the drops of the case have in common is named, and nothing else: a case of several devices names none of them.
fn title(drop: &Drop, martian: Option<MartianKind>, same: &same::Same) -> String {
    let on = drop
        .dev
        .as_ref()
        .filter(|_| same.has_device())
        .map_or(String::new(), |d| format!(" on {}", d.name));
    match martian {
        Some(kind) => format!("with a martian source ({}) refused{on}", kind.words()),
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
pub(super) fn words(drop: &Drop) -> (String, Option<String>) {
    if let Some(thing) = reasons::thing(drop) {
        let silent = if drop.reason.is_silent() {
            "The kernel gives no reason. "
        } else {
            ""
        };
        return (format!("{silent}{}", thing.what), Some(thing.look.into()));
    }
    if !drop.reason.is_silent()
        && let Some(text) = drop.reason.name.as_deref().and_then(reasons::explain)
    {
        return (text.what.into(), Some(text.look.into()));
    }
    match (hint(drop), drop.reason.is_silent()) {
        (Some(hint), true) => {
            // One function makes several checks.
            let which = match hint.what.contains(" or ") {
                true => " Which of these it was is not evaluated.",
                false => "",
            };
            let what = format!("The kernel gives no reason. {}{which}", hint.what);
            (what, None)
        }
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
