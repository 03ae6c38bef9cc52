//! Rules that can have done something to a packet.

use super::answer::Answer;
use crate::facts::ruleset::{Backend, Chain, Family, Rule, Target};

/// A rule or policy by its place, so that it is known again in another reading of the rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RuleId {
    /// Tool that it belongs to.
    pub backend: Backend,
    /// Family of its table.
    pub family: Family,
    /// Table, as in [`Chain::table`].
    pub table: String,
    /// Chain.
    pub chain: String,
    /// nft handle, which stays when rules are put before it.
    pub handle: Option<u64>,
    /// Number in its chain, from 1, of a rule without a handle. A policy has neither.
    pub position: Option<usize>,
}

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
    /// The rule or policy by its place.
    #[must_use]
    pub fn id(&self) -> RuleId {
        let handle = self.rule.and_then(|rule| rule.handle);
        RuleId {
            backend: self.chain.backend,
            family: self.chain.family,
            table: self.chain.table.clone(),
            chain: self.chain.name.clone(),
            handle,
            position: self.position().filter(|_| handle.is_none()),
        }
    }

    /// The rule's number in its chain, from 1; `None` for a policy.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        self.chain.position(self.rule?)
    }

    /// Why it may have dropped a packet although it is no verdict to drop.
    #[must_use]
    pub fn why(&self) -> Option<&'static str> {
        let hook = self.base.base.as_ref()?.hook;
        self.target?.drops_by_itself(hook)
    }

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
    /// The only one, if it matches for sure and the packet came to it for sure: what a rule before it may have let out may
    /// have been dropped by conntrack, NAT or IPVS.
    #[must_use]
    pub fn certain(&self) -> Option<&Candidate<'a>> {
        self.only().filter(|one| one.sure)
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{
        samples::{legacy, nft, rule, tcp},
        suspects::suspects,
    };
    use super::*;
    use crate::facts::ruleset::{Hook, Ruleset};

    fn ids(set: &Ruleset) -> Vec<(Option<u64>, Option<usize>)> {
        let found = suspects(set, &tcp(Hook::Input), None);
        let ids = found.list.iter().map(Candidate::id);
        ids.map(|id| (id.handle, id.position)).collect()
    }

    #[test]
    fn rules_without_a_handle_are_known_by_their_number() {
        let set = legacy(
            "*filter\n:INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -m limit --limit 1/s -j DROP\n\
             -A INPUT -m limit --limit 1/s -j DROP\nCOMMIT\n",
        );
        assert_eq!(ids(&set), [(None, Some(2)), (None, Some(3)), (None, None)]);
    }

    #[test]
    fn rules_with_a_handle_are_known_by_it() {
        let limit = json!({"limit": {"rate": 1, "per": "second"}});
        let vmap = json!({"vmap": {"key": {"meta": {"key": "mark"}},
            "data": {"set": [[1, {"accept": null}], [0, {"drop": null}]]}}});
        let set = nft(
            "inet",
            &[("input", Some(("filter", "input", 0, "accept")))],
            &[
                rule("input", 7, json!([vmap])),
                rule("input", 9, json!([limit, {"drop": null}])),
            ],
        );
        assert_eq!(ids(&set)[0], (Some(7), None));
        let last = &set.chains[0].rules[2];
        assert_eq!(
            set.chains[0].position(last),
            Some(2),
            "parts of one rule are one"
        );
    }
}
