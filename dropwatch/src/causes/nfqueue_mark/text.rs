//! The explanation in words.

use super::case::Case;
use crate::{
    model::explanation::{Line, Source},
    netfilter,
};

/// Name of a verdict (`NF_*`, include/uapi/linux/netfilter.h).
pub(super) fn verdict(number: u32) -> String {
    match number & 0xff {
        0 => "drop".into(),
        1 => "accept".into(),
        2 => "stolen".into(),
        3 => "queue".into(),
        4 => "repeat".into(),
        5 => "stop".into(),
        other => other.to_string(),
    }
}

/// Reads well after a count.
pub(super) fn title(case: &Case<'_>) -> String {
    let (chain, comm) = (chain(case), &case.change.back.process.comm);
    format!(
        "dropped by {chain} for mark bits {:#x} that {comm} changed in queue {}",
        case.deadly(),
        case.change.queue
    )
}

fn chain<'a>(case: &Case<'a>) -> &'a str {
    case.rule().map_or("?", |one| &one.chain.name)
}

/// What happened, in this instance.
pub(super) fn summary(case: &Case<'_>) -> String {
    let change = &case.change;
    let process = &change.back.process;
    let no_rule = if case.set.unreadable.is_empty() {
        "no rule"
    } else {
        "none of the rules that could be read"
    };
    format!(
        "{}[{}] took the packet from queue {} with mark {:#x} and gave it back with mark {:#x} (verdict {}). The rule in \
         chain {} drops what has {:#x} in its mark; with the mark that it was queued with, {no_rule} would have \
         dropped it.",
        process.comm,
        process.pid,
        change.queue,
        change.before,
        change.after,
        verdict(change.back.verdict),
        chain(case),
        case.deadly(),
    )
}

/// The lines of proof.
pub(super) fn evidence(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = |label: &str, text: String, source| {
        lines.push(Line {
            label: label.into(),
            text,
            source,
        });
    };
    let change = &case.change;
    let hook = case.drop.queue.as_ref().and_then(|t| t.hook);
    line(
        "queued",
        format!(
            "at hook {} to queue {} with mark {:#x}",
            hook.map_or("?", |h| h.name()),
            change.queue,
            change.before
        ),
        Source::Kernel,
    );
    line(
        "given back",
        format!(
            "after {:.1} ms by {}[{}]: verdict {}, mark {:#x}; changed bits {:#x}",
            change.held_ms(),
            change.back.process.comm,
            change.back.process.pid,
            verdict(change.back.verdict),
            change.after,
            change.bits()
        ),
        Source::Kernel,
    );
    line(
        "died",
        format!(
            "{} in {} at hook {}, with mark {:#x}",
            case.drop.reason.text(),
            case.drop.location.text(),
            case.place.hook.map_or("?", |h| h.name()),
            case.drop.mark
        ),
        Source::Kernel,
    );
    for one in &case.rules {
        line("rule", netfilter::describe(one), Source::Config);
        for step in &one.path {
            line("by way of", step.rule.text.clone(), Source::Config);
        }
    }
    if let Some(one) = &case.queue_rule {
        line("queue rule", netfilter::describe(one), Source::Config);
    }
    line(
        "bits in use",
        format!(
            "{:#x} by the rules that {}",
            netfilter::used_mark_bits(case.set),
            if case.set.unreadable.is_empty() {
                "are loaded"
            } else {
                "could be read"
            }
        ),
        Source::Config,
    );
    lines
}
