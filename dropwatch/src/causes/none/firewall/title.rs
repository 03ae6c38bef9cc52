//! What a drop by netfilter is called in a line that counts.

use super::queue::{program_said_drop, queue_name};
use crate::{
    judge::PlainKind,
    model::anchor::Drop,
    netfilter::{self, Attribution, By, Place},
};

/// A title where more is known than the drop reason.
pub fn title(
    place: &Place,
    kind: Option<PlainKind>,
    attribution: &Attribution<'_>,
    drop: &Drop,
) -> Option<String> {
    let trip = drop.queue.as_ref();
    let queue = queue_name(trip);
    Some(match (place.by, kind) {
        // The queue that it came from is not the one that refused it.
        (
            By::Reinject,
            Some(
                PlainKind::QueueNoListener
                | PlainKind::QueueFull
                | PlainKind::QueueSocketFull
                | PlainKind::QueueNoCopyMode,
            ),
        ) => {
            format!("refused by the next queue after {queue}")
        }
        (_, Some(PlainKind::IpvsNoDestination)) => {
            "dropped by IPVS, which had no real server for it".into()
        }
        (_, Some(PlainKind::QueueGone)) => {
            format!("thrown out of {queue} when its program went away")
        }
        (_, Some(PlainKind::QueueDeviceDown)) => {
            format!("thrown out of {queue} when a device went down")
        }
        (_, Some(PlainKind::QueueDrop)) if program_said_drop(trip) => {
            format!("dropped by the verdict of the program at {queue}")
        }
        (_, Some(PlainKind::QueueDrop)) => {
            format!("dropped behind {queue}, most likely by the verdict of its program")
        }
        (_, Some(PlainKind::QueueNoListener)) => {
            format!("dropped for want of a listener at {queue}")
        }
        (_, Some(PlainKind::QueueFull)) => format!("dropped because {queue} was full"),
        (_, Some(PlainKind::QueueSocketFull)) => {
            format!("dropped because the socket of the program at {queue} was full")
        }
        (_, Some(PlainKind::QueueNoCopyMode)) => {
            format!("dropped because the program at {queue} set no copy mode")
        }
        (By::Segments, _) => format!("split for {queue}, not lost"),
        (By::Reinject, _) if attribution.suspects.list.is_empty() => {
            format!("dropped behind {queue}, by what is not known")
        }
        (By::Reinject, _) if attribution.is_verdict_unseen() => {
            format!("dropped behind {queue}, by its program or what comes after it")
        }
        (By::Reinject, _) => match attribution.certain() {
            Some(rule) => format!(
                "dropped by {}{}, behind {queue}",
                netfilter::named(rule),
                attribution.by_element()
            ),
            None => format!("dropped by a rule behind {queue}"),
        },
        _ => format!(
            "dropped by {}{}",
            netfilter::named(attribution.certain()?),
            attribution.by_element()
        ),
    })
}
