//! A packet that conntrack refused because its table was full.

use super::{plain::Refused, refusal};
use crate::{
    facts::FactKey,
    judge::{PlainKind, View},
    model::anchor::Drop,
};

/// From here on "right after" is not the word for it.
const LATE_NS: u64 = 500_000_000;

/// `None` when the table was not full, as far as is known: a rule did it.
///
/// The counters are the proof: conntrack counts what it refuses for want of room (`drop` in `conntrack -S`, for
/// want of memory too: `resolve_normal_ct`, net/netfilter/nf_conntrack_core.c, 5.10 to 7.2). A table that is full
/// when it is read may have had room before.
pub fn full(drop: &Drop, view: &View<'_>) -> Option<Refused> {
    let stats = view.conntrack_stats(drop.netns)?;
    let (entries, max) = stats.entries.zip(stats.max)?;
    if max == 0 || entries < max || stats.drop == 0 {
        return None;
    }
    let before = view.conntrack_stats_before(drop.netns);
    let refused = before.map(|(before, ago_ns)| (stats.drop.saturating_sub(before.drop), ago_ns));
    if let Some((0, _)) = refused {
        return None;
    }
    let no_rule = refusal::no_rule(drop, view);
    let packets = |count: u64| format!("{count} {}", if count == 1 { "packet" } else { "packets" });
    let count = match refused {
        Some((refused, ago_ns)) => format!(
            "conntrack has refused {} since {:.1} s before this drop",
            packets(refused),
            ago_ns as f64 / 1e9
        ),
        None => format!("conntrack has refused {} so far", packets(stats.drop)),
    };
    let or = if no_rule {
        "None of the rules that were read drops such a packet there."
    } else {
        "A rule there could have dropped it as well."
    };
    let after_ns = view
        .read_after_ns(&FactKey::ConntrackStats { netns: drop.netns })
        .unwrap_or(0);
    let when = if after_ns < LATE_NS {
        "right after".to_owned()
    } else {
        format!("{:.1} s later", after_ns as f64 / 1e9)
    };
    let (the, unknown) = match refused {
        Some(_) if no_rule => ("The", None),
        Some(_) => ("Most likely the", None),
        None => (
            "Most likely the",
            Some(
                "whether conntrack refused packets just then: its counters had not been read before",
            ),
        ),
    };
    Some(Refused {
        kind: PlainKind::TableFull,
        what: format!(
            "{the} conntrack table was full: {entries} of {max} entries were in use {when}, and {count}. A new \
             connection finds no room, and its packet is dropped. {or}"
        ),
        look: "`sysctl net.netfilter.nf_conntrack_max` (raise it, and the buckets with it), `conntrack -L` for \
               who fills the table, time-outs (`sysctl net.netfilter`), NOTRACK for what needs no tracking"
            .into(),
        unknown: unknown.map(String::from).into_iter().collect(),
    })
}
