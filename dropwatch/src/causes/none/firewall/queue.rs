//! What a queue had to do with a drop, in words.

use super::Words;
use crate::{
    facts::queues::{Queue, Queues},
    judge::PlainKind,
    model::{
        anchor::{Drop, Task},
        evidence::{QueueTrip, Reinjected},
    },
    netfilter::{By, Gone, Place, Refusal},
};

/// Longer than a packet on the usual wire: a GSO packet that stands for several.
const WIRE: u32 = 1514;

/// Whether the queue lost the packet, and no program gave a verdict on it.
pub(super) fn gone(drop: &Drop, place: &Place, queues: Option<&Queues>) -> Option<Gone> {
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
pub(super) fn lost(gone: Option<Gone>, trip: Option<&QueueTrip>) -> Words {
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
        Some(Gone::Device) => PlainKind::QueueDeviceDown,
        _ => PlainKind::QueueGone,
    };
    let look = match gone {
        Some(Gone::Device) => "`ip monitor link`: which device goes down, and why",
        _ => "that program's log: why it ended, and who starts it again",
    };
    (Some(kind), what, look.to_owned())
}

pub(super) fn program_said_drop(trip: Option<&QueueTrip>) -> bool {
    trip.and_then(|t| t.back.as_ref())
        .is_some_and(Reinjected::is_drop)
}

/// Whether it is the GSO packet itself, and not one of its segments: those never were in `nf_queue`.
pub(super) fn is_whole(drop: &Drop) -> bool {
    drop.queue.is_some() || drop.len > WIRE
}

pub(super) fn segments(trip: Option<&QueueTrip>) -> Words {
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
pub(super) fn refused(place: &Place, numbers: &[u16], queues: Option<&Queues>) -> Words {
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
            Some(PlainKind::QueueNoListener),
            format!("{sent}, but no program listens on that: the kernel drops it."),
            format!(
                "{look}; `--queue-bypass` (nft: `bypass`) lets packets on where nobody listens"
            ),
        ),
        Refusal::NoCopyMode(queue) => (
            Some(PlainKind::QueueNoCopyMode),
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
            Some(PlainKind::QueueFull),
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
            Some(PlainKind::QueueSocketFull),
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

/// Who gave it back: seen by the kernel, or the task that the drop happened in, which is the same one.
pub(super) fn holder(drop: &Drop, trip: Option<&QueueTrip>) -> String {
    let back = trip.and_then(|t| t.back.as_ref()).map(|b| &b.process);
    let Task { pid, comm } = back.unwrap_or(&drop.task);
    format!("{comm}[{pid}]")
}

pub(super) fn queue_name(trip: Option<&QueueTrip>) -> String {
    match trip.and_then(|t| t.queued.as_ref()) {
        Some(queued) => format!("queue {} (NFQUEUE)", queued.queue),
        None => "a queue (NFQUEUE)".into(),
    }
}

pub(super) fn trip_words(trip: &QueueTrip) -> String {
    let queued = queued(trip);
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

fn queued(trip: &QueueTrip) -> String {
    let at = trip.hook.map_or("?", |hook| hook.name());
    match &trip.queued {
        Some(q) => format!(
            "queued at hook {at} to queue {} with mark {:#x}",
            q.queue, q.mark
        ),
        None => format!("queued at hook {at} (when, and with which mark, was not seen)"),
    }
}

/// The way of a packet that its queue lost: the task at hand is the one that did away with the queue or the device, if
/// not a worker of the kernel's.
pub(super) fn thrown_out(drop: &Drop, trip: Option<&QueueTrip>) -> String {
    let queued = trip.map_or_else(
        || "queued (when, and with which mark, was not seen)".to_owned(),
        queued,
    );
    format!("{queued}, thrown out while {} ran", holder(drop, trip))
}
