//! Where answers come from: the readers of facts, and the follower of connections.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::facts::{
    Answer, FactError, FactKey,
    reader::{Reader, follow::Follower},
};

/// How long readiness waits for the counters. It takes 1 ms, but the first question ever makes the kernel load a module.
const BASELINE: Duration = Duration::from_secs(2);

/// All of them.
pub struct Sources<A> {
    /// Answers at once.
    pub facts: Reader,
    /// Runs programs for its answers, for seconds: nothing else waits behind a rule set.
    pub rules: Reader,
    /// Answers after seconds.
    pub follower: Follower<A>,
}

impl<A: FnMut(FactKey, Answer) + Send + 'static> Sources<A> {
    /// Passes questions on; never blocks.
    pub fn ask(&mut self, questions: Vec<FactKey>) -> Result<()> {
        for key in questions {
            match key {
                FactKey::Followed { .. } => self
                    .follower
                    .follow(key)
                    .context("starting the follower of connections")?,
                key @ FactKey::Ruleset { .. } => self.rules.ask(key),
                key => self.facts.ask(key),
            }
        }
        Ok(())
    }
}

/// The conntrack counters as they are at the start, for later ones to be compared with. What is not read in time is simply
/// not there.
pub struct Baseline {
    open: HashSet<FactKey>,
    /// Those that may still be asked once more.
    again: HashSet<FactKey>,
    until: Instant,
}

impl Baseline {
    /// Asks for them.
    pub fn ask<A>(sources: &Sources<A>, namespaces: impl IntoIterator<Item = u32>) -> Self {
        let keys = namespaces
            .into_iter()
            .map(|netns| FactKey::ConntrackStats { netns });
        let open: HashSet<FactKey> = keys.collect();
        open.iter().for_each(|key| sources.facts.ask(key.clone()));
        Self {
            again: open.clone(),
            open,
            until: Instant::now() + BASELINE,
        }
    }

    /// Takes an answer. False when it says nothing and was asked again: the first question ever makes the kernel load a
    /// module, which takes longer than a question may; then it is there.
    pub fn answered<A>(&mut self, sources: &Sources<A>, key: &FactKey, answer: &Answer) -> bool {
        let late = answer.as_ref().is_err_and(FactError::is_for_want_of_time);
        if late && self.again.remove(key) {
            sources.facts.ask(key.clone());
            return false;
        }
        self.open.remove(key);
        true
    }

    /// Whether nothing more is waited for.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.open.is_empty() || Instant::now() >= self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{ConntrackStats, Fact};

    #[test]
    fn only_what_was_late_is_asked_again_and_once() {
        let heard = |_: FactKey, _: Answer| {};
        let files = |_: &str| Fact::from(FactError::from("none"));
        let reader = || Reader::start(heard, files).expect("the own namespace can be opened");
        let sources = Sources {
            facts: reader(),
            rules: reader(),
            follower: Follower::new(heard),
        };
        let key = |netns| FactKey::ConntrackStats { netns };
        let mut baseline = Baseline::ask(&sources, [1, 2, 3, 3]);
        let late = Err(FactError::TimedOut("late".into()));
        let gone = Err(FactError::Gone("gone".into()));
        let read = Ok(Fact::ConntrackStats(ConntrackStats::default()));
        assert!(!baseline.answered(&sources, &key(1), &late), "asked again");
        assert!(
            baseline.answered(&sources, &key(1), &late),
            "not a third time"
        );
        assert!(baseline.answered(&sources, &key(2), &gone));
        assert!(!baseline.is_over());
        assert!(baseline.answered(&sources, &key(3), &read));
        assert!(baseline.is_over());
        assert!(Baseline::ask(&sources, []).is_over());
    }
}
