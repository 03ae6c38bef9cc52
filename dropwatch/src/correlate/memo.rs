//! Which case a class was judged to belong to, for a while: judging is for what was not seen lately.

use std::collections::HashMap;

use super::class::Class;

/// How long a judgement holds. Rules, routes and sockets change: what is dropped by a new rule within this time after a drop of
/// the same class is counted under the old one.
const HOLDS_NS: u64 = 1_000_000_000;

/// How long it holds while there are more classes than [`FEW`]: judging takes time.
const HOLDS_LONGER_NS: u64 = 5_000_000_000;

/// Classes that can all be judged anew every second.
const FEW: usize = 256;

/// How long it is remembered after that, for what cannot be judged anew.
const KEEP_NS: u64 = 60_000_000_000;

/// Most classes.
const MOST: usize = 16_384;

/// What a class was judged to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It belongs to this case.
    Case(u32),
    /// It did, some time ago.
    Once(u32),
}

/// The judgements.
#[derive(Debug, Default)]
pub struct Memo {
    cases: HashMap<Class, (u32, u64)>,
    cleaned_ns: u64,
}

impl Memo {
    /// What is known of a class.
    #[must_use]
    pub fn get(&self, class: &Class, now_ns: u64) -> Option<Known> {
        let (case, judged_ns) = self.cases.get(class)?;
        let holds_ns = if self.cases.len() <= FEW {
            HOLDS_NS
        } else {
            HOLDS_LONGER_NS
        };
        let holds = now_ns <= judged_ns.saturating_add(holds_ns);
        Some(if holds {
            Known::Case(*case)
        } else {
            Known::Once(*case)
        })
    }

    /// A class was judged.
    pub fn insert(&mut self, class: Class, case: u32, now_ns: u64) {
        if self.cases.len() >= MOST {
            // What is forgotten is judged anew, that is all.
            self.cases.clear();
        }
        self.cases.insert(class, (case, now_ns));
    }

    /// What is known of a namespace does not hold any more.
    pub fn forget_netns(&mut self, netns: u32) {
        self.cases.retain(|class, _| class.netns() != netns);
    }

    /// Forgets what is too old.
    pub fn expire(&mut self, now_ns: u64) {
        if now_ns < self.cleaned_ns.saturating_add(HOLDS_LONGER_NS) {
            return;
        }
        self.cleaned_ns = now_ns;
        self.cases
            .retain(|_, (_, judged_ns)| judged_ns.saturating_add(KEEP_NS) > now_ns);
    }
}
