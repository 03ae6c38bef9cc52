//! The way of one packet through one base chain.

use super::{
    answer::Answer,
    candidates::{Candidate, Candidates, Step},
    chains::Chains,
    judge::all,
    packet::Packet,
};
use crate::facts::ruleset::{Chain, Policy, Rule, Target};

/// Deepest jump; the kernel's own limit is 16 (nf_tables) or the number of chains.
const DEEPEST: usize = 64;
/// Most rules looked at, for chains that are jumped to again and again.
const MOST_RULES: usize = 1_000_000;

/// What is looked for.
pub(super) struct Wanted<'w> {
    /// Whether a target is it.
    pub(super) target: &'w dyn Fn(&Target) -> bool,
    /// Whether a base chain's policy to drop is it too.
    pub(super) policy: bool,
    /// Whether the packet's mark is the one that such a rule saw. If not, it saw the known bits only.
    pub(super) exact: bool,
}

/// One walk.
pub(super) struct Walk<'a, 'w> {
    pub(super) chains: &'w Chains<'a>,
    pub(super) packet: &'w Packet,
    /// Bits of the mark that nothing in this base chain can have changed.
    pub(super) known: u32,
    pub(super) wanted: &'w Wanted<'w>,
    pub(super) found: Candidates<'a>,
    /// Rules that may still be looked at.
    pub(super) left: usize,
}

/// How packets leave a chain.
#[derive(Clone, Copy, Default)]
struct Leaves {
    /// Some may go back to where they came from.
    back: bool,
    /// Some may be stopped: accepted, dropped or queued.
    stopped: bool,
}

/// What is known of the packet on its way.
#[derive(Clone, Copy)]
struct State {
    /// Whether the rules of the path match.
    matches: Answer,
    /// Whether it is here for sure.
    sure: bool,
}

impl<'a, 'w> Walk<'a, 'w> {
    pub(super) fn new(
        chains: &'w Chains<'a>,
        packet: &'w Packet,
        known: u32,
        wanted: &'w Wanted<'w>,
    ) -> Self {
        Self {
            chains,
            packet,
            known,
            wanted,
            found: Candidates {
                list: Vec::new(),
                complete: true,
            },
            left: MOST_RULES,
        }
    }

    /// Goes through the base chain. `comes` says whether the packet comes to it, `sure` whether nothing
    /// before it can have stopped it.
    pub(super) fn run(mut self, base: usize, comes: Answer, sure: bool) -> Candidates<'a> {
        let state = State {
            matches: comes,
            sure: sure && comes == Answer::Yes,
        };
        let leaves = self.chain(base, base, &mut Vec::new(), state);
        let chain = self.chains.get(base);
        let drops = chain
            .base
            .as_ref()
            .is_some_and(|base| base.policy == Policy::Drop);
        if self.wanted.policy && drops && leaves.back {
            self.found.add(Candidate {
                base: chain,
                chain,
                rule: None,
                target: None,
                path: Vec::new(),
                matches: comes,
                sure: state.sure && !leaves.stopped,
            });
        }
        self.found
    }

    fn chain(
        &mut self,
        base: usize,
        at: usize,
        path: &mut Vec<(usize, Step<'a>)>,
        mut state: State,
    ) -> Leaves {
        let chain = self.chains.get(at);
        let mut leaves = Leaves::default();
        for rule in &chain.rules {
            let Some(left) = self.left.checked_sub(1) else {
                self.found.complete = false;
                break;
            };
            self.left = left;
            let own = self.matches(rule);
            if own == Answer::No {
                continue;
            }
            let here = State {
                matches: state.matches.min(own),
                sure: state.sure && own == Answer::Yes,
            };
            for target in &rule.targets {
                if (self.wanted.target)(target) {
                    self.hit(base, chain, rule, target, path, here);
                }
                let done = match target {
                    Target::Drop
                    | Target::Reject
                    | Target::Accept
                    | Target::Queue { .. }
                    | Target::Nat(_) => {
                        leaves.stopped = true;
                        true
                    }
                    Target::Return => {
                        leaves.back = true;
                        true
                    }
                    Target::Jump(name) => {
                        let inner = self.enter(base, (at, chain, rule), name, path, here);
                        leaves.stopped |= inner.stopped;
                        state.sure &= !inner.stopped;
                        // Nobody comes back from there.
                        if !inner.back && own == Answer::Yes {
                            return leaves;
                        }
                        false
                    }
                    Target::Goto(name) => {
                        let inner = self.enter(base, (at, chain, rule), name, path, here);
                        leaves.stopped |= inner.stopped;
                        leaves.back |= inner.back;
                        true
                    }
                    Target::Unknown(_) => {
                        leaves.stopped = true;
                        state.sure = false;
                        false
                    }
                    Target::SetMark(_)
                    | Target::RestoreMark(_)
                    | Target::SetConntrackMark(_)
                    | Target::SaveMark
                    | Target::SetHeader(_) => false,
                };
                if done && own == Answer::Yes {
                    return leaves;
                }
                state.sure &= !done;
            }
        }
        leaves.back = true;
        leaves
    }

    /// Goes into a chain that a rule of another one names.
    fn enter(
        &mut self,
        base: usize,
        (at, chain, rule): (usize, &'a Chain, &'a Rule),
        name: &'a str,
        path: &mut Vec<(usize, Step<'a>)>,
        state: State,
    ) -> Leaves {
        let Some(to) = self.chains.beside(chain, name) else {
            self.found.complete = false;
            return Leaves {
                back: true,
                stopped: true,
            };
        };
        // The kernel loads no loops; what was read while it changed may have one.
        let loops = to == at || path.iter().any(|(one, _)| *one == to);
        if loops || path.len() >= DEEPEST {
            self.found.complete = false;
            return Leaves {
                back: true,
                stopped: true,
            };
        }
        path.push((at, Step { chain, rule }));
        let leaves = self.chain(base, to, path, state);
        path.pop();
        leaves
    }

    /// A rule that drops saw the mark that the packet was dropped with; others may have seen another.
    fn matches(&self, rule: &Rule) -> Answer {
        let last = self.wanted.exact
            && rule.targets.first().is_some_and(|target| {
                !matches!(target, Target::Unknown(_)) && (self.wanted.target)(target)
            });
        let known = if last { u32::MAX } else { self.known };
        all(&rule.matches, self.packet, known)
    }

    fn hit(
        &mut self,
        base: usize,
        chain: &'a Chain,
        rule: &'a Rule,
        target: &'a Target,
        path: &[(usize, Step<'a>)],
        state: State,
    ) {
        // Where drops are looked for, what drops under some condition only may not have.
        let unknown = match target {
            Target::Drop | Target::Reject => false,
            Target::Unknown(_) => true,
            _ => self.wanted.policy,
        };
        self.found.add(Candidate {
            base: self.chains.get(base),
            chain,
            rule: Some(rule),
            target: Some(target),
            path: path.iter().map(|(_, step)| *step).collect(),
            matches: if unknown {
                Answer::Maybe.min(state.matches)
            } else {
                state.matches
            },
            sure: state.sure && !unknown,
        });
    }
}
