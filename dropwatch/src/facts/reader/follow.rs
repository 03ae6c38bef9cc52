//! Follows connections: asks conntrack again and again whether a later packet of them was entered.
//!
//! On a thread of its own, so that no other question waits for it; the thread starts with the first connection
//! and sleeps while there is none. What it answers is an estimate: a connection that got through and ended
//! between two questions is missed.

use std::{
    io,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::Builder,
    time::{Duration, Instant},
};

use dropwatch_common::record::ct_insert::status;

use super::{conntrack, netns::Namespaces};
use crate::{
    clock::monotonic_ns,
    facts::{Answer, ConntrackEntry, Fact, FactKey, Followed},
    model::tuple::Tuple,
};

/// Pause between two questions about a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Longest that a connection is followed. A TCP client has sent its first packet three times more by then,
/// a resolver has tried again at least once.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Longest that one question may take.
const QUESTION_LIMIT: Duration = Duration::from_millis(50);

/// Handle of the thread. Dropping it ends the thread after the question at hand.
pub struct Follower<A> {
    /// Before the thread is started: whom it will answer.
    answers: Option<A>,
    flows: Option<Sender<FactKey>>,
}

impl<A: FnMut(FactKey, Answer) + Send + 'static> Follower<A> {
    /// A follower; `answers` is called on its thread for each answer.
    #[must_use]
    pub fn new(answers: A) -> Self {
        Self {
            answers: Some(answers),
            flows: None,
        }
    }

    /// Begins to follow a connection ([`FactKey::Followed`]); never blocks.
    ///
    /// # Errors
    ///
    /// When the thread cannot be started.
    pub fn follow(&mut self, key: FactKey) -> io::Result<()> {
        if let Some(mut answers) = self.answers.take() {
            let mut namespaces = Namespaces::new()?;
            let (flows, new) = channel();
            Builder::new()
                .name("follow".into())
                .spawn(move || run(&mut namespaces, &new, &mut answers))?;
            self.flows = Some(flows);
        }
        if let Some(flows) = &self.flows {
            // The thread ends only after this handle.
            let _ = flows.send(key);
        }
        Ok(())
    }
}

/// A connection that is followed.
struct Flow {
    key: FactKey,
    /// When it was last not there; when its packet was lost before the first question.
    absent_ns: u64,
}

fn run(
    namespaces: &mut Namespaces,
    new: &Receiver<FactKey>,
    answers: &mut impl FnMut(FactKey, Answer),
) {
    let mut flows: Vec<Flow> = Vec::new();
    let mut next = Instant::now();
    loop {
        let wait = if flows.is_empty() {
            let wait = new.recv().map_err(|_| RecvTimeoutError::Disconnected);
            next = Instant::now() + PAUSE;
            wait
        } else {
            new.recv_timeout(next.saturating_duration_since(Instant::now()))
        };
        // A new one is looked at at once, the others at their time.
        let mut early = flows.len();
        match wait {
            Ok(key) => flows.extend(flow(key)),
            Err(RecvTimeoutError::Timeout) => {
                early = 0;
                next = Instant::now() + PAUSE;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
        flows.retain_mut(|flow| {
            if early > 0 {
                early -= 1;
                return true;
            }
            let Some(answer) = look(namespaces, flow) else {
                return true;
            };
            answers(flow.key.clone(), answer);
            false
        });
    }
}

fn flow(key: FactKey) -> Option<Flow> {
    match key {
        FactKey::Followed { from_ns, .. } => Some(Flow {
            key,
            absent_ns: from_ns,
        }),
        _ => None,
    }
}

/// Asks conntrack once; `None` while there is nothing to tell.
fn look(namespaces: &mut Namespaces, flow: &mut Flow) -> Option<Answer> {
    let FactKey::Followed {
        netns,
        tuple,
        zone,
        from_ns,
    } = flow.key
    else {
        return Some(Err("no connection".into()));
    };
    let until = Instant::now() + QUESTION_LIMIT;
    let asked_ns = monotonic_ns();
    match conntrack::read(namespaces, netns, &tuple, zone, until) {
        Ok(entry) => outcome(&entry, &tuple, from_ns, flow, asked_ns)
            .map(|followed| Ok(Fact::Followed(followed))),
        Err(why) => Some(Err(why)),
    }
}

/// What an answer says about a connection; `None` while it may still get through.
fn outcome(
    entry: &ConntrackEntry,
    tuple: &Tuple,
    from_ns: u64,
    flow: &mut Flow,
    now_ns: u64,
) -> Option<Followed> {
    let millis = |ns: u64| ns.div_ceil(1_000_000);
    let since = now_ns.saturating_sub(from_ns);
    // The hash has both directions: another connection's answers are not this one.
    let through = entry.found && entry.original.as_ref() == Some(tuple);
    if !through {
        flow.absent_ns = now_ns;
        if u128::from(since) < PATIENCE.as_nanos() {
            return None;
        }
    }
    Some(Followed {
        through,
        after_ms: millis(since),
        resolution_ms: millis(now_ns.saturating_sub(flow.absent_ns)).max(PAUSE.as_millis() as u64),
        state: entry.tcp_state.clone().filter(|_| through),
        answered: through && entry.status & status::SEEN_REPLY != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn tuple(sport: u16) -> Tuple {
        Tuple {
            proto: 6,
            src: [10, 0, 0, 1].into(),
            dst: [10, 0, 0, 2].into(),
            sport,
            dport: 80,
        }
    }

    fn entry(sport: u16) -> ConntrackEntry {
        ConntrackEntry {
            found: true,
            original: Some(tuple(sport)),
            status: status::SEEN_REPLY,
            tcp_state: Some("ESTABLISHED".into()),
            ..ConntrackEntry::default()
        }
    }

    fn following() -> Flow {
        flow(FactKey::Followed {
            netns: 1,
            tuple: tuple(1),
            zone: 0,
            from_ns: 1000 * MS,
        })
        .expect("a connection")
    }

    #[test]
    fn a_delay_is_measured_from_the_loss_and_no_better_than_between_two_questions() {
        let none = ConntrackEntry::default();
        let mut flow = following();
        let mut ask = |entry: &ConntrackEntry, ms: u64| {
            outcome(entry, &tuple(1), 1000 * MS, &mut flow, ms * MS)
        };
        assert_eq!(ask(&none, 1010), None);
        assert_eq!(ask(&entry(2), 1990), None, "another connection");
        let found = ask(&entry(1), 2043).expect("through");
        assert!(found.through && found.answered);
        assert_eq!((found.after_ms, found.resolution_ms), (1043, 100));
        assert_eq!(found.state.as_deref(), Some("ESTABLISHED"));
    }

    #[test]
    fn found_at_the_first_question_it_may_have_happened_any_time_before() {
        let found = outcome(&entry(1), &tuple(1), 1000 * MS, &mut following(), 1400 * MS);
        let found = found.expect("through");
        assert_eq!((found.after_ms, found.resolution_ms), (400, 400));
    }

    #[test]
    fn after_a_while_it_is_given_up() {
        let none = ConntrackEntry::default();
        let mut flow = following();
        let mut ask = |ms: u64| outcome(&none, &tuple(1), 1000 * MS, &mut flow, ms * MS);
        assert_eq!(ask(10_990), None);
        let never = ask(11_010).expect("given up");
        assert!(!never.through && !never.answered && never.state.is_none());
    }

    #[test]
    fn what_cannot_be_asked_is_answered_and_forgotten() {
        let (tell, told) = channel();
        let mut follower = Follower::new(move |key, fact| {
            let _ = tell.send((key, fact));
        });
        let key = following().key;
        follower.follow(key.clone()).expect("a thread");
        let (asked, fact) = told.recv_timeout(Duration::from_secs(5)).expect("answered");
        assert_eq!(asked, key);
        assert!(fact.is_err(), "{fact:?}");
        drop(follower);
        assert!(told.recv_timeout(Duration::from_secs(5)).is_err(), "ended");
    }
}
