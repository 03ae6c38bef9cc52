//! The explanation in words.

use super::case::{Case, turned};
use crate::{
    model::explanation::{Line, Source},
    netfilter::NatRule,
};

/// Name of an IP protocol.
pub fn proto(number: u8) -> &'static str {
    match number {
        1 => "ICMP",
        6 => "TCP",
        17 => "UDP",
        58 => "ICMPv6",
        132 => "SCTP",
        _ => "IP",
    }
}

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
    let winner = case
        .winner
        .original
        .map_or_else(|| "another".into(), |o| o.to_string());
    let why = if case.fixed_port {
        "the rule leaves a single port, so a second connection to the same destination has nowhere to go"
    } else {
        "both were new at the same moment, and the search for a free port sees confirmed connections only"
    };
    format!(
        "The connections {} and {winner} were both translated to {translated}: {why}. The other one was \
         entered first, so this one's packet was dropped when its entry could not be inserted.",
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
    let protocol = proto(case.insertion.original.proto);
    line(
        "loser",
        format!(
            "{protocol} {} translated to {}",
            case.insertion.original,
            turned(&case.insertion.reply)
        ),
        Source::Kernel,
    );
    if let (Some(original), Some(reply)) = (&case.winner.original, &case.winner.reply) {
        let state = case
            .winner
            .tcp_state
            .as_ref()
            .map_or(String::new(), |s| format!(", {s}"));
        line(
            "winner",
            format!(
                "{protocol} {original} translated to {}{state}",
                turned(reply)
            ),
            Source::Config,
        );
    }
    if let Some(NatRule { chain, rule, nat }) = case.rule {
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
        line(
            "counters",
            format!("insert_failed {} after it{size}", stats.insert_failed),
            Source::Config,
        );
    }
    lines
}
