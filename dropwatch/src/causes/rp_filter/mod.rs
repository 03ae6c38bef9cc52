//! `rp_filter`: the reverse-path filter refused a packet's source address.
//!
//! `__fib_validate_source` (net/ipv4/fib_frontend.c, 5.10 to 7.2) looks up the route back to the source.
//! With 1 (strict) that route must leave by the device the packet came in on. With 2 (loose) any route
//! will do, but a device without an IPv4 address of its own is only given the last resort, which refuses
//! whenever the value in effect, the larger of `all` and the device's own, is not 0.
//!
//! Mine is only what the kernel itself calls so, by drop reason or by return value: martian sources are
//! refused at the same place by other checks. One of those is only made while the filter is on: with 0 the kernel
//! asks for its own addresses, otherwise for all routes of type local. Such a drop is mine where the live facts
//! leave nothing else ([`source_check::martian`]).

use std::net::IpAddr;

use self::case::Case;
use super::source_check;
use crate::{
    attach::spec::{self, Probe},
    judge::{Answer, Cause, Judgement, View},
    model::{
        anchor::{Anchor, Drop},
        coverage::Coverage,
        evidence::Refused,
    },
};

mod case;
pub(super) mod facts;
mod fixes;
mod reverse;
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

    fn sysctls(&self) -> &'static [&'static str] {
        &["rp_filter"]
    }

    fn blind(&self, coverage: &Coverage) -> Option<String> {
        let returns = coverage.has(spec::REFUSAL.name) && coverage.has(spec::VERDICT.name);
        (!coverage.rp_filter_reason && !returns).then(|| {
            "this kernel gives no drop reasons, and the return value of ip_route_input_noref cannot \
             be seen"
                .into()
        })
    }

    fn judge(&self, anchor: &Anchor, view: &View<'_>) -> Judgement {
        let mut refused = anchor
            .drop()
            .filter(|drop| refused_by_reverse_path(drop) || may_be_local_route(drop))
            .into_iter();
        let Some(case) = refused.find_map(|drop| Case::read(drop, view)) else {
            return if view.pending() {
                Judgement::Wait
            } else {
                Judgement::NotMine
            };
        };
        if view.pending() {
            return Judgement::Wait;
        }
        Judgement::Mine(Box::new(Answer {
            key: case.key(),
            counted: case.counted(),
            family: case.family(),
            explanation: case.explain(view.unknown()),
        }))
    }
}

/// Whether the check that knows local routes may have refused it, and only because the filter is on.
fn may_be_local_route(drop: &Drop) -> bool {
    let Some(packet) = &drop.packet else {
        return false;
    };
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (packet.src, packet.dst) else {
        return false;
    };
    let mode = drop.source_check.as_ref().and_then(|check| check.mode);
    let on = mode.is_some_and(|mode| mode.effective() != 0);
    let special = source_check::by_address(source, destination).is_some();
    on && !special && source_check::may_be_martian(drop)
}

/// Whether the kernel itself named the reverse-path filter.
fn refused_by_reverse_path(drop: &Drop) -> bool {
    let returned = drop.source_check.as_ref().and_then(|c| c.returned.as_ref());
    drop.reason.name.as_deref() == Some("IP_RPFILTER")
        || returned.is_some_and(|r| r.verdict == Refused::ReversePath)
}
