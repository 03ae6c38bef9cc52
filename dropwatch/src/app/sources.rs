//! Where answers come from: the reader of facts, and the follower of connections.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::{sync::mpsc::UnboundedReceiver, time::timeout};

use crate::{
    clock::monotonic_ns,
    event::Event,
    facts::{
        Fact, FactKey,
        reader::{Reader, follow::Follower},
    },
    session::Session,
};

/// How long the start waits for the counters as they are before the first drop. It takes 1 ms, but the first
/// question ever makes the kernel load a module.
const BASELINE: Duration = Duration::from_secs(1);

/// Both.
pub struct Sources<A> {
    /// Answers at once.
    pub facts: Reader,
    /// Answers after seconds.
    pub follower: Follower<A>,
}

impl<A: FnMut(FactKey, Fact) + Send + 'static> Sources<A> {
    /// Passes questions on; never blocks.
    pub fn ask(&mut self, questions: Vec<FactKey>) -> Result<()> {
        for key in questions {
            match key {
                FactKey::Followed { .. } => self
                    .follower
                    .follow(key)
                    .context("starting the follower of connections")?,
                key => self.facts.ask(key),
            }
        }
        Ok(())
    }
}

/// Reads the conntrack counters of these namespaces, for later ones to be compared with. What is not read in
/// time is simply not there.
pub async fn baseline<A: FnMut(FactKey, Fact) + Send + 'static>(
    session: &mut Session,
    sources: &mut Sources<A>,
    answered: &mut UnboundedReceiver<(FactKey, Fact)>,
    namespaces: [Option<u32>; 2],
) -> Result<()> {
    let mut namespaces: Vec<u32> = namespaces.into_iter().flatten().collect();
    namespaces.dedup();
    for netns in &namespaces {
        sources.facts.ask(FactKey::ConntrackStats { netns: *netns });
    }
    let mut open = namespaces.len();
    let mut again = namespaces.len();
    while open > 0 {
        let Ok(Some((key, fact))) = timeout(BASELINE, answered.recv()).await else {
            break;
        };
        if again > 0 && matches!(fact, Fact::Unknown { .. }) {
            // The module took longer than a question may; now it is there.
            again -= 1;
            sources.facts.ask(key);
            continue;
        }
        open -= 1;
        session.take(&Event::Fact {
            time_ns: monotonic_ns(),
            key,
            fact,
        });
    }
    Ok(())
}
