//! The explanation of drops that netfilter made and no cause claims: which rule, or which queue and why.

use std::time::Duration;

use serde_json::Value;

use super::same::{self, SameRules};
use crate::{
    facts::{
        queues::{Queue, Queues},
        ruleset::Ruleset,
    },
    judge::View,
    model::{
        anchor::{Drop, Task},
        evidence::{QueueTrip, Reinjected},
        explanation::{Line, Source},
        hook::Hook,
        ipvs::Endpoint,
    },
    netfilter::{self, Attribution, By, Gone, Place, Refusal},
};

/// Longer than a packet on the usual wire: a GSO packet that stands for several.
const WIRE: u32 = 1514;

/// Rules that were read longer after a drop are said to be.
const LATE_NS: u64 = 1_000_000_000;

/// What is said of a drop.
pub struct Said {
    /// `facts.kind`, for those that have one.
    pub kind: Option<&'static str>,
    /// Fragment that reads well after a count, where the reason and the place do not tell.
    pub title: Option<String>,
    /// The queue that it had just come back from, where it was dropped by what takes packets back.
    pub behind: Option<String>,
    /// Sentences.
    pub what: String,
    /// Where to look next.
    pub look: String,
    /// `facts.netfilter`.
    pub facts: Value,
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
            Some("queue_drop"),
            format!(
                "{} took it from {} and its verdict was DROP: the program wanted it so. No rule of the firewall dropped it.",
                holder(drop, trip),
                queue_name(trip)
            ),
            "that program's log and configuration".to_owned(),
        ),
        By::Reinject if nobody(&attribution) && let_pass(trip) => {
            // Where queueing anew is a part of that function (5.10, 6.1).
            let before = trip
                .and_then(|t| t.queued.as_ref())
                .filter(|_| drop.location.symbol.as_deref() == Some("nf_reinject"));
            let further = before.map_or_else(Vec::new, |before| {
                netfilter::other_queues(set, drop, attribution.place.hook, before.queue)
            });
            passed(drop, &place, trip, &further, queues)
        }
        By::Reinject if nobody(&attribution) => (
            Some("queue_drop"),
            format!(
                "{} took it from {} and gave it back. No later rule of that hook drops such a packet, so most likely the \
                 program's verdict was DROP.",
                holder(drop, trip),
                queue_name(trip)
            ),
            "that program's log and configuration".to_owned(),
        ),
        By::Reinject => (
            None,
            format!(
                "{} took it from {} and gave it back, and a later rule of the same hook dropped it. {}",
                holder(drop, trip),
                queue_name(trip),
                attribution.words()
            ),
            look_at_rules(),
        ),
        By::Hooks | By::NfTables if netfilter::after_queue(drop) => (
            None,
            format!(
                "{} It had just come back from {}.",
                attribution.words(),
                queue_name(trip)
            ),
            look_at_rules(),
        ),
        By::Hooks | By::NfTables => ipvs(drop, view, &attribution)
            .unwrap_or_else(|| (None, attribution.words(), look_at_rules())),
    };
    let what = match late(drop, set) {
        Some(late) if !matches!(place.by, By::Queue | By::Segments) => format!("{what} {late}"),
        _ => what,
    };
    let missing = attribution.not_evaluated.iter().map(String::as_str);
    // Only where its service has no real server is it known what IPVS does.
    let by_ipvs = what.contains(IPVS_OPEN).then_some("IPVS");
    let unknown = missing
        .chain(by_ipvs)
        .map(|what| format!("not evaluated: {what}"))
        .collect();
    let mut lines = Vec::new();
    if let Some(trip) = trip {
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
        facts: attribution.json(drop),
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

/// Whether the queue lost the packet, and no program gave a verdict on it.
fn gone(drop: &Drop, place: &Place, queues: Option<&Queues>) -> Option<Gone> {
    let trip = drop.queue.as_ref();
    let dropped = trip
        .and_then(|trip| trip.back.as_ref())
        .is_none_or(Reinjected::is_drop);
    let number = trip
        .and_then(|trip| trip.queued.as_ref())
        .map(|queued| queued.queue);
    let gone = (place.by == By::Reinject && dropped).then(|| Gone::of(drop, number, queues));
    gone.flatten()
}

/// It waited in a queue that lost it.
fn lost(gone: Option<Gone>, trip: Option<&QueueTrip>) -> Words {
    let queue = queue_name(trip);
    let what = match gone {
        Some(Gone::Device) => format!(
            "It waited in {queue} when a device that it had come in or was to leave by went down: the kernel throws such packets \
             out of the queue. No program gave a verdict on it."
        ),
        Some(Gone::Queue) => format!(
            "It waited in {queue} when the program that listened there went away or unbound it: the kernel throws out what \
             waits. No program gave a verdict on it."
        ),
        _ => format!(
            "It came back from {queue} to be dropped, and nobody listens on that now: most likely the program went away, and \
             the kernel threw out what waited."
        ),
    };
    let kind = match gone {
        Some(Gone::Device) => "queue_device_down",
        _ => "queue_gone",
    };
    let look = match gone {
        Some(Gone::Device) => "`ip monitor link`: which device goes down, and why",
        _ => "that program's log: why it ended, and who starts it again",
    };
    (Some(kind), what, look.to_owned())
}

/// What is said of IPVS where it may have done it.
const IPVS_OPEN: &str =
    " and may have dropped it, as when a connection's real server was removed: not evaluated.";

/// What IPVS has to do with it, which drops what it has no real server for (`ip_vs_in`, net/netfilter/ipvs/ip_vs_core.c); `None`
/// where it has no service for such a packet, or it is certain that a rule did it.
fn ipvs(drop: &Drop, view: &View<'_>, attribution: &Attribution<'_>) -> Option<Words> {
    let Place { by, hook, .. } = attribution.place;
    let here = by == By::Hooks && matches!(hook, Some(Hook::Input | Hook::Output));
    let packet = drop.packet.as_ref()?;
    if !here || attribution.certain().is_some() {
        return None;
    }
    let end = |addr, port| Some(Endpoint { addr, port: port? });
    let from = end(packet.src, packet.sport)?;
    let to = end(packet.dst, packet.dport)?;
    let state = view.ipvs(drop.netns, from, to)?;
    let service = state.service_of(&packet.proto, to, drop.mark)?;
    let said = attribution.words();
    let look = "`ipvsadm -Ln`: the service's real servers and their weights".to_owned();
    let name = service.name();
    Some(match service.unusable() {
        Some(why) if nobody(attribution) => (
            Some("ipvs_no_destination"),
            format!(
                "IPVS has service {name}, which has no usable real server ({why}): it drops what comes for it. No rule of the \
                 firewall drops such a packet."
            ),
            look,
        ),
        Some(why) => (
            None,
            format!(
                "{said} Or it was IPVS: its service {name} has no usable real server ({why}), and drops what comes for it."
            ),
            look,
        ),
        None => (
            None,
            format!("{said} IPVS has service {name} for such packets{IPVS_OPEN}"),
            look,
        ),
    })
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

/// A title for what no drop reason names.
fn title(
    place: &Place,
    kind: Option<&str>,
    attribution: &Attribution<'_>,
    drop: &Drop,
) -> Option<String> {
    let trip = drop.queue.as_ref();
    let queue = queue_name(trip);
    Some(match (place.by, kind) {
        // The queue that it came from is not the one that refused it.
        (
            By::Reinject,
            Some("queue_no_listener" | "queue_full" | "queue_socket_full" | "queue_no_copy_mode"),
        ) => {
            format!("refused by the next queue after {queue}")
        }
        (_, Some("ipvs_no_destination")) => {
            "dropped by IPVS, which had no real server for it".into()
        }
        (_, Some("queue_gone")) => format!("thrown out of {queue} when its program went away"),
        (_, Some("queue_device_down")) => format!("thrown out of {queue} when a device went down"),
        (_, Some("queue_drop")) if program_said_drop(trip) => {
            format!("dropped by the verdict of the program at {queue}")
        }
        (_, Some("queue_drop")) => {
            format!("dropped behind {queue}, most likely by the verdict of its program")
        }
        (_, Some("queue_no_listener")) => format!("dropped for want of a listener at {queue}"),
        (_, Some("queue_full")) => format!("dropped because {queue} was full"),
        (_, Some("queue_socket_full")) => {
            format!("dropped because the socket of the program at {queue} was full")
        }
        (_, Some("queue_no_copy_mode")) => {
            format!("dropped because the program at {queue} set no copy mode")
        }
        (By::Segments, _) => format!("split for {queue}, not lost"),
        (By::Reinject, _) if attribution.suspects.list.is_empty() => {
            format!("dropped behind {queue}, by what is not known")
        }
        (By::Reinject, _) => format!("dropped by a rule behind {queue}"),
        _ => return None,
    })
}

fn line(label: &str, text: String, source: Source) -> Line {
    Line {
        label: label.into(),
        text,
        source,
    }
}

fn look_at_rules() -> String {
    "`nft list ruleset`, `iptables-save -c` for counters, `conntrack -S` if no rule fits".into()
}

/// Whether no rule of the hook can have dropped it.
fn nobody(attribution: &Attribution<'_>) -> bool {
    attribution.suspects.list.is_empty() && attribution.suspects.complete
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
            look_at_rules(),
        );
    }
    let (kind, what, look) = refused(place, further, queues);
    (kind, format!("{before} {what}"), look)
}

fn program_said_drop(trip: Option<&QueueTrip>) -> bool {
    trip.and_then(|t| t.back.as_ref())
        .is_some_and(Reinjected::is_drop)
}

/// Whether it is the GSO packet itself, and not one of its segments: those never were in `nf_queue`.
fn is_whole(drop: &Drop) -> bool {
    drop.queue.is_some() || drop.len > WIRE
}

type Words = (Option<&'static str>, String, String);

fn segments(trip: Option<&QueueTrip>) -> Words {
    (
        None,
        format!(
            "Nothing is lost here: the kernel split a large (GSO) packet for {} and freed the whole, whose segments went to \
             the queue in its place.",
            queue_name(trip)
        ),
        "nothing; a queue program that asks for NFQA_CFG_F_GSO is given such packets whole".into(),
    )
}

/// It could not be queued.
fn refused(place: &Place, numbers: &[u16], queues: Option<&Queues>) -> Words {
    let at = place
        .hook
        .map_or(String::new(), |hook| format!(" at hook {}", hook.name()));
    let name = match numbers {
        [number] => format!("queue {number} (NFQUEUE)"),
        _ => "a queue (NFQUEUE)".to_owned(),
    };
    let sent = format!("A rule{at} sends it to {name}");
    let look = "`cat /proc/net/netfilter/nfnetlink_queue`";
    let help = "`bypass` does not help here, the program's fail-open (NFQA_CFG_F_FAIL_OPEN) does";
    match Refusal::of(numbers, queues) {
        Refusal::NoListener => (
            Some("queue_no_listener"),
            format!("{sent}, but no program listens on that: the kernel drops it."),
            format!(
                "{look}; `--queue-bypass` (nft: `bypass`) lets packets on where nobody listens"
            ),
        ),
        Refusal::NoCopyMode(queue) => (
            Some("queue_no_copy_mode"),
            format!(
                "{sent}. {} listens there, but has set no copy mode: the kernel drops every packet then, whether the rule has \
                 `bypass` or not.",
                listener(queue)
            ),
            format!(
                "{look}: the fourth column is 0; the program must send NFQA_CFG_PARAMS (nfq_set_mode) after it has bound the queue"
            ),
        ),
        Refusal::Full(queue) => (
            Some("queue_full"),
            format!(
                "{sent}, which was full: {} listens, {} packets wait, {} were dropped for that so far ({} more for want of room in \
                 its socket).",
                listener(queue),
                queue.waiting,
                queue.dropped,
                queue.user_dropped
            ),
            format!(
                "{look}; a faster program, several queues (`--queue-balance`), or a longer queue; {help}"
            ),
        ),
        Refusal::SocketFull(queue) => (
            Some("queue_socket_full"),
            format!(
                "{sent}, and the socket of {} had no room: {} packets were dropped for that so far, none because the queue was full.",
                listener(queue),
                queue.user_dropped
            ),
            format!("{look}; a faster program, or a larger receive buffer; {help}"),
        ),
        Refusal::Unknown => (
            None,
            format!(
                "{sent}, which did not take it; why is not known: nobody listened, it was full, or the kernel had no memory."
            ),
            look.to_owned(),
        ),
    }
}

/// Who listens on a queue.
fn listener(queue: &Queue) -> String {
    queue.holder.as_ref().map_or_else(
        || format!("netlink port {}", queue.port),
        |process| format!("{}[{}]", process.comm, process.pid),
    )
}

/// Queue numbers that the rules at the hook can have meant.
fn set_numbers(attribution: &Attribution<'_>, drop: &Drop, set: &Ruleset) -> Vec<u16> {
    netfilter::queue_numbers(set, drop, attribution.place.hook)
}

/// Who gave it back: seen by the kernel, or the task that the drop happened in, which is the same one.
fn holder(drop: &Drop, trip: Option<&QueueTrip>) -> String {
    let back = trip.and_then(|t| t.back.as_ref()).map(|b| &b.process);
    let Task { pid, comm } = back.unwrap_or(&drop.task);
    format!("{comm}[{pid}]")
}

fn queue_name(trip: Option<&QueueTrip>) -> String {
    match trip.and_then(|t| t.queued.as_ref()) {
        Some(queued) => format!("queue {} (NFQUEUE)", queued.queue),
        None => "a queue (NFQUEUE)".into(),
    }
}

fn trip_words(trip: &QueueTrip) -> String {
    let at = trip.hook.map_or("?", |hook| hook.name());
    let queued = match &trip.queued {
        Some(q) => format!(
            "queued at hook {at} to queue {} with mark {:#x}",
            q.queue, q.mark
        ),
        None => format!("queued at hook {at} before this run"),
    };
    match &trip.back {
        Some(b) => format!(
            "{queued}, given back by {}[{}] with verdict {} and mark {:#x}",
            b.process.comm,
            b.process.pid,
            b.name(),
            b.mark
        ),
        None => queued,
    }
}

#[cfg(test)]
mod tests;
