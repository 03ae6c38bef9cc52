//! Names of namespaces, as far as they are known: learnt from facts, forgotten when a number has another owner.

use std::collections::{HashMap, VecDeque};

/// Most names.
const MOST: usize = 4096;

/// Names by inode number.
#[derive(Clone, Debug, Default)]
pub struct Names {
    names: HashMap<u32, Option<String>>,
    /// Oldest first.
    order: VecDeque<u32>,
}

impl Names {
    /// A namespace's name was asked: this is it, or it has none.
    pub fn learn(&mut self, netns: u32, name: Option<String>) {
        if self.names.insert(netns, name).is_none() {
            self.order.push_back(netns);
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
    }

    /// The number has another owner.
    pub fn forget(&mut self, netns: u32) {
        if self.names.remove(&netns).is_some() {
            self.order.retain(|known| *known != netns);
        }
    }

    /// The name.
    #[must_use]
    pub fn get(&self, netns: u32) -> Option<&str> {
        self.names.get(&netns)?.as_deref()
    }

    /// Whether it was asked already.
    #[must_use]
    pub fn is_known(&self, netns: u32) -> bool {
        self.names.contains_key(&netns)
    }

    /// `netns NAME`, `netns NUMBER` or `netns ?`.
    #[must_use]
    pub fn words(&self, netns: u32) -> String {
        match (netns, self.get(netns)) {
            (0, _) => "netns ?".into(),
            (_, Some(name)) => format!("netns {name}"),
            (_, None) => format!("netns {netns}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_the_next_owner_inherits_nothing() {
        let mut names = Names::default();
        for n in 1..=10_000 {
            names.learn(n, Some(format!("pod{n}")));
        }
        assert_eq!((names.names.len(), names.order.len()), (MOST, MOST));
        assert_eq!(names.words(10_000), "netns pod10000");
        names.forget(10_000);
        assert_eq!(names.words(10_000), "netns 10000");
        assert_eq!(names.order.len(), MOST - 1);
        names.learn(10_000, None);
        assert!(names.is_known(10_000));
        assert_eq!(names.words(0), "netns ?");
    }
}
