//! What tells conntrack's own refusal of a packet from a rule's: both are freed by `nf_hook_slow`
//! (net/netfilter/core.c, 5.10 to 7.2) or, behind a queue, by what takes packets back from it. So the hook and the
//! packet's entry must tell.

use dropwatch_common::record::ct_insert::status;
use serde::Serialize;

use crate::{
    attach::spec,
    facts::{
        ConntrackEntry, FactKey,
        ruleset::{Subsystem, Target},
    },
    judge::View,
    model::{
        anchor::Drop,
        evidence::{CtState, Insertion, Reinjected},
        hook::Hook,
        tuple::Tuple,
    },
    netfilter::{Attribution, By, Place},
};

/// The connection whose entry is in the way.
pub struct Holder<'a> {
    /// Its original direction.
    pub original: Tuple,
    /// The answers it expects.
    pub reply: Tuple,
    /// Its `IPS_*` bits when it was seen.
    pub status: u32,
    /// Whether the kernel's clash path showed it, at that moment.
    pub by_kernel: bool,
    /// Conntrack's own word on it a little later.
    pub later: Later<'a>,
}

/// What conntrack says of a connection some time after the drop.
#[derive(Clone, Copy, Debug)]
pub enum Later<'a> {
    /// Nothing, or nothing in time.
    Unknown,
    /// It was gone by then.
    Gone,
    /// It was there.
    There {
        /// Its entry.
        entry: &'a ConntrackEntry,
        /// How long after the drop that was, in nanoseconds.
        after_ns: u64,
    },
}

impl<'a> Later<'a> {
    /// The entry, if it was there.
    pub fn entry(self) -> Option<&'a ConntrackEntry> {
        match self {
            Self::There { entry, .. } => Some(entry),
            Self::Unknown | Self::Gone => None,
        }
    }

    /// How long after the drop the entry was read, in nanoseconds.
    pub fn after_ns(self) -> u64 {
        match self {
            Self::There { after_ns, .. } => after_ns,
            Self::Unknown | Self::Gone => 0,
        }
    }
}

/// How two connections got into each other's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Two sources were translated to the same one.
    Snat,
    /// Two destinations of one source were translated to the same one.
    Dnat,
    /// They are one connection: the same packet was there twice.
    Duplicate,
    /// Anything else.
    Other,
}

/// Where conntrack or a rule of iptables dropped it; `None` when neither can have.
fn place(drop: &Drop) -> Option<Place> {
    let place = Place::of(drop)?;
    let verdict = drop.queue.as_ref().and_then(|trip| trip.back.as_ref());
    let wanted = verdict.is_some_and(Reinjected::is_drop);
    match place.by {
        By::Hooks => Some(place),
        // What came back from a queue program goes on at the same hook, and is freed there.
        By::Reinject if !wanted => Some(place),
        _ => None,
    }
}

/// Whether source translation was decided for the entry: the packet was past the last rules of iptables.
pub fn decided(insertion: &Insertion) -> bool {
    insertion.status & (status::SRC_NAT | status::SRC_NAT_DONE) != 0
}

/// The packet's entry, if it is new, not in the table, and the packet was dropped where conntrack enters it.
pub fn not_entered(drop: &Drop) -> Option<&Insertion> {
    let place = place(drop)?;
    let insertion = drop.insertion.as_ref()?;
    let new = matches!(insertion.state, CtState::New | CtState::Related);
    let last = match place.hook {
        Some(hook) => matches!(hook, Hook::Input | Hook::Postrouting),
        None => decided(insertion),
    };
    // Where addresses are translated at all, that is decided before the entry is made.
    let early = insertion.status & status::DST_NAT != 0 && !decided(insertion);
    let entered = insertion.status & status::CONFIRMED != 0;
    (new && last && !early && !entered).then_some(insertion)
}

/// Whether it was dropped where conntrack first sees it, before it had an entry.
pub fn not_tracked(drop: &Drop) -> bool {
    let hook = place(drop).and_then(|place| place.hook);
    drop.insertion.is_none() && matches!(hook, Some(Hook::Prerouting | Hook::Output))
}

/// Whether no rule that was loaded right after could have dropped it; `false` also while that is not known.
pub fn no_rule(drop: &Drop, view: &View<'_>) -> bool {
    let set = view.ruleset(drop.netns);
    let rules = set.and_then(|set| Attribution::of(drop, set, view.coverage()));
    // A translation needs an entry to fail.
    let fails = |target: Option<&Target>| {
        drop.insertion.is_some() || !matches!(target, Some(Target::Nat(_)))
    };
    rules.is_some_and(|rules| {
        let found = &rules.suspects;
        found.complete && !found.list.iter().any(|one| fails(one.target))
    })
}

/// Whether a rule there drops such a packet for sure.
pub fn by_rule(drop: &Drop, view: &View<'_>) -> bool {
    let set = view.ruleset(drop.netns);
    let rules = set.and_then(|set| Attribution::of(drop, set, view.coverage()));
    rules.is_some_and(|rules| rules.would_drop().is_some())
}

/// Whether nothing but conntrack drops where this one was dropped: iptables has no table behind the translation of
/// sources, and what nf_tables drops is freed elsewhere or, on older kernels, by rules that would be there.
pub fn only_conntrack(drop: &Drop, view: &View<'_>) -> bool {
    let subsystem = place(drop).and_then(|place| place.subsystem(view.coverage()));
    subsystem == Some(Subsystem::IpTables) || no_rule(drop, view)
}

/// Whether this run sees every clash: then what it did not see was none. A kprobe may be passed over without a word,
/// when another one's program is running on that processor (`bpf_prog_active`, kernel/trace/bpf_trace.c).
pub fn sees_clashes(view: &View<'_>) -> bool {
    let status = view.coverage().status(spec::CLASH.name);
    let flavour = status.and_then(|s| s.flavour.as_deref());
    flavour == Some(spec::Flavour::Fentry.name())
}

/// What conntrack says of the entry that holds a tuple.
fn ask<'a>(drop: &Drop, tuple: Tuple, zone: u16, view: &View<'a>) -> Later<'a> {
    let netns = drop.netns;
    let key = FactKey::Conntrack { netns, tuple, zone };
    match view.conntrack(netns, tuple, zone) {
        None => Later::Unknown,
        Some(entry) if !entry.found => Later::Gone,
        Some(entry) => Later::There {
            entry,
            after_ns: view.read_after_ns(&key).unwrap_or(0),
        },
    }
}

/// What is in the way of an entry.
pub enum InTheWay<'a> {
    /// This connection.
    Held(Holder<'a>),
    /// The kernel's clash path showed one that has nothing to do with the packet's entry.
    Other(Tuple),
    /// None: none was seen where clashes are seen, or conntrack had none when it was asked.
    Nothing,
    /// That is being asked, or conntrack did not answer.
    Unknown,
}

/// The connection in the way.
pub fn in_the_way<'a>(drop: &Drop, insertion: &Insertion, view: &View<'a>) -> InTheWay<'a> {
    let zone = insertion.zone;
    if let Some(clash) = &drop.clash {
        let same = clash.original == insertion.original;
        if !same && clash.reply != insertion.reply {
            return InTheWay::Other(clash.original);
        }
        let tuple = if same {
            insertion.original
        } else {
            insertion.reply
        };
        let later = match ask(drop, tuple, zone, view) {
            Later::There { entry, .. } if entry.original != Some(clash.original) => Later::Gone,
            later => later,
        };
        return InTheWay::Held(Holder {
            original: clash.original,
            reply: clash.reply,
            status: clash.status,
            by_kernel: true,
            later,
        });
    }
    if sees_clashes(view) {
        return InTheWay::Nothing;
    }
    let by_original = (insertion.reply != turned(&insertion.original))
        .then(|| ask(drop, insertion.original, zone, view));
    let answers = [Some(ask(drop, insertion.reply, zone, view)), by_original];
    let answers = answers.into_iter().flatten();
    let held = answers.clone().find_map(|later| {
        let entry = later.entry()?;
        Some(Holder {
            original: entry.original?,
            reply: entry.reply?,
            status: entry.status,
            by_kernel: false,
            later,
        })
    });
    match held {
        Some(holder) => InTheWay::Held(holder),
        None if answers.clone().all(|l| matches!(l, Later::Gone)) => InTheWay::Nothing,
        None => InTheWay::Unknown,
    }
}

/// The connection in the way, if there is one and it is known.
pub fn holder<'a>(drop: &Drop, insertion: &Insertion, view: &View<'a>) -> Option<Holder<'a>> {
    match in_the_way(drop, insertion, view) {
        InTheWay::Held(holder) => Some(holder),
        InTheWay::Other(_) | InTheWay::Nothing | InTheWay::Unknown => None,
    }
}

impl Holder<'_> {
    /// How it got into the way of this entry.
    pub fn kind(&self, insertion: &Insertion) -> Kind {
        let translated = |bit| insertion.status & bit != 0;
        if self.original == insertion.original {
            Kind::Duplicate
        } else if self.reply != insertion.reply {
            Kind::Other
        } else if translated(status::SRC_NAT) {
            Kind::Snat
        } else if translated(status::DST_NAT) {
            Kind::Dnat
        } else {
            Kind::Other
        }
    }

    /// Where it was learnt from.
    pub fn from(&self) -> Informant {
        if self.by_kernel {
            Informant::Kernel
        } else {
            Informant::Conntrack
        }
    }
}

/// Who showed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum Informant {
    /// The kernel, at the clash.
    Kernel,
    /// Conntrack, asked after.
    Conntrack,
}

/// The other direction of a tuple; of the answers' one: the packet as it would have left.
pub fn turned(reply: &Tuple) -> Tuple {
    Tuple {
        proto: reply.proto,
        src: reply.dst,
        dst: reply.src,
        sport: reply.dport,
        dport: reply.sport,
    }
}
