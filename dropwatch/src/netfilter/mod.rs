//! What the loaded rules do with a packet, judged from the rule set alone: no kernel, no I/O.
//!
//! Every answer is one of three, for neither the packet nor the rules are known in full: a rule matches, does
//! not, or may ([`Answer`]). Of a dropped packet, headers and mark are known as they were at the drop. Within
//! the base chain that dropped it they were the same, but for marks set on the way; chains that it passed
//! before may have seen others (NAT, queues, marks). So every base chain is judged as the one that dropped,
//! and one excludes the later ones only if no such change can have come between.

mod answer;
mod attribution;
mod bits;
mod blame;
mod callers;
mod candidates;
mod chains;
mod element;
mod facts;
mod find;
mod hooks;
mod judge;
mod naming;
mod packet;
mod place;
mod refusal;
#[cfg(test)]
mod samples;
mod suspects;
mod walk;

pub use answer::Answer;
pub use attribution::{Attribution, packet_at};
pub use bits::{propose_mask, used_mark_bits};
pub use blame::{MarkBlame, because_of_mark};
pub use candidates::{Candidate, Candidates, RuleId, Step};
pub use element::element;
pub use facts::{NatRuleFacts, NetfilterFacts, RuleFacts, Runner};
pub use find::{NatRule, destination_rule, queued_by, translated_by};
pub use hooks::{hooks, other_queues, queue_numbers};
pub use judge::judge;
pub use naming::{describe, named, open_questions};
pub use packet::{Packet, Passed};
pub use place::{By, Place, after_queue};
pub use refusal::{Gone, Refusal};
pub use suspects::suspects;
