//! What a drop by netfilter is called in a line that counts.

use super::queue::{program_said_drop, queue_name};
use crate::{
    model::anchor::Drop,
    netfilter::{self, Attribution, By, Place},
};

/// A title where more is known than the drop reason.
pub fn title(
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
        (By::Reinject, _) if attribution.is_verdict_unseen() => {
            format!("dropped behind {queue}, by its program or what comes after it")
        }
        (By::Reinject, _) => match attribution.certain() {
            Some(rule) => format!("dropped by {}, behind {queue}", netfilter::named(rule)),
            None => format!("dropped by a rule behind {queue}"),
        },
        _ => format!("dropped by {}", netfilter::named(attribution.certain()?)),
    })
}
