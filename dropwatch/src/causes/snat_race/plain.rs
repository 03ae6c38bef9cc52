//! Packets that conntrack refused for another reason: explained as what they are, without a blame.

use std::{net::IpAddr, ops::RangeInclusive};

use super::{
    Translated,
    refusal::{self, Holder, InTheWay, Kind, turned},
    table,
    weigh::{self, Outcome, Weighed},
};
use crate::{
    judge::{Key, PlainKind, View, Words},
    model::{anchor::Drop, evidence::Insertion, tuple::Tuple},
};

/// Conntrack's word on a holder counts for the moment of the drop if it comes this soon: a first retransmission
/// takes longer (RFC 6298).
const SOON_NS: u64 = 500_000_000;

/// Why conntrack refused a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What it was.
    pub kind: PlainKind,
    /// What happened.
    pub what: String,
    /// Where to look and what to change.
    pub look: String,
    /// What it would take to say more.
    pub unknown: Vec<String>,
}

/// What makes two refusals one case.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Same {
    kind: PlainKind,
    /// Where the packets were going after translation.
    server: Option<(u8, IpAddr, u16)>,
    /// What else they are told apart by where their source is translated.
    translated: Option<Translated>,
}

impl Refused {
    /// For the plain explanation.
    fn words(self, drop: &Drop) -> Words {
        let server =
            refusal::not_entered(drop).map(|i| (i.reply.proto, i.reply.src, i.reply.sport));
        Words {
            kind: self.kind,
            what: self.what,
            look: self.look,
            unknown: self.unknown,
            key: Key::of(Same {
                kind: self.kind,
                server,
                translated: Translated::of(drop),
            }),
        }
    }
}

/// Explains a packet that conntrack refused; `None` when the drop has nothing to do with it, or facts are
/// pending.
pub fn plain(drop: &Drop, view: &View<'_>) -> Option<Words> {
    refused(drop, view).map(|refused| refused.words(drop))
}

fn refused(drop: &Drop, view: &View<'_>) -> Option<Refused> {
    if refusal::not_tracked(drop) {
        return table::full(drop, view);
    }
    let insertion = refusal::not_entered(drop)?;
    let in_the_way = refusal::in_the_way(drop, insertion, view);
    if let InTheWay::Held(holder) = &in_the_way {
        // It would have clashed, but came to a rule that drops it first, and no clash was seen.
        if !holder.by_kernel && refusal::by_rule(drop, view) {
            return None;
        }
        match holder.kind(insertion) {
            Kind::Snat => return snat(drop, insertion, holder, view),
            Kind::Dnat => return Some(dnat_clash(drop, insertion, holder, view)),
            Kind::Duplicate => return Some(duplicate(drop, insertion, holder, view)),
            Kind::Other => {}
        }
    }
    // Where nothing says that translation was decided, a rule may have dropped it.
    let past = refusal::decided(insertion) && !view.pending();
    past.then(|| not_inserted(insertion, &in_the_way, refusal::sees_clashes(view)))
}

/// Whether the holder was in the way at that moment, and not a rule.
fn certain(drop: &Drop, holder: &Holder<'_>, view: &View<'_>) -> bool {
    holder.by_kernel || holder.later.after_ns() <= SOON_NS && refusal::only_conntrack(drop, view)
}

/// `None` for a race: that is the cause's to tell.
fn snat(
    drop: &Drop,
    insertion: &Insertion,
    holder: &Holder<'_>,
    view: &View<'_>,
) -> Option<Refused> {
    let weighed = weigh::weigh(drop, insertion, holder, view);
    match &weighed.outcome {
        Outcome::Exhausted(ports) => Some(exhausted(insertion, holder, ports)),
        Outcome::Open(open) => {
            let certain = certain(drop, holder, view);
            Some(nat_clash(insertion, holder, &weighed, open, certain))
        }
        Outcome::Race(_) => None,
    }
}

/// Asks who holds the ports that answers come back to; for [`crate::reasons::hint::fill`], which says where.
fn who_holds(insertion: &Insertion) -> String {
    let Tuple {
        proto,
        src,
        dst,
        sport,
        ..
    } = insertion.reply;
    let (name, port) = match i32::from(proto) {
        libc::IPPROTO_TCP => ("tcp", format!(" --reply-port-src {sport}")),
        libc::IPPROTO_UDP => ("udp", format!(" --reply-port-src {sport}")),
        libc::IPPROTO_ICMP => ("icmp", String::new()),
        libc::IPPROTO_ICMPV6 => ("icmpv6", String::new()),
        _ => ("", String::new()),
    };
    let family = if src.is_ipv6() { " -f ipv6" } else { "" };
    let proto = if name.is_empty() {
        String::new()
    } else {
        format!(" -p {name}")
    };
    format!("conntrack -L{family}{proto} --reply-src {src} --reply-dst {dst}{port}")
}

fn exhausted(insertion: &Insertion, holder: &Holder<'_>, ports: &RangeInclusive<u16>) -> Refused {
    let (first, last) = (ports.start(), ports.end());
    let range = if first == last {
        format!("the only port that the NAT rule leaves ({first}) is")
    } else {
        format!("every port that the NAT rule leaves ({first}-{last}) is")
    };
    Refused {
        kind: PlainKind::Exhausted,
        what: format!(
            "{} was translated to {}, which another connection ({}) holds; {range} in use for this destination. The \
             range is used up: more ports or addresses help, random ports do not.",
            insertion.original,
            turned(&insertion.reply),
            holder.original,
        ),
        look: format!(
            "`{}` for who holds the ports; give the NAT rule more ports or addresses, or the connections shorter \
             time-outs (`sysctl net.netfilter`)",
            who_holds(insertion)
        ),
        unknown: Vec::new(),
    }
}

/// Neither a race nor a used-up range for sure: no advice that would be wrong for one of them.
fn nat_clash(
    insertion: &Insertion,
    holder: &Holder<'_>,
    weighed: &Weighed<'_>,
    open: &[String],
    certain: bool,
) -> Refused {
    let mut unknown = weighed.rule.as_ref().err().cloned().unwrap_or_default();
    if weighed.default_timeouts {
        unknown.push(weigh::DEFAULT_TIMEOUTS.into());
    }
    let open = open.join("; ");
    let which = match weighed.older_ns {
        Some(older_ns) => format!(
            "The other one was no new one: it was there at least {:.0} s before this port was chosen. Whether all ports \
             that the rule leaves are in use is not known ({open}).",
            older_ns as f64 / 1e9
        ),
        None => format!(
            "Whether both were new at that moment (a race) or the other one holds it for long (the range is used up) is \
             not known ({open})."
        ),
    };
    let so = if certain {
        "so conntrack refused this one"
    } else {
        "so conntrack refused this one, or a rule behind the translation dropped it before"
    };
    unknown.push("whether it was a race for the port or the range is used up".into());
    Refused {
        kind: PlainKind::NatClash,
        what: format!(
            "Two connections were given the same translated port: {} was translated to {}, and {}, translated to the \
             same, is confirmed, {so}. {which}",
            insertion.original,
            turned(&insertion.reply),
            holder.original,
        ),
        look: format!(
            "`{}`: about as many lines as the NAT rule leaves ports mean that they are used up (more ports or \
             addresses help); few lines mean a race (fully random ports make it rare)",
            who_holds(insertion)
        ),
        unknown,
    }
}

fn dnat_clash(drop: &Drop, insertion: &Insertion, holder: &Holder<'_>, view: &View<'_>) -> Refused {
    let server = turned(&insertion.reply);
    let direct = (holder.original.dst, holder.original.dport) == (server.dst, server.dport);
    let server = format!("{}:{}", server.dst, server.dport);
    let how = if direct {
        format!(
            "{} was sent on to {server} by a translation of its destination (DNAT), and {} goes there by itself",
            insertion.original, holder.original
        )
    } else {
        format!(
            "{} and {} were both sent on to {server} by a translation of their destination (DNAT)",
            insertion.original, holder.original
        )
    };
    let so = if certain(drop, holder, view) {
        "The other one was first, so this packet was dropped."
    } else {
        "The other one is entered, so most likely this packet was dropped for that."
    };
    Refused {
        kind: PlainKind::DnatClash,
        what: format!(
            "{how}: from there their answers look alike, so conntrack can enter only one of them. {so} A resolver that \
             asks for A and AAAA at once from one socket is the usual case; it tries again after some seconds."
        ),
        look: "`conntrack -S` (insert_failed); for DNS a resolver cache on the node, TCP (`options use-vc`), or \
               a socket per question (`options single-request-reopen` in resolv.conf)"
            .into(),
        unknown: Vec::new(),
    }
}

fn duplicate(drop: &Drop, insertion: &Insertion, holder: &Holder<'_>, view: &View<'_>) -> Refused {
    let the = if certain(drop, holder, view) {
        "The"
    } else {
        "Most likely the"
    };
    // Its first packets are on their way together until one of them is entered.
    let goes_on = match holder.later.entry() {
        Some(_) => " The connection itself goes on.",
        None => "",
    };
    Refused {
        kind: PlainKind::Duplicate,
        what: format!(
            "{the} same packet was there twice, or two first packets of one connection: another one of {} was entered \
             by conntrack first, so this one was dropped.{goes_on}",
            insertion.original
        ),
        look: "who sends or copies it: a client that does not wait before it tries again, a bridge or bond \
               that loops, a mirror; `conntrack -S` (insert_failed)"
            .into(),
        unknown: Vec::new(),
    }
}

fn not_inserted(insertion: &Insertion, in_the_way: &InTheWay<'_>, sees_clashes: bool) -> Refused {
    let translated = turned(&insertion.reply);
    let to = if translated == insertion.original {
        String::new()
    } else {
        format!(" to {translated}")
    };
    let mut unknown = Vec::new();
    let why = match in_the_way {
        InTheWay::Held(Holder { original, .. }) | InTheWay::Other(original) => {
            format!(" An entry of another connection ({original}) was in the way.")
        }
        InTheWay::Nothing if sees_clashes => {
            " No clash with another connection was seen (nf_ct_resolve_clash).".into()
        }
        InTheWay::Nothing => " No other connection held its place when that was asked.".into(),
        InTheWay::Unknown => {
            unknown.push("whether another connection holds its place".into());
            String::new()
        }
    };
    Refused {
        kind: PlainKind::NotInserted,
        what: format!(
            "{} was dropped after its translation{to} was decided and before conntrack had entered it: by \
             conntrack itself or by something behind the NAT rules, as a rule with a later priority.{why}",
            insertion.original
        ),
        look: "`conntrack -S` (insert_failed, chaintoolong), rules behind the NAT rules (`nft list ruleset`)"
            .into(),
        unknown,
    }
}
