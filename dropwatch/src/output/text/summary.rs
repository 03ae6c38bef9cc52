//! The end of a session in text: cases, exact counts, the ledger.

use std::io::{self, Write};

use crate::{
    correlate::{case::Tally, follow::Outcomes},
    output::{Names, Summary, lines::Lines},
    stats::Ledger,
};

/// Lines of exact counts.
const MOST_COUNTS: usize = 10;

/// Lines of cases.
const MOST_CASES: usize = 100;

/// Devices named in a line.
const MOST_DEVICES: usize = 4;

/// Writes it.
pub(super) fn write<W: Write>(
    lines: &mut Lines<W>,
    summary: &Summary,
    names: &Names,
) -> io::Result<()> {
    lines.end()?;
    lines.line(format_args!("{:.1} s", summary.seconds))?;
    for case in summary.cases.iter().take(MOST_CASES) {
        let cause = case.cause.unwrap_or("drop");
        let fates = case.outcomes.as_ref().map_or(String::new(), fates);
        let text = format!(
            "{cause}: {} {}{}{fates}",
            case.numbers.text(),
            case.title,
            devices(case)
        );
        lines.item(&format!("#{}", case.case), &text)?;
    }
    if summary.cases.len() > MOST_CASES {
        let more = summary.cases.len() - MOST_CASES;
        lines.item("", &format!("and {more} cases more"))?;
    }
    if summary.closed.cases > 0 {
        let text = format!(
            "{} older cases with {} drops, told when they happened",
            summary.closed.cases, summary.closed.drops
        );
        lines.item("and", &text)?;
    }
    for drop in summary.drops.iter().take(MOST_COUNTS) {
        let detail = match drop.suppressed {
            0 => String::new(),
            some => format!(" ({some} of them without detail)"),
        };
        let netns = names.words(drop.netns);
        let text = format!(
            "{} {} in {}, {netns} ifindex {}{detail}",
            drop.count, drop.reason, drop.location, drop.ifindex
        );
        lines.item("counted", &text)?;
    }
    if summary.drops.len() > MOST_COUNTS {
        let more = summary.drops.len() - MOST_COUNTS;
        let kinds = if more == 1 { "kind" } else { "kinds" };
        lines.item("", &format!("and {more} more {kinds}"))?;
    }
    match &summary.ledger {
        Some(l) => ledger(lines, l)?,
        None => lines.item("ledger", "unknown: the capture was cut short")?,
    }
    lines.flush()
}

/// The devices of a case that has several.
fn devices(case: &Tally) -> String {
    if case.devices.len() < 2 {
        return String::new();
    }
    let named: Vec<_> = case
        .devices
        .iter()
        .take(MOST_DEVICES)
        .map(|one| format!("{} {}", one.count, one.device.name))
        .collect();
    let more = case.devices.len() - named.len();
    let beyond = if case.other_devices > 0 {
        " and further ones"
    } else {
        ""
    };
    let more = match more {
        0 => String::new(),
        more => format!(", {more} more"),
    };
    format!(
        "; on {} devices{beyond}: {}{more}",
        case.devices.len(),
        named.join(", ")
    )
}

fn ledger<W: Write>(lines: &mut Lines<W>, l: &Ledger) -> io::Result<()> {
    let parts = [
        (l.shown, "shown"),
        (l.suppressed, "suppressed"),
        (l.lost_ring_full, "lost (ring full)"),
        (l.filtered, "filtered"),
        (l.not_packet, "not packets"),
        (l.route_queries, "route queries"),
        (l.deselected, "not selected"),
        (l.undecodable, "undecodable"),
    ];
    let parts: Vec<_> = parts
        .into_iter()
        // The first three are always said, also when they are 0: they are what is asked for.
        .enumerate()
        .filter(|(at, (count, _))| *at < 3 || *count > 0)
        .map(|(_, (count, what))| format!("{count} {what}"))
        .collect();
    let text = format!("{} seen = {}", l.seen, parts.join(" + "));
    lines.item("ledger", &text)?;
    if l.lost_recursion > 0 {
        lines.item(
            "",
            &format!(
                "{} more calls were skipped by the kernel (recursion)",
                l.lost_recursion
            ),
        )?;
    }
    if l.lost_events > 0 || l.lost_evidence > 0 {
        lines.item(
            "",
            &format!(
                "{} other events did not fit into the ring buffer, {} pieces of evidence into their tables",
                l.lost_events, l.lost_evidence
            ),
        )?;
    }
    if !l.balanced {
        lines.item("", "THE LEDGER DOES NOT ADD UP: please report this")?;
    }
    Ok(())
}

/// What became of a case's connections, as a clause.
fn fates(outcomes: &Outcomes) -> String {
    let seconds = |ms: u64| format!("{:.1}", ms as f64 / 1e3);
    let delays = [outcomes.min_ms, outcomes.median_ms, outcomes.max_ms];
    let after = match delays.map(|ms| ms.map(seconds)) {
        [Some(min), Some(median), Some(max)] => {
            format!(" after {min} to {max} s (median {median})")
        }
        _ => String::new(),
    };
    let parts = [
        (outcomes.through, format!("got through{after}")),
        (outcomes.never, "did not".to_owned()),
        (outcomes.open, "open at the end".to_owned()),
        (outcomes.not_followed, "not followed".to_owned()),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<_> = parts.map(|(n, what)| format!("{n} {what}")).collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("; of its connections {}", parts.join(", "))
}
