//! Reads facts from the live configuration, on a thread of its own.
//!
//! The thread enters the network namespace asked about just long enough to open a netlink socket there
//! (or to read `/proc/sys/net`), and leaves it again: it keeps no namespace alive. Nothing is written.
//! Every failure is an answer, a [`super::FactError`] with the reason.

pub(crate) mod child;
mod conntrack;
pub mod follow;
mod groups;
mod ipvs;
mod link;
mod lookup;
mod module;
mod neighbour;
mod netlink;
mod netns;
mod owner;
mod parse;
mod places;
mod pod;
mod process;
mod queues;
mod route;
mod rp_filter;
mod rules;
pub(crate) mod ruleset;
pub mod selected;

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::{Answer, Fact, FactKey};
use netns::Namespaces;
#[cfg(any(test, fuzzing))]
pub use ruleset::samples;

/// Longest that one question may take; [`ruleset`], which runs other programs, has a limit of its own.
const QUESTION_LIMIT: Duration = Duration::from_millis(300);

/// Most questions that wait; what comes on top is answered with that.
const MOST_WAITING: usize = 4096;

/// Longest that dropping the [`Reader`] waits for a question that is being answered.
const STOP_LIMIT: Duration = Duration::from_secs(1);

/// Handle of the thread that reads facts. Dropping it stops the thread.
pub struct Reader {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    ended: Receiver<()>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

/// The questions that wait.
#[derive(Default)]
struct Queue {
    order: VecDeque<FactKey>,
    waiting: HashSet<FactKey>,
    refused: VecDeque<FactKey>,
    stop: bool,
}

/// What the thread does next.
enum Job {
    Answer(FactKey),
    Refuse(FactKey),
}

impl Queue {
    /// Adds a question unless it waits already; says whether it was added.
    fn push(&mut self, key: FactKey) -> bool {
        if self.stop || self.waiting.contains(&key) {
            return false;
        }
        self.waiting.insert(key.clone());
        if self.order.len() < MOST_WAITING {
            self.order.push_back(key);
        } else {
            self.refused.push_back(key);
        }
        true
    }

    fn pop(&mut self) -> Option<Job> {
        let job = match self.refused.pop_front() {
            Some(key) => Job::Refuse(key),
            None => Job::Answer(self.order.pop_front()?),
        };
        let (Job::Answer(key) | Job::Refuse(key)) = &job;
        self.waiting.remove(key);
        Some(job)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next job; `None` when it is time to stop.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.stop {
                return None;
            }
            if let Some(job) = queue.pop() {
                return Some(job);
            }
            queue = self
                .wake
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Reader {
    /// Starts the thread. `answers` is called on it for each answer; `sysctl_files` answers
    /// [`FactKey::SysctlFiles`] for a device name. The caller's namespace counts as the tracer's own.
    ///
    /// # Errors
    ///
    /// When the caller's own namespace cannot be opened or the thread cannot be started.
    pub fn start(
        mut answers: impl FnMut(FactKey, Answer) + Send + 'static,
        sysctl_files: fn(&str) -> Fact,
    ) -> io::Result<Self> {
        let mut namespaces = Namespaces::new()?;
        let shared = Arc::new(Shared::default());
        let (end, ended) = channel::<()>();
        let theirs = Arc::clone(&shared);
        let thread = Builder::new().name("facts".into()).spawn(move || {
            let _end = end;
            while let Some(job) = theirs.next() {
                let (key, answer) = match job {
                    Job::Answer(key) => {
                        let answer = answer(&mut namespaces, sysctl_files, &key);
                        (key, answer)
                    }
                    Job::Refuse(key) => {
                        let why = format!("over {MOST_WAITING} questions wait");
                        (key, Err(why.into()))
                    }
                };
                answers(key, answer);
            }
        })?;
        Ok(Self {
            shared,
            thread: Some(thread),
            ended,
        })
    }

    /// Queues a question; never blocks. A question that waits already is not queued again.
    pub fn ask(&self, key: FactKey) {
        if self.shared.lock().push(key) {
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_all();
        // Either way of ending drops the sender. A thread that hangs in the kernel is left behind.
        let hangs = matches!(
            self.ended.recv_timeout(STOP_LIMIT),
            Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        );
        if let Some(thread) = self.thread.take()
            && !hangs
        {
            let _ = thread.join();
        }
    }
}

fn answer(namespaces: &mut Namespaces, sysctl_files: fn(&str) -> Fact, key: &FactKey) -> Answer {
    let until = Instant::now() + QUESTION_LIMIT;
    match *key {
        FactKey::Netns { netns } => namespaces.describe(netns).map(Fact::Netns),
        FactKey::RpFilter { netns } => {
            Ok(Fact::RpFilter(rp_filter::read(namespaces, netns, until)?))
        }
        FactKey::Link { netns, ifindex } => {
            link::read(namespaces, netns, ifindex, until).map(Fact::Link)
        }
        FactKey::Route {
            netns,
            to,
            from,
            mark,
            iif,
            oif,
        } => {
            let flow = route::Flow {
                to,
                from,
                mark,
                iif,
                oif,
                ..route::Flow::default()
            };
            Ok(Fact::Route(route::read(namespaces, netns, flow, until)?))
        }
        FactKey::Owner { netns, address } => {
            owner::read(namespaces, netns, address, until).map(Fact::Owner)
        }
        FactKey::Neighbour {
            netns,
            ifindex,
            address,
        } => neighbour::read(namespaces, netns, ifindex, address, until).map(Fact::Neighbour),
        FactKey::Groups { netns, ifindex } => {
            groups::read(namespaces, netns, ifindex, until).map(Fact::Groups)
        }
        FactKey::DefaultRoutes { netns } => Ok(Fact::DefaultRoutes(route::defaults(
            namespaces, netns, until,
        )?)),
        FactKey::SysctlFiles { ref device } => Ok(sysctl_files(device)),
        FactKey::Conntrack { netns, tuple, zone } => {
            conntrack::read(namespaces, netns, &tuple, zone, until).map(Fact::Conntrack)
        }
        FactKey::ConntrackStats { netns } => {
            conntrack::stats::read(namespaces, netns, until).map(Fact::ConntrackStats)
        }
        FactKey::Followed { .. } => Err("not asked of the follower".into()),
        FactKey::Ipvs {
            netns,
            client,
            service,
        } => ipvs::read(namespaces, netns, client, service, until).map(Fact::Ipvs),
        FactKey::Queues { netns } => queues::read(namespaces, netns, until).map(Fact::Queues),
        FactKey::Ruleset { netns } => ruleset::read(namespaces, netns).map(Fact::Ruleset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(netns: u32) -> FactKey {
        FactKey::Netns { netns }
    }

    #[test]
    fn the_same_question_waits_once() {
        let mut queue = Queue::default();
        assert!(queue.push(key(1)));
        assert!(queue.push(key(2)));
        assert!(!queue.push(key(1)));
        assert!(matches!(queue.pop(), Some(Job::Answer(k)) if k == key(1)));
        assert!(queue.push(key(1)), "asked again once it no longer waits");
        assert!(matches!(queue.pop(), Some(Job::Answer(k)) if k == key(2)));
        assert!(matches!(queue.pop(), Some(Job::Answer(k)) if k == key(1)));
        assert!(queue.pop().is_none());
    }

    #[test]
    fn too_many_questions_are_refused_first() {
        let mut queue = Queue::default();
        for netns in 0..=MOST_WAITING {
            assert!(queue.push(key(u32::try_from(netns).expect("small"))));
        }
        assert!(matches!(queue.pop(), Some(Job::Refuse(k)) if k == key(4096)));
        assert!(matches!(queue.pop(), Some(Job::Answer(k)) if k == key(0)));
    }

    #[test]
    fn every_question_is_answered_in_order_and_drop_stops() {
        let (tell, told) = channel();
        let files =
            |device: &str| Fact::from(crate::facts::FactError::from(format!("files of {device}")));
        let reader = Reader::start(move |k, f| tell.send((k, f)).expect("heard"), files)
            .expect("the own namespace can be opened");
        reader.ask(FactKey::SysctlFiles {
            device: "eth0".into(),
        });
        reader.ask(key(1));
        let (_, first) = told.recv_timeout(Duration::from_secs(5)).expect("answered");
        assert_eq!(first, Ok(files("eth0")));
        let (asked, second) = told.recv_timeout(Duration::from_secs(5)).expect("answered");
        assert_eq!(asked, key(1));
        let why = second.expect_err("no such namespace");
        assert!(why.to_string().starts_with("netns 1 has no "), "{why}");
        let before = Instant::now();
        drop(reader);
        assert!(before.elapsed() < Duration::from_millis(500));
        assert!(told.recv().is_err(), "the thread is gone");
    }
}
