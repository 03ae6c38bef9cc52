//! Takes everything that happens, asks for facts, lets the causes judge, and groups what they say into cases. Pure: time
//! comes with the events, memory is bounded, nothing is read or written. Names no cause.
//!
//! A case is an answer: every drop is judged (once for what cannot make a difference, see [`super::class`]), and those
//! of which the same explanation is true are one case.

mod settle;
pub mod together;

use std::collections::HashMap;

use super::{
    case::{Losses, Repeat, Report, Tally},
    cases::{Cases, Closed},
    class::{self, Class},
    follow::{Flow, FollowedConnection, Following, Loss, Update, UpdateFacts},
    memo::{Known, Memo},
    pending::{self, Pending, Waiting},
};
use crate::{
    event::Event,
    facts::{
        Fact, FactKey,
        ruleset::{Ruleset, Test},
    },
    judge::{Answer, Cause, Judgement, View, store::Store},
    model::{
        anchor::{Anchor, Drop},
        coverage::Coverage,
    },
    netfilter::Place,
};

/// Something is judged at the latest this long after it came, with the facts that are there. Longer than the slowest
/// fact, the rule set, may take; most are there within milliseconds.
const PATIENCE_NS: u64 = 4_000_000_000;

/// Most namespaces whose identity is remembered.
const MOST_NAMESPACES: usize = 16_384;

/// What the engine wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// A case was explained.
    Report(Box<Report>),
    /// There is more of a case.
    Repeat(Repeat),
    /// What became of a connection.
    Update(Update),
    /// Read a fact.
    Ask(FactKey),
    /// A namespace's number has another owner: its name is not known any more.
    Renewed(u32),
}

/// The engine.
pub struct Engine {
    /// The last one is the plain explanation.
    causes: Vec<Box<dyn Cause>>,
    coverage: Coverage,
    store: Store,
    cases: Cases,
    waiting: Waiting,
    memo: Memo,
    following: Following,
    losses: Losses,
    /// The cookie of the namespace that has a number.
    owners: HashMap<u32, u64>,
    /// Whether the rules of a namespace ask for source ports.
    source_ports: HashMap<u32, bool>,
}

impl Engine {
    /// An engine that judges by these causes, the plain explanation being the last; `tells_losses` says whether ticks
    /// tell of every kind of drops that lost detail.
    #[must_use]
    pub fn new(causes: Vec<Box<dyn Cause>>, coverage: Coverage, tells_losses: bool) -> Self {
        Self {
            causes,
            coverage,
            store: Store::default(),
            cases: Cases::default(),
            waiting: Waiting::default(),
            memo: Memo::default(),
            following: Following::default(),
            losses: Losses::new(tells_losses),
            owners: HashMap::new(),
            source_ports: HashMap::new(),
        }
    }

    /// Takes what happened.
    pub fn take(&mut self, event: &Event, out: &mut Vec<Output>) {
        let now_ns = event.time_ns();
        if let Event::Drop(drop) = event {
            self.identify(drop.netns, drop.netns_cookie, out);
        }
        for cause in &mut self.causes {
            cause.observe(event);
        }
        match event {
            Event::Drop(drop) => self.anchor(Anchor::Drop(drop.clone()), out),
            Event::IpvsReply(reply) => self.anchor(Anchor::IpvsReply(reply.clone()), out),
            Event::IpvsReset(_) => {
                self.judge_late(now_ns, out);
                let curious = self.waiting.curious();
                self.judge_all(curious, now_ns, out);
            }
            Event::SysctlWrite(write) => self.store.wrote(write.clone()),
            Event::Probe { status, .. } => self.coverage.update(status.clone()),
            Event::Fact { key, fact, .. } => self.fact(key, fact.clone(), now_ns, out),
            Event::Tick {
                counted, keyless, ..
            } => self.losses.take(counted, *keyless),
            Event::End { .. } => {}
        }
    }

    /// Notices when a namespace's number was given to another one: what was known of the old one must not be said of it.
    fn identify(&mut self, inum: u32, cookie: u64, out: &mut Vec<Output>) {
        if cookie == 0 || inum == 0 {
            return;
        }
        match self.owners.insert(inum, cookie) {
            Some(before) if before != cookie => {
                self.store.forget_netns(inum);
                self.memo.forget_netns(inum);
                self.losses.forget_netns(inum);
                self.source_ports.remove(&inum);
                out.push(Output::Renewed(inum));
            }
            None if self.owners.len() > MOST_NAMESPACES => {
                self.owners.clear();
                self.owners.insert(inum, cookie);
            }
            _ => {}
        }
    }

    fn anchor(&mut self, anchor: Anchor, out: &mut Vec<Output>) {
        let now_ns = anchor.time_ns();
        self.judge_late(now_ns, out);
        let class = self.class(&anchor);
        let loss = self.loss(&anchor);
        let known = self.memo.get(&class, now_ns);
        if let Some(Known::Case(number)) = known
            && let Some(case) = self.cases.get(number)
        {
            case.last_ns = case.last_ns.max(now_ns);
            case.seen
                .add(&anchor, case.of_drops == anchor.drop().is_some());
            if let Some(loss) = loss {
                out.extend(self.following.lost(case, loss).map(Output::Ask));
            }
            return;
        }
        if let Some(pending) = self.waiting.of_class(&class) {
            pending.add(&anchor);
            if let Some(loss) = loss {
                pending.lost(loss);
            }
            return;
        }
        let previous = known.map(|known| match known {
            Known::Case(number) | Known::Once(number) => number,
        });
        let mut pending = Pending::new(class, anchor, PATIENCE_NS, previous);
        if let Some(loss) = loss {
            pending.lost(loss);
        }
        if self.waiting.len() >= pending::MOST {
            self.overflow(pending, now_ns, out);
            return;
        }
        let number = self.waiting.insert(pending);
        self.judge(number, now_ns, out);
    }

    fn class(&self, anchor: &Anchor) -> Class {
        let mut causes = self.causes.iter().enumerate();
        let by_cause = causes.find_map(|(index, cause)| Some((index, cause.class(anchor)?)));
        let by_netfilter = |drop: &Drop| Place::of(drop).is_some();
        let ports = match self.source_ports.get(&anchor.netns()) {
            Some(asked) => *asked,
            None => anchor.drop().is_some_and(by_netfilter),
        };
        class::of_anchor(anchor, by_cause, ports)
    }

    /// The connection that lost a packet, if a cause that may be to blame wants it followed.
    fn loss(&self, anchor: &Anchor) -> Option<Loss> {
        let drop = anchor.drop()?;
        self.causes.iter().find_map(|cause| {
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
        })
    }

    /// Takes an answer.
    fn fact(&mut self, key: &FactKey, fact: Fact, now_ns: u64, out: &mut Vec<Output>) {
        self.judge_late(now_ns, out);
        if let FactKey::Followed { .. } = key {
            self.followed(key, &fact, out);
            return;
        }
        if let (FactKey::Ruleset { netns }, Fact::Ruleset(set)) = (key, &fact) {
            self.new_rules(*netns, set);
        }
        self.store.insert(key.clone(), fact, now_ns);
        let concerned = self.waiting.asking(key);
        self.judge_all(concerned, now_ns, out);
    }

    /// Where the rules are others than before, what was judged by them does not hold any more.
    fn new_rules(&mut self, netns: u32, set: &Ruleset) {
        let key = FactKey::Ruleset { netns };
        let before = self.store.get(&key, 0);
        let same = matches!(before, Some((Fact::Ruleset(old), _)) if old.same_rules(set));
        if before.is_some() && !same {
            self.memo.forget_netns(netns);
        }
        if self.source_ports.len() >= MOST_NAMESPACES {
            self.source_ports.clear();
        }
        self.source_ports.insert(netns, asks_source_ports(set));
    }

    fn followed(&mut self, key: &FactKey, fact: &Fact, out: &mut Vec<Output>) {
        let Some((number, tuple, first)) = self.following.answered(key) else {
            return;
        };
        let Some(case) = self.cases.get(number) else {
            return;
        };
        let outcome = match fact {
            Fact::Followed(outcome) => Some(outcome),
            _ => None,
        };
        case.fates.ended(outcome);
        let Some(outcome) = outcome.filter(|_| first) else {
            return;
        };
        let cause = case.cause;
        let cause_of = self.causes.iter().find(|c| Some(c.id()) == cause);
        let Some(text) = cause_of.and_then(|c| c.followed(&tuple, outcome)) else {
            return;
        };
        out.push(Output::Update(Update {
            case: number,
            cause,
            text,
            facts: UpdateFacts {
                followed: FollowedConnection {
                    tuple,
                    outcome: outcome.clone(),
                },
            },
        }));
    }

    /// Judges what waited too long. Before every event, not only now and then: what comes too late is then too late in
    /// a replay as well.
    fn judge_late(&mut self, now_ns: u64, out: &mut Vec<Output>) {
        let due = self.waiting.due(now_ns);
        self.judge_all(due, now_ns, out);
    }

    /// Lets time pass: what waited too long is judged, counting lines come out.
    pub fn advance(&mut self, now_ns: u64, out: &mut Vec<Output>) {
        self.judge_late(now_ns, out);
        self.store.expire(now_ns);
        self.memo.expire(now_ns);
        for cause in &mut self.causes {
            cause.expire(now_ns);
        }
        let mut repeats = Vec::new();
        self.cases.advance(now_ns, &self.losses, &mut repeats);
        out.extend(repeats.into_iter().map(Output::Repeat));
    }

    /// The end: everything that is still open is judged and counted.
    pub fn finish(&mut self, now_ns: u64, out: &mut Vec<Output>) {
        let open = self.waiting.all();
        self.judge_all(open, now_ns.saturating_add(PATIENCE_NS), out);
        let mut repeats = Vec::new();
        self.cases.finish(&self.losses, &mut repeats);
        out.extend(repeats.into_iter().map(Output::Repeat));
    }

    /// Lines of the summary.
    #[must_use]
    pub fn tallies(&self) -> Vec<Tally> {
        let tallies = self
            .cases
            .tallies(&self.losses, |cause| self.follows(cause));
        tallies.collect()
    }

    /// Dropped packets in cases: those shown, and those that the options leave out.
    #[must_use]
    pub fn drops(&self) -> (u64, u64) {
        self.cases.drops()
    }

    /// Cases that were closed before the end.
    #[must_use]
    pub fn closed(&self) -> Closed {
        self.cases.closed()
    }

    /// Every drop that there was came in detail.
    pub fn nothing_lost(&mut self) {
        self.losses.nothing_lost();
    }

    /// The options leave a case out.
    pub fn hide(&mut self, number: u32) {
        if let Some(case) = self.cases.get(number) {
            case.hidden = true;
        }
    }

    /// Whether the options leave a case out.
    #[must_use]
    pub fn is_hidden(&mut self, number: u32) -> bool {
        self.cases.get(number).is_some_and(|case| case.hidden)
    }

    /// Whether a cause follows the connections that lost a packet.
    fn follows(&self, cause: Option<&str>) -> bool {
        let cause = self.causes.iter().find(|c| Some(c.id()) == cause);
        cause.is_some_and(|c| c.follows())
    }

    /// Judgements that still wait for facts.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn judge_all(&mut self, numbers: Vec<u64>, now_ns: u64, out: &mut Vec<Output>) {
        for number in numbers {
            self.judge(number, now_ns, out);
        }
    }

    fn judge(&mut self, number: u64, now_ns: u64, out: &mut Vec<Output>) {
        let Some(pending) = self.waiting.get(number) else {
            return;
        };
        let last_chance = pending.until_ns <= now_ns;
        let opened_ns = pending.anchor.time_ns();
        let view = View::new(&self.store, &self.coverage, opened_ns, now_ns, last_chance);
        let Some((cause, answer)) = verdict(&self.causes, &pending.anchor, &view) else {
            let mut new: Vec<_> = view
                .wanted()
                .into_iter()
                .filter(|k| !pending.asked.contains(k))
                .collect();
            // A set has no order of its own; captures should.
            new.sort_by_cached_key(|k| format!("{k:?}"));
            self.waiting.waits(number, new.clone(), view.wake_ns());
            for key in new {
                // An answer that is on its way will do for all that wait for it.
                if !self.store.is_asked(&key) {
                    self.store.asked(&key, now_ns);
                    out.push(Output::Ask(key));
                }
            }
            return;
        };
        let netns_name = view
            .netns(pending.anchor.netns())
            .and_then(|n| n.name.clone());
        let late = view.late();
        let Some(pending) = self.waiting.remove(number) else {
            return;
        };
        // Without its facts a class is still what it was when they were there.
        if late
            && let Some(previous) = pending.previous
            && self.cases.get(previous).is_some()
        {
            self.join(previous, pending, now_ns, out);
            return;
        }
        self.settle(pending, cause, answer, netns_name, now_ns, out);
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
    causes: &[Box<dyn Cause>],
    anchor: &Anchor,
    view: &View<'_>,
) -> Option<(&'static str, Answer)> {
    let (plain, causes) = causes.split_last()?;
    for cause in causes {
        match cause.judge(anchor, view) {
            Judgement::Mine(answer) => return Some((cause.id(), *answer)),
            Judgement::Wait => return None,
            Judgement::NotMine => {}
        }
    }
    let words = anchor
        .drop()
        .and_then(|drop| causes.iter().find_map(|cause| cause.words(drop, view)));
    if let Some(words) = words {
        view.pass_words(words);
    }
    match plain.judge(anchor, view) {
        Judgement::Mine(answer) => Some((plain.id(), *answer)),
        Judgement::Wait | Judgement::NotMine => None,
    }
}

fn asks_source_ports(set: &Ruleset) -> bool {
    let rules = set.chains.iter().flat_map(|chain| &chain.rules);
    let mut tests = rules.flat_map(|rule| &rule.matches).map(|one| &one.test);
    tests.any(|test| matches!(test, Test::SourcePort(_) | Test::EitherPort(_)))
}
