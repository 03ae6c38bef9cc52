//! The explanation of drops that netfilter made and no cause claims: which rule, or which queue and why.

mod ipvs;
mod look;
mod queue;
mod title;

use std::time::Duration;

use dropwatch_common::record::ct_insert::status;

use super::same::{self, SameRules};
use crate::{
    facts::{queues::Queues, ruleset::Ruleset},
    judge::{PlainKind, View},
    model::{
        anchor::Drop,
        evidence::{QueueTrip, Reinjected},
        explanation::{Line, Source},
        hook::Hook,
    },
    netfilter::{self, Attribution, By, NetfilterFacts, Place},
};
use queue::{
    gone, holder, is_whole, lost, program_said_drop, queue_name, refused, segments, thrown_out,
    trip_words,
};
use title::title;

/// Rules that were read longer after a drop are said to be.
const LATE_NS: u64 = 1_000_000_000;

/// What is said of a drop.
pub struct Said {
    /// `facts.kind`, for those that have one.
    pub kind: Option<PlainKind>,
    /// Fragment that reads well after a count, where the reason and the place do not tell.
    pub title: Option<String>,
    /// The queue that it had just come back from, where it was dropped by what takes packets back.
    pub behind: Option<String>,
    /// Sentences.
    pub what: String,
    /// Where to look next.
    pub look: String,
    /// `facts.netfilter`.
    pub facts: NetfilterFacts,
    /// Lines of proof.
    pub lines: Vec<Line>,
    /// What makes two such drops one case.
    pub same: SameRules,
    /// What was not evaluated, for `unknown`.
    pub unknown: Vec<String>,
}

/// Explains it; `None` when it was not netfilter, or while facts are missing.
#[must_use]
pub fn explain(drop: &Drop, view: &View<'_>) -> Option<Said> {
    let place = Place::of(drop)?;
    let queued = place.by != By::Hooks && place.by != By::NfTables || netfilter::after_queue(drop);
    let queues = queued.then(|| view.queues(drop.netns)).flatten();
    let set = view.ruleset(drop.netns)?;
    let attribution = attribution(drop, set, view)?;
    let trip = drop.queue.as_ref();
    let gone = gone(drop, &place, queues);
    let (kind, what, look) = match place.by {
        By::Segments if is_whole(drop) => segments(trip),
        By::Segments | By::Queue => {
            let known = trip.and_then(|t| t.queued.as_ref()).map(|q| q.queue);
            let numbers = known.map_or_else(
                || set_numbers(&attribution, drop, set),
                |number| vec![number],
            );
            refused(&place, &numbers, queues)
        }
        By::Reinject if gone.is_some() => lost(gone, trip),
        By::Reinject if program_said_drop(trip) => (
            Some(PlainKind::QueueDrop),
            format!(
                "{} took it from {} and its verdict was DROP: the program wanted it so. No rule of the firewall dropped it.",
                holder(drop, trip),
                queue_name(trip)
            ),
            "that program's log and configuration".to_owned(),
        ),
        By::Reinject if nobody(&attribution) && let_pass(trip) => {
            // Where queueing anew is a part of that function (5.10, 6.1).
            let before = trip.and_then(|t| t.queued.as_ref()).filter(|_| {
                drop.location
                    .symbol
                    .as_deref()
                    .map(crate::reasons::function)
                    == Some("nf_reinject")
            });
            let further = before.map_or_else(Vec::new, |before| {
                netfilter::other_queues(set, drop, attribution.place.hook, before.queue)
            });
            passed(drop, &place, trip, &further, queues)
        }
        By::Reinject if nobody(&attribution) && may_be_refused(drop, attribution.place.hook) => (
            None,
            format!(
                "{} took it from {} and gave it back. No later rule of that hook drops such a packet: either the program's \
                 verdict was DROP, or conntrack refused the packet's new entry at the end of the hook (another one was in its way, \
                 or its table is full): not evaluated.",
                holder(drop, trip),
                queue_name(trip)
            ),
            "that program's log and configuration; `conntrack -S` (insert_failed, drop)".to_owned(),
        ),
        By::Reinject if nobody(&attribution) => (
            Some(PlainKind::QueueDrop),
            format!(
                "{} took it from {} and gave it back. No later rule of that hook drops such a packet, so most likely the \
                 program's verdict was DROP.",
                holder(drop, trip),
                queue_name(trip)
            ),
            "that program's log and configuration".to_owned(),
        ),
        By::Reinject if attribution.is_verdict_unseen() => (
            None,
            format!(
                "{} took it from {} and gave it back. {}",
                holder(drop, trip),
                queue_name(trip),
                attribution.program_or_rule(
                    if attribution.would_drop().is_none()
                        && may_be_refused(drop, attribution.place.hook)
                    {
                        ", or conntrack refused its new entry at the end"
                    } else {
                        ""
                    }
                )
            ),
            format!(
                "that program's log and configuration; {}",
                look::at_rules(&attribution)
            ),
        ),
        By::Reinject => (
            None,
            format!(
                "{} took it from {} and let it pass. {}",
                holder(drop, trip),
                queue_name(trip),
                attribution.words()
            ),
            look::at_rules(&attribution),
        ),
        By::Hooks | By::NfTables if netfilter::after_queue(drop) => (
            None,
            format!(
                "{} It had just come back from {}.",
                attribution.words(),
                queue_name(trip)
            ),
            look::at_rules(&attribution),
        ),
        By::Hooks | By::NfTables => ipvs::words(drop, view, &attribution)
            .unwrap_or_else(|| (None, attribution.words(), look::at_rules(&attribution))),
    };
    let what = match late(drop, set) {
        Some(late) if !matches!(place.by, By::Queue | By::Segments) => format!("{what} {late}"),
        _ => what,
    };
    // Only where its service has no real server is it known what IPVS does.
    let by_ipvs = what.contains(ipvs::OPEN).then(|| "IPVS".to_owned());
    let missing = attribution.open().into_iter().chain(by_ipvs);
    let unknown = missing
        .map(|what| format!("not evaluated: {what}"))
        .collect();
    let mut lines = Vec::new();
    if gone.is_some() {
        lines.push(line("queue", thrown_out(drop, trip), Source::Kernel));
    } else if let Some(trip) = trip {
        lines.push(line("queue", trip_words(trip), Source::Kernel));
    } else if netfilter::after_queue(drop) {
        lines.push(line(
            "queue",
            format!(
                "{}[{}] was giving it back when it was dropped; the mark it was queued with was not seen",
                drop.task.comm, drop.task.pid
            ),
            Source::Kernel,
        ));
    }
    lines.extend(
        attribution
            .lines()
            .map(|text| line("rule", text, Source::Config)),
    );
    Some(Said {
        kind,
        title: title(&place, kind, &attribution, drop),
        behind: (place.by == By::Reinject).then(|| queue_name(trip)),
        what,
        look,
        facts: attribution.facts(drop),
        lines,
        same: SameRules {
            kind,
            family: attribution.place.family,
            hook: attribution.place.hook,
            rules: attribution
                .suspects
                .list
                .iter()
                .map(netfilter::describe)
                .collect(),
            complete: attribution.suspects.complete,
            certain: attribution.certain().is_some(),
            element: attribution.element().map(str::to_owned),
            queue: trip.map(|trip| same::Trip {
                queue: trip.queued.as_ref().map(|q| q.queue),
                verdict: trip.back.as_ref().map(Reinjected::kind),
                program: trip.back.as_ref().map(|b| b.process.comm.clone()),
            }),
        },
        unknown,
    })
}

/// Which rules can have done it; asks for the device's addresses where rules ask for them and it is not certain.
fn attribution<'a>(drop: &Drop, set: &'a Ruleset, view: &View<'_>) -> Option<Attribution<'a>> {
    let known = Attribution::of(drop, set, view.coverage())?;
    let here = known.place.hook == Some(Hook::Input);
    let dev = drop
        .dev
        .as_ref()
        .filter(|_| here && known.certain().is_none());
    let link = dev
        .filter(|_| set.asks_for_address_types())
        .and_then(|dev| view.link(drop.netns, dev.ifindex));
    let Some(link) = link else {
        return Some(known);
    };
    let own = link.ipv4.iter().filter_map(|text| {
        let (address, _) = text.split_once('/')?;
        address.parse().ok()
    });
    Attribution::knowing(drop, set, view.coverage(), &own.collect::<Vec<_>>())
}

/// A sentence on rules that were read long after the drop.
fn late(drop: &Drop, set: &Ruleset) -> Option<String> {
    let after_ns = set.read_ns?.checked_sub(drop.time_ns)?;
    let seconds = Duration::from_nanos(after_ns).as_secs_f64();
    (after_ns > LATE_NS).then(|| {
        format!(
            "The rules were read {seconds:.1} s after the drop: they may have been others then."
        )
    })
}

fn line(label: &str, text: String, source: Source) -> Line {
    Line {
        label: label.into(),
        text,
        source,
    }
}

/// Whether no rule of the hook can have dropped it.
fn nobody(attribution: &Attribution<'_>) -> bool {
    attribution.suspects.list.is_empty() && attribution.suspects.complete
}

/// Whether conntrack enters the packet's connection into its table at the end of that hook, and may refuse to
/// (net/netfilter/nf_conntrack_proto.c, `nf_confirm`).
fn may_be_refused(drop: &Drop, hook: Option<Hook>) -> bool {
    let last = hook.is_none_or(|hook| matches!(hook, Hook::Input | Hook::Postrouting));
    let entry = drop.insertion.as_ref();
    last && entry.is_some_and(|entry| entry.status & status::CONFIRMED == 0)
}

/// Whether the program's verdict was seen, and was none to drop.
fn let_pass(trip: Option<&QueueTrip>) -> bool {
    let back = trip.and_then(|t| t.back.as_ref());
    back.is_some_and(|back| !back.is_drop())
}

/// The program let it pass and no rule drops it: where the kernel queues anew within the function that takes
/// packets back (5.10), what refused it there may be the next queue.
fn passed(
    drop: &Drop,
    place: &Place,
    trip: Option<&QueueTrip>,
    further: &[u16],
    queues: Option<&Queues>,
) -> Words {
    let before = format!(
        "{} took it from {} and let it pass.",
        holder(drop, trip),
        queue_name(trip)
    );
    if further.is_empty() {
        return (
            None,
            format!(
                "{before} What dropped it at that hook is not known: no rule of it drops such a packet."
            ),
            look::ALL.into(),
        );
    }
    let (kind, what, look) = refused(place, further, queues);
    (kind, format!("{before} {what}"), look)
}

type Words = (Option<PlainKind>, String, String);

/// Queue numbers that the rules at the hook can have meant.
fn set_numbers(attribution: &Attribution<'_>, drop: &Drop, set: &Ruleset) -> Vec<u16> {
    netfilter::queue_numbers(set, drop, attribution.place.hook)
}

#[cfg(test)]
mod tests;
