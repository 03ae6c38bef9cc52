//! Packets that conntrack refused for another reason: explained as what they are, without a blame.

use std::net::IpAddr;

use super::refusal::{self, Holder, Kind, turned};
use crate::{
    facts::ConntrackStats,
    judge::{Key, View, Words},
    model::{anchor::Drop, evidence::Insertion},
};

/// Why conntrack refused a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// `dnat_clash`, `duplicate`, `exhausted`, `not_inserted` or `table_full`.
    pub kind: &'static str,
    /// What happened.
    pub what: String,
    /// Where to look and what to change.
    pub look: String,
}

/// What makes two refusals one case.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Same {
    kind: &'static str,
    /// Where the packets were going after translation.
    server: Option<(u8, IpAddr, u16)>,
}

impl Refused {
    /// For the plain explanation.
    fn words(self, insertion: Option<&Insertion>) -> Words {
        Words {
            kind: self.kind,
            what: self.what,
            look: self.look,
            key: Key::of(Same {
                kind: self.kind,
                server: insertion.map(|i| (i.reply.proto, i.reply.src, i.reply.sport)),
            }),
        }
    }
}

/// Explains a packet that conntrack refused; `None` when the drop has nothing to do with it, or facts are
/// pending.
pub fn plain(drop: &Drop, view: &View<'_>) -> Option<Words> {
    refused(drop, view).map(|refused| refused.words(refusal::not_entered(drop)))
}

fn refused(drop: &Drop, view: &View<'_>) -> Option<Refused> {
    if refusal::not_tracked(drop) {
        let stats = view.conntrack_stats(drop.netns)?;
        return table_full(stats, refusal::no_rule(drop, view));
    }
    let insertion = refusal::not_entered(drop)?;
    let Some(holder) = refusal::holder(drop, insertion, view) else {
        // Where nothing says that translation was decided, a rule may have dropped it.
        let past = refusal::decided(insertion) && !view.pending();
        return past.then(|| not_inserted(insertion, refusal::sees_clashes(view)));
    };
    match holder.kind(insertion) {
        Kind::Snat => Some(exhausted(insertion, &holder)),
        Kind::Dnat => Some(dnat_clash(insertion, &holder)),
        Kind::Duplicate => {
            let certain = holder.by_kernel || refusal::no_rule(drop, view);
            Some(duplicate(insertion, certain))
        }
        Kind::Other => refusal::decided(insertion)
            .then(|| not_inserted(insertion, refusal::sees_clashes(view))),
    }
}

fn exhausted(insertion: &Insertion, holder: &Holder<'_>) -> Refused {
    Refused {
        kind: "exhausted",
        what: format!(
            "{} was translated to {}, which an older connection ({}) holds. Most likely the range of the NAT \
             rule is used up: then more ports or addresses help, and random ports do not.",
            insertion.original,
            turned(&insertion.reply),
            holder.original,
        ),
        look: "`conntrack -L` for who holds the ports; give the NAT rule more ports or addresses, or the \
               connections shorter time-outs (`sysctl net.netfilter`)"
            .into(),
    }
}

fn dnat_clash(insertion: &Insertion, holder: &Holder<'_>) -> Refused {
    let server = format!("{}:{}", insertion.reply.src, insertion.reply.sport);
    Refused {
        kind: "dnat_clash",
        what: format!(
            "{} and {} were both sent on to {server} by a DNAT rule: from there their answers look alike, so \
             conntrack can enter only one of them. The other one was first, so this packet was dropped. A \
             resolver that asks for A and AAAA at once from one socket is the usual case; it tries again after \
             some seconds.",
            insertion.original, holder.original
        ),
        look: "`conntrack -S` (insert_failed); for DNS a resolver cache on the node, TCP (`options use-vc`), or \
               a socket per question (`options single-request-reopen` in resolv.conf)"
            .into(),
    }
}

fn duplicate(insertion: &Insertion, certain: bool) -> Refused {
    let the = if certain { "The" } else { "Most likely the" };
    Refused {
        kind: "duplicate",
        what: format!(
            "{the} same packet was there twice at the same moment: another copy of {} was entered by \
             conntrack first, so this one was dropped. The connection itself goes on.",
            insertion.original
        ),
        look: "who sends or copies it: a client that does not wait before it tries again, a bridge or bond \
               that loops, a mirror; `conntrack -S` (insert_failed)"
            .into(),
    }
}

fn not_inserted(insertion: &Insertion, sees_clashes: bool) -> Refused {
    let translated = turned(&insertion.reply);
    let to = if translated == insertion.original {
        String::new()
    } else {
        format!(" to {translated}")
    };
    let why = if sees_clashes {
        "The kernel saw no clash with another connection."
    } else {
        "No other connection holds its place."
    };
    Refused {
        kind: "not_inserted",
        what: format!(
            "{} was dropped after its translation{to} was decided and before conntrack had entered it: by \
             conntrack itself or by a rule behind the NAT rules. {why}",
            insertion.original
        ),
        look: "`conntrack -S` (insert_failed, chaintoolong), rules behind the NAT rules (`nft list ruleset`)"
            .into(),
    }
}

/// `None` when the table is not full: a rule did it.
fn table_full(stats: &ConntrackStats, no_rule: bool) -> Option<Refused> {
    let (entries, max) = stats.entries.zip(stats.max)?;
    if max == 0 || entries < max || stats.drop == 0 {
        return None;
    }
    let (the, or) = if no_rule {
        ("The", "No rule there drops such a packet.")
    } else {
        (
            "Most likely the",
            "A rule there could have dropped it as well.",
        )
    };
    Some(Refused {
        kind: "table_full",
        what: format!(
            "{the} conntrack table is full: {entries} of {max} entries are in use and conntrack has refused {} \
             packets so far. A new connection finds no room, and its packet is dropped. {or}",
            stats.drop
        ),
        look: "`sysctl net.netfilter.nf_conntrack_max` (raise it, and the buckets with it), `conntrack -L` for \
               who fills the table, time-outs (`sysctl net.netfilter`), NOTRACK for what needs no tracking"
            .into(),
    })
}
