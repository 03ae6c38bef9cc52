//! `rp_filter`: the reverse-path filter refused a packet's source address.
//!
//! `__fib_validate_source` (net/ipv4/fib_frontend.c, 5.10 to 7.2) looks up the route back to the source.
//! With 1 (strict) that route must leave by the device the packet came in on. With 2 (loose) any route
//! will do, but a device without an IPv4 address of its own is only given the last resort, which refuses
//! whenever the value in effect, the larger of `all` and the device's own, is not 0.
//!
//! Mine is only what the kernel itself calls so, by drop reason or by return value: martian sources are
//! refused at the same place by other checks.

use serde_json::json;

use self::case::{Case, Kind};
use super::{Cause, Subject, Verdict};
use crate::{
    attach::spec::{self, Probe},
    correlate::{recent::Recent, view::View},
    model::{
        anchor::{Anchor, Drop},
        coverage::Coverage,
        evidence::Refused,
        explanation::Explanation,
    },
};

mod case;
mod fixes;
mod text;

/// The cause.
pub struct RpFilter;

impl Cause for RpFilter {
    fn id(&self) -> &'static str {
        "rp_filter"
    }

    fn probes(&self) -> &'static [&'static Probe] {
        &[&spec::REFUSAL, &spec::VERDICT, &spec::LOOKUP]
    }

    fn blind(&self, coverage: &Coverage) -> Option<String> {
        let returns = coverage.has(spec::REFUSAL.name) && coverage.has(spec::VERDICT.name);
        (!coverage.rp_filter_reason && !returns).then(|| {
            "this kernel gives no drop reasons, and the return value of ip_route_input_noref cannot \
             be seen"
                .into()
        })
    }

    fn subject(&self, anchor: &Anchor, _recent: &Recent) -> Option<Subject> {
        let drop = anchor.drop()?;
        if !refused_by_reverse_path(drop) {
            return None;
        }
        let check = drop.source_check.clone().unwrap_or_default();
        let route = match (&check.mode, &check.lookup) {
            (_, Some(lookup)) => Route::of(lookup.oif == 0),
            // With an address, loose mode refuses for nothing else.
            (Some(mode), None) if mode.effective() > 1 && mode.has_address => Route::None,
            (_, None) => Route::Unknown,
        };
        Some(subject(drop, route))
    }

    fn aliases(&self, anchor: &Anchor, explanation: &Explanation) -> Vec<Subject> {
        let Some(drop) = anchor.drop() else {
            return Vec::new();
        };
        // The first drops of a case come before route look-ups are watched, later ones may come after
        // that: they are the same case as those of which it is known.
        let known = Route::of(explanation.facts["kind"] == json!(Kind::NoRoute));
        vec![subject(drop, known), subject(drop, Route::Unknown)]
    }

    fn judge(&self, anchor: &Anchor, view: &View<'_>) -> Verdict {
        let Some(case) = anchor.drop().and_then(|drop| Case::read(drop, view)) else {
            return if view.pending() {
                Verdict::Wait
            } else {
                Verdict::NotMine
            };
        };
        if view.pending() {
            return Verdict::Wait;
        }
        Verdict::Mine(Box::new(case.explain(view.unknown())))
    }
}

/// What is known of the route back at the drop.
#[derive(Clone, Copy)]
enum Route {
    Unknown,
    Found,
    None,
}

impl Route {
    fn of(none: bool) -> Self {
        if none { Self::None } else { Self::Found }
    }
}

/// A case: device, values, and whether there was a route.
fn subject(drop: &Drop, route: Route) -> Subject {
    let mode = drop
        .source_check
        .as_ref()
        .and_then(|c| c.mode)
        .map_or(0, |m| {
            (m.all as u64 & 0xff) << 16 | (m.device as u64 & 0xff) << 8 | u64::from(m.has_address)
        });
    let ifindex = drop.dev.as_ref().map_or(0, |d| d.ifindex);
    [
        u64::from(drop.netns),
        u64::from(ifindex),
        mode,
        route as u64,
        0,
    ]
}

/// Whether the kernel itself named the reverse-path filter.
fn refused_by_reverse_path(drop: &Drop) -> bool {
    let returned = drop.source_check.as_ref().and_then(|c| c.returned.as_ref());
    drop.reason.name.as_deref() == Some("IP_RPFILTER")
        || returned.is_some_and(|r| r.verdict == Refused::ReversePath)
}
