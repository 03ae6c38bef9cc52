//! A case: drops, or anomalies with what they lead to, of which one explanation is true.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::{
    follow::{Fates, Outcomes},
    touched::{Device, Flow, Touched},
};
use crate::{
    judge::Key,
    model::{
        anchor::Anchor,
        counts::{Kind, KindCount},
        explanation::Explanation,
    },
};

/// Most of the kernel's kinds that a case remembers having drops of.
const MOST_KINDS: usize = 256;

/// What tells cases apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CaseKey {
    /// The answer's own key, in a namespace.
    Answer {
        /// The namespace.
        netns: NetnsId,
        /// Id of the cause.
        cause: &'static str,
        /// The cause's key.
        key: Key,
    },
    /// All but the first answers of a family.
    Rest {
        /// The namespace.
        netns: NetnsId,
        /// What they have in common.
        family: Key,
    },
    /// What there was no room for.
    Overflow,
}

/// A network namespace: numbers are given to another one when their owner is gone, cookies are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetnsId {
    /// Inode number.
    pub inum: u32,
    /// `net->net_cookie`; 0 where the kernel has none.
    pub cookie: u64,
}

/// What was seen of something, in detail.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Anchors of the first one's sort.
    pub total: u64,
    /// Dropped packets: all anchors, or what anomalies led to.
    pub drops: u64,
    /// Devices and flows.
    pub touched: Touched,
    /// The kinds that the kernel counted these drops under, with how many of them.
    pub kinds: BTreeMap<Kind, u64>,
}

impl Seen {
    /// Takes an anchor; `of_sort` says whether it is of the first one's sort.
    pub fn add(&mut self, anchor: &Anchor, of_sort: bool) {
        self.total += u64::from(of_sort);
        if let Some(drop) = anchor.drop() {
            self.drops += 1;
            self.touched.add(drop);
            self.of_kind(Kind::of(drop), 1);
        }
    }

    /// Takes what another one saw.
    pub fn merge(&mut self, other: Self) {
        self.total += other.total;
        self.drops += other.drops;
        self.touched.merge(other.touched);
        for (kind, count) in other.kinds {
            self.of_kind(kind, count);
        }
    }

    fn of_kind(&mut self, kind: Kind, count: u64) {
        if self.kinds.len() < MOST_KINDS || self.kinds.contains_key(&kind) {
            *self.kinds.entry(kind).or_default() += count;
        }
    }
}

/// An explained case.
#[derive(Debug)]
pub struct Case {
    /// Number, from 1, in the order of the explanations.
    pub number: u32,
    /// What tells it from others.
    pub key: CaseKey,
    /// The cause; `None` for a plain one.
    pub cause: Option<&'static str>,
    /// Title of the explanation.
    pub title: String,
    /// Whether its first anchor is a dropped packet.
    pub of_drops: bool,
    /// What was seen of it.
    pub seen: Seen,
    /// Anchors that the user has been told of.
    pub told: u64,
    /// Whether the options leave it out of the output.
    pub hidden: bool,
    /// When its last anchor came, `CLOCK_MONOTONIC`, nanoseconds.
    pub last_ns: u64,
    /// When the last line about it was due.
    pub line_ns: u64,
    /// Pause before the next line.
    pub pause_ns: u64,
    /// What became of the connections that lost a packet.
    pub fates: Fates,
}

/// How many there were, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Numbers {
    /// Drops of the case that came in detail; of an anomaly, how often it was seen.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub total: u64,
    /// All drops of the case, if every one came in detail; `None` where that is not so, or not known.
    pub exact: Option<u64>,
    /// Where not every one came in detail: all drops of the kinds (reason, place, device, namespace) that these belong
    /// to, by the kernel's exact counters. Other cases may have a part in them.
    pub of_kind: Option<u64>,
}

impl Numbers {
    /// As a phrase: `12`, or `at least 12 of 3000 of this kind`.
    #[must_use]
    pub fn text(&self) -> String {
        match (self.exact, self.of_kind) {
            (Some(exact), _) => exact.to_string(),
            (None, Some(all)) => format!("at least {} of {all} of this kind", self.total),
            (None, None) => format!("at least {}", self.total),
        }
    }
}

/// A case that was explained just now.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Case number.
    pub case: u32,
    /// The cause; `None` for a plain drop.
    pub cause: Option<&'static str>,
    /// The first anchor.
    pub anchor: Anchor,
    /// Name of its namespace.
    pub netns_name: Option<String>,
    /// The explanation.
    pub explanation: Explanation,
    /// Causes that could not be judged, and why (plain drops only).
    pub blind: Vec<String>,
}

/// More of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Repeat {
    /// Number of the case, from 1.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub case: u32,
    /// Stem of the cause; null when none claims the drop.
    #[cfg_attr(test, schemars(regex(pattern = "^[a-z_]+$")))]
    pub cause: Option<&'static str>,
    /// Title of the explanation.
    #[serde(skip)]
    pub title: String,
    /// Those that came in detail since the last line about the case.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub count: u64,
    /// All so far.
    #[serde(flatten)]
    pub numbers: Numbers,
    /// On so many devices so far, at most 64.
    #[cfg_attr(test, schemars(range(max = super::touched::MOST)))]
    pub devices: usize,
}

/// A case in the summary.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tally {
    /// Number of the case, from 1.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub case: u32,
    /// Stem of the cause; null when none claims the drop.
    #[cfg_attr(test, schemars(regex(pattern = "^[a-z_]+$")))]
    pub cause: Option<&'static str>,
    /// A fragment that reads well after a count.
    pub title: String,
    /// How many: drops, or of an anomaly how often it happened.
    #[serde(flatten)]
    pub numbers: Numbers,
    /// Dropped packets of the case that came in detail, those that an anomaly led to included.
    pub drops: u64,
    /// Devices of its drops, the one with most first, at most 64.
    pub devices: Vec<DeviceCount>,
    /// Flows of its drops whatever their source ports, the one with most first, at most 64.
    pub flows: Vec<FlowCount>,
    /// Drops of further devices, which are too many to be told apart.
    pub other_devices: u64,
    /// Drops of further flows.
    pub other_flows: u64,
    /// What became of its connections; `None` for causes that follow none.
    pub outcomes: Option<Outcomes>,
}

/// Drops on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeviceCount {
    /// The device.
    #[serde(flatten)]
    pub device: Device,
    /// Drops, in detail.
    pub count: u64,
}

/// Drops of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FlowCount {
    /// The flow.
    #[serde(flatten)]
    pub flow: Flow,
    /// Drops, in detail.
    pub count: u64,
}

/// The kernel's exact counts of kinds that did not all come in detail.
#[derive(Debug, Default)]
pub struct Losses {
    kinds: HashMap<Kind, u64>,
    /// There were drops under no kind.
    keyless: bool,
    /// Whether this is told at all: older captures do not.
    known: bool,
}

impl Losses {
    /// Of a run; `known` says whether it tells of every kind that lost detail.
    #[must_use]
    pub fn new(known: bool) -> Self {
        Self {
            known,
            ..Self::default()
        }
    }

    /// Takes counts.
    pub fn take(&mut self, counted: &[KindCount], keyless: bool) {
        self.keyless |= keyless;
        for one in counted {
            self.kinds.insert(one.kind, one.count);
        }
    }

    /// Every drop that there was came in detail: a ledger says so at the end.
    pub fn nothing_lost(&mut self) {
        self.known = true;
    }

    /// Forgets the kinds of a namespace.
    pub fn forget_netns(&mut self, netns: u32) {
        self.kinds.retain(|kind, _| kind.netns != netns);
    }

    fn numbers(&self, case: &Case) -> Numbers {
        let seen = &case.seen;
        let lossy = seen.kinds.keys().any(|kind| self.kinds.contains_key(kind));
        let sure = self.known && !self.keyless && seen.kinds.len() < MOST_KINDS;
        // Anomalies are no drops, and only the first of every connection is sent.
        let exact = sure && case.of_drops && !lossy;
        let all = |(kind, own): (&Kind, &u64)| self.kinds.get(kind).copied().unwrap_or(*own);
        let of_kind = sure && case.of_drops && lossy;
        Numbers {
            total: seen.total,
            exact: exact.then_some(seen.total),
            of_kind: of_kind.then(|| seen.kinds.iter().map(all).sum()),
        }
    }
}

impl Case {
    /// How many there were.
    #[must_use]
    pub fn numbers(&self, losses: &Losses) -> Numbers {
        losses.numbers(self)
    }

    /// A line about what came since the last one.
    pub fn repeat(&mut self, losses: &Losses) -> Option<Repeat> {
        let count = self.seen.total - self.told;
        self.told = self.seen.total;
        (count > 0).then(|| Repeat {
            case: self.number,
            cause: self.cause,
            title: self.title.clone(),
            count,
            numbers: self.numbers(losses),
            devices: self.seen.touched.devices.len(),
        })
    }

    /// Its line in the summary.
    #[must_use]
    pub fn tally(&self, losses: &Losses, follows: bool) -> Tally {
        let touched = &self.seen.touched;
        let devices = touched.devices.largest().into_iter();
        let flows = touched.flows.largest().into_iter();
        Tally {
            case: self.number,
            cause: self.cause,
            title: self.title.clone(),
            numbers: self.numbers(losses),
            drops: self.seen.drops,
            devices: devices
                .map(|(device, count)| DeviceCount { device, count })
                .collect(),
            flows: flows
                .map(|(flow, count)| FlowCount { flow, count })
                .collect(),
            other_devices: touched.devices.beyond(),
            other_flows: touched.flows.beyond(),
            outcomes: follows.then(|| self.fates.outcomes()),
        }
    }
}
