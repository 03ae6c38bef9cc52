//! Groups drops and anomalies into cases, asks for facts, and lets the causes judge. Pure: time comes with the events,
//! memory is bounded, nothing is read or written.

use std::collections::{HashMap, HashSet};

use serde_json::json;

use super::{
    case::{Case, CaseKey, Repeat, State, Tally, Told},
    follow::{Fates, Flow, Following, Loss, Update},
    plain,
    view::{Store, View},
};
use crate::{
    causes::{Cause, Verdict, ipvs_conntrack},
    facts::{Fact, FactKey},
    model::{
        anchor::{Anchor, Drop},
        coverage::{Coverage, ProbeStatus},
        evidence::SysctlWrite,
        explanation::Explanation,
        ipvs::{IpvsReply, IpvsReset},
    },
};

/// Most cases; drops beyond that are counted in one case for all.
const MOST_CASES: usize = 4096;

/// A case is judged at the latest this long after its first drop, with the facts that are there. Longer than the
/// slowest fact, the rule set, may take; most are there within milliseconds.
const PATIENCE_NS: u64 = 4_000_000_000;

/// Pauses between counting lines of one case, in turn; the last one for ever.
const PAUSES_NS: [u64; 5] = [
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    60_000_000_000,
];

/// What the engine wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Tell of a new case.
    Told(Box<Told>),
    /// Tell of more drops.
    Repeat(Repeat),
    /// Tell what became of a connection.
    Update(Update),
    /// Read a fact.
    Ask(FactKey),
}

/// The engine.
pub struct Engine {
    causes: &'static [&'static dyn Cause],
    coverage: Coverage,
    index: HashMap<CaseKey, usize>,
    cases: Vec<Case>,
    waiting: HashSet<usize>,
    following: Following,
    store: Store,
}

impl Engine {
    /// An engine that judges by these causes.
    #[must_use]
    pub fn new(causes: &'static [&'static dyn Cause], coverage: Coverage) -> Self {
        Self {
            causes,
            coverage,
            index: HashMap::new(),
            cases: Vec::new(),
            waiting: HashSet::new(),
            following: Following::default(),
            store: Store::default(),
        }
    }

    /// Takes a drop.
    pub fn dropped(&mut self, drop: Box<Drop>, out: &mut Vec<Output>) {
        self.anchor(Anchor::Drop(drop), out);
    }

    /// Takes an anomaly of IPVS.
    pub fn ipvs_reply(&mut self, reply: Box<IpvsReply>, out: &mut Vec<Output>) {
        self.store.recent.replied((*reply).clone());
        self.anchor(Anchor::IpvsReply(reply), out);
    }

    /// Takes a reset that such an anomaly earned.
    pub fn ipvs_reset(&mut self, reset: IpvsReset, out: &mut Vec<Output>) {
        let now_ns = reset.time_ns;
        self.judge_late(now_ns, out);
        self.store.recent.reset(reset);
        let curious = self.waiting_for(|_, wake_ns| wake_ns.is_some());
        self.judge_all(curious, now_ns, out);
    }

    /// Takes the news of a probe.
    pub fn probe(&mut self, status: ProbeStatus) {
        self.coverage.update(status);
    }

    fn anchor(&mut self, anchor: Anchor, out: &mut Vec<Output>) {
        let now_ns = anchor.time_ns();
        self.judge_late(now_ns, out);
        let key = self.key(&anchor);
        let is_drop = anchor.drop().is_some();
        let loss = self.loss(&key, &anchor);
        if let Some(number) = self.index.get(&key) {
            let case = &mut self.cases[*number];
            case.drops += u64::from(is_drop);
            if is_drop == case.first.drop().is_some() {
                case.total += 1;
            } else if let Some(drop) = anchor.drop() {
                self.store.recent.linked(*number, drop);
            }
            if let Some(loss) = loss {
                let question = self.following.lost(*number, case, loss);
                out.extend(question.map(Output::Ask));
            }
            return;
        }
        let number = self.cases.len();
        self.index.insert(key, number);
        self.cases.push(Case {
            number: number as u32 + 1,
            first: anchor,
            total: 1,
            told: 1,
            drops: is_drop.into(),
            state: State::Waiting {
                until_ns: now_ns + PATIENCE_NS,
                asked: HashSet::new(),
                wake_ns: None,
            },
            fates: Fates::default(),
        });
        if let Some(loss) = loss {
            self.following.lost(number, &mut self.cases[number], loss);
        }
        self.waiting.insert(number);
        self.judge(number, now_ns, out);
    }

    /// The connection that lost a packet, if the cause that may be to blame wants it followed.
    fn loss(&self, key: &CaseKey, anchor: &Anchor) -> Option<Loss> {
        let cause = self.causes.get(key.cause)?;
        let drop = anchor.drop()?;
        let (tuple, zone) = cause.follow(drop)?;
        Some(Loss {
            cause: cause.id(),
            flow: Flow {
                netns: drop.netns,
                tuple,
                zone,
            },
            time_ns: drop.time_ns,
        })
    }

    /// Cases that wait and fulfil a condition on what they asked and when they wake.
    fn waiting_for(&self, wanted: impl Fn(&HashSet<FactKey>, Option<u64>) -> bool) -> Vec<usize> {
        let waiting = self.waiting.iter().copied();
        waiting
            .filter(|case| match &self.cases[*case].state {
                State::Waiting { asked, wake_ns, .. } => wanted(asked, *wake_ns),
                State::Told { .. } => false,
            })
            .collect()
    }

    /// Takes a sysctl write.
    pub fn sysctl_write(&mut self, write: SysctlWrite) {
        if write.key == ipvs_conntrack::SYSCTL {
            let on = write.new != "0";
            self.store.recent.switched(write.netns, write.time_ns, on);
        }
        self.store.wrote(write);
    }

    /// Takes an answer, read at `now_ns`.
    pub fn fact(&mut self, key: FactKey, fact: Fact, now_ns: u64, out: &mut Vec<Output>) {
        self.judge_late(now_ns, out);
        if let FactKey::Followed { .. } = key {
            self.followed(&key, fact, out);
            return;
        }
        let concerned = self.waiting_for(|asked, _| asked.contains(&key));
        self.store.insert(key, fact, now_ns);
        self.judge_all(concerned, now_ns, out);
    }

    fn followed(&mut self, key: &FactKey, fact: Fact, out: &mut Vec<Output>) {
        let told = self.following.answered(key, fact, &mut self.cases);
        let Some((number, tuple, outcome)) = told else {
            return;
        };
        let case = &self.cases[number];
        let State::Told { cause, .. } = case.state else {
            return;
        };
        let cause_of = self.causes.iter().find(|c| Some(c.id()) == cause);
        let Some(text) = cause_of.and_then(|c| c.followed(&tuple, &outcome)) else {
            return;
        };
        out.push(Output::Update(Update {
            case: case.number,
            cause,
            text,
            facts: json!({ "followed": {
                "tuple": tuple,
                "through": outcome.through,
                "after_ms": outcome.after_ms,
                "resolution_ms": outcome.resolution_ms,
                "state": outcome.state,
                "answered": outcome.answered,
            }}),
        }));
    }

    /// Judges the cases that waited too long. Before every event, not only now and then: what comes too late for
    /// a case is then too late in a replay as well.
    fn judge_late(&mut self, now_ns: u64, out: &mut Vec<Output>) {
        let late: Vec<usize> = self
            .waiting
            .iter()
            .copied()
            .filter(|case| match self.cases[*case].state {
                State::Waiting {
                    until_ns, wake_ns, ..
                } => until_ns <= now_ns || wake_ns.is_some_and(|at| at <= now_ns),
                State::Told { .. } => false,
            })
            .collect();
        self.judge_all(late, now_ns, out);
    }

    /// Lets time pass: cases that waited too long are judged, counting lines come out.
    pub fn advance(&mut self, now_ns: u64, out: &mut Vec<Output>) {
        self.judge_late(now_ns, out);
        self.store.expire(now_ns);
        for case in &mut self.cases {
            if let State::Told {
                line_ns, pause_ns, ..
            } = &mut case.state
                && case.total > case.told
                && *line_ns + *pause_ns <= now_ns
            {
                *line_ns = now_ns;
                *pause_ns = PAUSES_NS
                    .into_iter()
                    .find(|p| p > pause_ns)
                    .unwrap_or(*pause_ns);
                out.extend(repeat(case));
            }
        }
    }

    /// The end: everything that is still open is judged and counted.
    pub fn finish(&mut self, now_ns: u64, out: &mut Vec<Output>) -> Vec<Tally> {
        let open = self.waiting.iter().copied().collect();
        self.judge_all(open, now_ns.saturating_add(PATIENCE_NS), out);
        for case in &mut self.cases {
            out.extend(repeat(case));
        }
        self.cases
            .iter()
            .filter_map(|case| match &case.state {
                State::Told { cause, title, .. } => Some(Tally {
                    case: case.number,
                    cause: *cause,
                    title: title.clone(),
                    total: case.total,
                    drops: case.drops,
                    outcomes: self.follows(*cause).then(|| case.fates.outcomes()),
                }),
                State::Waiting { .. } => None,
            })
            .collect()
    }

    /// Whether a cause follows the connections that lost a packet.
    fn follows(&self, cause: Option<&str>) -> bool {
        let cause = self.causes.iter().find(|c| Some(c.id()) == cause);
        cause.is_some_and(|c| c.follows())
    }

    /// Cases that still wait for facts.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn key(&self, anchor: &Anchor) -> CaseKey {
        let claimed = self.causes.iter().enumerate().find_map(|(cause, c)| {
            Some(CaseKey {
                cause,
                subject: c.subject(anchor, &self.store.recent)?,
            })
        });
        let of_none = |subject| CaseKey {
            cause: self.causes.len(),
            subject,
        };
        let key = claimed.unwrap_or_else(|| of_none(anchor.drop().map_or([0; 5], plain::subject)));
        if self.cases.len() < MOST_CASES || self.index.contains_key(&key) {
            return key;
        }
        of_none([u64::MAX; 5])
    }

    /// In the order of their numbers, so that the same events give the same lines.
    fn judge_all(&mut self, mut cases: Vec<usize>, now_ns: u64, out: &mut Vec<Output>) {
        cases.sort_unstable();
        for case in cases {
            self.judge(case, now_ns, out);
        }
    }

    fn judge(&mut self, number: usize, now_ns: u64, out: &mut Vec<Output>) {
        let blind = self.blind();
        let case = &mut self.cases[number];
        let State::Waiting {
            until_ns,
            asked,
            wake_ns,
        } = &mut case.state
        else {
            return;
        };
        let last_chance = *until_ns <= now_ns;
        let opened_ns = case.first.time_ns();
        let view = View::new(
            &self.store,
            &self.coverage,
            number,
            opened_ns,
            now_ns,
            last_chance,
        );
        let Some((cause, explanation)) = verdict(self.causes, &case.first, &view) else {
            let mut new: Vec<_> = view
                .wanted()
                .into_iter()
                .filter(|k| !asked.contains(k))
                .collect();
            // A set has no order of its own; captures should.
            new.sort_by_cached_key(|k| format!("{k:?}"));
            asked.extend(new.iter().cloned());
            *wake_ns = view.wake_ns();
            out.extend(new.into_iter().map(Output::Ask));
            return;
        };
        self.waiting.remove(&number);
        let judged = self
            .causes
            .iter()
            .enumerate()
            .find(|(_, c)| Some(c.id()) == cause);
        for (cause, subject) in judged.into_iter().flat_map(|(index, c)| {
            c.aliases(&case.first, &explanation)
                .into_iter()
                .map(move |s| (index, s))
        }) {
            self.index
                .entry(CaseKey { cause, subject })
                .or_insert(number);
        }
        case.state = State::Told {
            cause,
            title: explanation.title.clone(),
            line_ns: now_ns,
            pause_ns: PAUSES_NS[0],
        };
        let netns_name = view.netns(case.first.netns()).and_then(|n| n.name.clone());
        let blind = if cause.is_some() { Vec::new() } else { blind };
        out.push(Output::Told(Box::new(Told {
            case: case.number,
            cause,
            anchor: case.first.clone(),
            netns_name,
            explanation,
            blind,
        })));
        let questions = self.following.told(number, &mut self.cases[number]);
        out.extend(questions.into_iter().map(Output::Ask));
    }

    /// Causes that this run cannot judge.
    fn blind(&self) -> Vec<String> {
        self.causes
            .iter()
            .filter_map(|c| Some(format!("{}: {}", c.id(), c.blind(&self.coverage)?)))
            .collect()
    }
}

/// What the causes say, or the plain explanation; `None` while facts are missing.
fn verdict(
    causes: &[&'static dyn Cause],
    anchor: &Anchor,
    view: &View<'_>,
) -> Option<(Option<&'static str>, Explanation)> {
    for cause in causes {
        if cause.subject(anchor, view.recent()).is_none() {
            continue;
        }
        match cause.judge(anchor, view) {
            Verdict::Mine(explanation) => return Some((Some(cause.id()), *explanation)),
            Verdict::Wait => return None,
            Verdict::NotMine => {}
        }
    }
    match anchor {
        Anchor::Drop(drop) => Some((None, plain::explain(drop, view)?)),
        Anchor::IpvsReply(_) => None,
    }
}

fn repeat(case: &mut Case) -> Option<Output> {
    let State::Told { cause, title, .. } = &case.state else {
        return None;
    };
    let count = case.total - case.told;
    case.told = case.total;
    (count > 0).then(|| {
        Output::Repeat(Repeat {
            case: case.number,
            cause: *cause,
            title: title.clone(),
            count,
            total: case.total,
        })
    })
}
