//! Rules that can have done something to a packet.

use super::answer::Answer;
use crate::facts::ruleset::{Chain, Rule, Target};

/// A rule on the way to another: it jumped there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step<'a> {
    /// Chain that holds it.
    pub chain: &'a Chain,
    /// The rule.
    pub rule: &'a Rule,
}

/// A rule, or the policy of a base chain, that can have done it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate<'a> {
    /// Base chain that leads to it.
    pub base: &'a Chain,
    /// Chain that holds it.
    pub chain: &'a Chain,
    /// The rule; `None` for the chain's policy.
    pub rule: Option<&'a Rule>,
    /// What of the rule does it; `None` for a policy.
    pub target: Option<&'a Target>,
    /// Rules that jump to it, from the base chain on.
    pub path: Vec<Step<'a>>,
    /// Whether the packet is what it and the rules of its path ask for.
    pub matches: Answer,
    /// Whether that is so and nothing that comes before can have let the packet out or dropped it.
    pub sure: bool,
}

impl Candidate<'_> {
    /// Whether it is the same rule, whatever the path.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let same_rule = match (self.rule, other.rule) {
            (None, None) => true,
            // Parts of one rule have its handle.
            (Some(one), Some(two)) => {
                std::ptr::eq(one, two) || (one.handle.is_some() && one.handle == two.handle)
            }
            _ => false,
        };
        same_rule && std::ptr::eq(self.chain, other.chain)
    }
}

/// Everything that can have done it.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidates<'a> {
    /// In the order in which packets meet them.
    pub list: Vec<Candidate<'a>>,
    /// Whether all rules could be read and looked at. If not, others may have done it.
    pub complete: bool,
}

impl<'a> Candidates<'a> {
    /// The only one, if it matches for sure.
    #[must_use]
    pub fn certain(&self) -> Option<&Candidate<'a>> {
        self.only().filter(|one| one.matches == Answer::Yes)
    }

    /// The only one, though it may not match: it was that one if it was a rule at all.
    #[must_use]
    pub fn only(&self) -> Option<&Candidate<'a>> {
        match self.list.as_slice() {
            [one] if self.complete => Some(one),
            _ => None,
        }
    }

    /// Adds one, or what it says of a rule that is here already.
    pub(super) fn add(&mut self, new: Candidate<'a>) {
        match self.list.iter_mut().find(|one| one.is_same(&new)) {
            None => self.list.push(new),
            Some(one) => {
                let sure = one.sure || new.sure;
                if new.matches > one.matches {
                    *one = new;
                }
                one.sure = sure;
            }
        }
    }
}
