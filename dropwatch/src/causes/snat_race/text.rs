//! The explanation in words.

use super::{case::Case, refusal::turned, weigh::Proof};
use crate::{
    facts::Followed,
    model::{
        explanation::{Line, Source},
        proto::Proto,
        tuple::Tuple,
    },
    netfilter::NatRule,
};

/// Reads well after a count.
pub fn title(case: &Case<'_>) -> String {
    let to = turned(&case.insertion.reply);
    format!(
        "to {}:{} given a source port that another connection was given first",
        to.dst, to.dport
    )
}

/// What happened, in this instance.
pub fn summary(case: &Case<'_>) -> String {
    let translated = turned(&case.insertion.reply);
    let winner = case.winner.original;
    let why = match case.proof {
        Proof::Single => {
            "the rule leaves a single port, so a second connection to the same destination has nowhere to go"
        }
        Proof::OtherFree => {
            "the search for a free port passes over those of confirmed connections, and others were free, so the other one \
             was not confirmed yet when this one's port was chosen"
        }
        Proof::Kept if case.rule.is_ok() => {
            "it kept its source port, which it does only while no confirmed connection holds that, so the other one was not \
             confirmed yet when this was decided"
        }
        Proof::Kept => {
            "it kept its source port, which it does only while no confirmed connection holds that, so the other one was not \
             confirmed yet when this was decided (unless the rule, which is not known, leaves this port alone)"
        }
    };
    let held = match (
        case.drop.queue.as_ref().and_then(|q| q.queued.as_ref()),
        case.held_ns,
    ) {
        (Some(queued), held_ns) if held_ns > 0 => format!(
            " This one had been in queue {} for {:.0} ms since.",
            queued.queue,
            held_ns as f64 / 1e6
        ),
        _ => String::new(),
    };
    format!(
        "The connections {} and {winner} were both translated to {translated}: {why}. The other one was \
         confirmed first, so this one's packet was dropped when its entry could not be inserted.{held}",
        case.insertion.original
    )
}

/// The lines of proof.
pub fn evidence(case: &Case<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line = |label: &str, text: String, source| {
        lines.push(Line {
            label: label.into(),
            text,
            source,
        });
    };
    line(
        "verdict",
        format!(
            "{} in {}: the packet's conntrack entry is new, source-translated and not confirmed (status {:#x})",
            case.drop.reason.text(),
            case.drop.location.text(),
            case.insertion.status
        ),
        Source::Kernel,
    );
    let protocol = Proto(case.insertion.original.proto);
    line(
        "loser",
        format!(
            "{protocol} {} translated to {}",
            case.insertion.original,
            turned(&case.insertion.reply)
        ),
        Source::Kernel,
    );
    let state = case
        .winner
        .later
        .entry()
        .and_then(|entry| entry.tcp_state.as_ref())
        .map_or(String::new(), |s| format!(", {s}"));
    let seen = if case.winner.by_kernel {
        ", seen in the way by nf_ct_resolve_clash"
    } else {
        ""
    };
    line(
        "winner",
        format!(
            "{protocol} {} translated to {}{seen}{state}",
            case.winner.original,
            turned(&case.winner.reply)
        ),
        if case.winner.by_kernel {
            Source::Kernel
        } else {
            Source::Config
        },
    );
    if let Ok(NatRule { chain, rule, nat }) = case.rule {
        let random = if nat.fully_random {
            "fully random ports"
        } else {
            "ports not fully random"
        };
        let handle = rule
            .handle
            .map_or(String::new(), |h| format!(" handle {h}"));
        line(
            "rule",
            format!(
                "{} table {} chain {}{handle}: {} ({random})",
                chain.backend, chain.table, chain.name, rule.text
            ),
            Source::Config,
        );
    }
    if let Some(stats) = case.stats {
        let size = match (stats.entries, stats.max) {
            (Some(entries), Some(max)) => format!("; {entries} of {max} entries in use"),
            _ => String::new(),
        };
        let before = case.before.map_or(String::new(), |(before, ago_ns)| {
            format!(
                "{} {:.1} s before it, ",
                before.insert_failed,
                ago_ns as f64 / 1e9
            )
        });
        line(
            "counters",
            format!(
                "insert_failed {before}{} after it{size}",
                stats.insert_failed
            ),
            Source::Config,
        );
    }
    lines
}

/// What became of the connection after all.
pub fn followed(tuple: &Tuple, outcome: &Followed) -> String {
    let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1e3);
    let after = seconds(outcome.after_ms);
    if !outcome.through {
        return format!("no packet of the connection {tuple} got through in {after}");
    }
    let answered = if outcome.answered {
        " and was answered"
    } else {
        ""
    };
    if outcome.resolution_ms >= outcome.after_ms {
        return format!("the connection {tuple} got through within {after}{answered}");
    }
    // Sockets and clocks add a millisecond or two, which say nothing.
    let pause = outcome.resolution_ms.saturating_add(50) / 100 * 100;
    format!(
        "the connection {tuple} got through after about {after}{answered} (asked every {pause} ms)"
    )
}
