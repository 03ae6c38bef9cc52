//! What is told of rules as data: parts of the facts of several causes (docs/events.md).

use serde::Serialize;

use super::{candidates::Candidate, find::NatRule};
use crate::{
    facts::ruleset::{Backend, Family, NatAction, Subsystem, Test, protocol},
    model::hook::Hook,
};

/// What is known of a drop by netfilter.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NetfilterFacts {
    /// Family of the hook.
    pub family: Option<Family>,
    /// Where it was dropped; null where that is not known.
    pub hook: Option<Hook>,
    /// Who runs the rules that can have done it.
    pub backend: Option<Runner>,
    /// Table of all of them, if it is one.
    pub table: Option<String>,
    /// Chain of all of them, if it is one.
    pub chain: Option<String>,
    /// Whether it is known for sure which rule it was.
    pub certain: bool,
    /// Which member of the sets, lists or maps of that rule the packet met: `dport 53`, `saddr 10.0.0.0/24`; null where it has none, or
    /// where that is not known.
    pub element: Option<String>,
    /// What could not be looked at, so that it may have been a rule that is not listed.
    pub not_evaluated: Vec<String>,
    /// Rules and policies that can have done it: one, if that is certain.
    pub rules: Vec<RuleFacts>,
}

/// Part of the kernel that runs rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum Runner {
    /// `ip_tables` and `ip6_tables`.
    Legacy,
    /// `nf_tables`.
    NfTables,
}

impl From<Subsystem> for Runner {
    fn from(subsystem: Subsystem) -> Self {
        match subsystem {
            Subsystem::IpTables => Self::Legacy,
            Subsystem::NfTables => Self::NfTables,
        }
    }
}

/// A rule, or the policy of a base chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RuleFacts {
    /// The tool that it belongs to.
    pub backend: Backend,
    /// `filter`, `ip6 filter`, of nf_tables `inet mine`.
    pub table: String,
    /// Chain that holds it.
    pub chain: String,
    /// As the back end's own tool prints it; `policy drop` for a policy.
    pub text: String,
    /// nft handle.
    pub handle: Option<u64>,
    /// Number in its chain, from 1, as its tool counts; null for a policy.
    #[cfg_attr(test, schemars(range(min = 1)))]
    pub position: Option<usize>,
    /// Why it can have dropped a packet although it is no verdict to drop; null for one that is.
    pub why: Option<&'static str>,
}

impl RuleFacts {
    /// Of a rule or policy.
    #[must_use]
    pub fn of(one: &Candidate<'_>) -> Self {
        Self {
            backend: one.chain.backend,
            table: one.chain.table.clone(),
            chain: one.chain.name.clone(),
            text: one
                .rule
                .map_or_else(|| "policy drop".to_owned(), |rule| rule.text.clone()),
            handle: one.rule.and_then(|rule| rule.handle),
            position: one.position(),
            why: one.why(),
        }
    }
}

/// A rule that translates addresses.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NatRuleFacts {
    /// The tool that it belongs to.
    pub backend: Backend,
    /// `nat`, of nf_tables `ip mine`.
    pub table: String,
    /// Chain that holds it.
    pub chain: String,
    /// As the back end's own tool prints it.
    pub text: String,
    /// nft handle.
    pub handle: Option<u64>,
    /// What it translates.
    pub action: NatAction,
    /// New addresses and ports as written: `10.0.0.1:40000-40010`.
    pub to: Option<String>,
    /// Whether ports are fully random.
    pub fully_random: bool,
    /// The device that it asks packets to leave by.
    pub out_dev: Option<String>,
    /// The source that it asks for.
    pub source: Option<String>,
    /// The protocol that it asks for.
    pub proto: Option<String>,
}

impl NatRuleFacts {
    /// Of a rule.
    #[must_use]
    pub fn of(of: &NatRule<'_>) -> Self {
        let NatRule { chain, rule, nat } = of;
        Self {
            backend: chain.backend,
            table: chain.table.clone(),
            chain: chain.name.clone(),
            text: rule.text.clone(),
            handle: rule.handle,
            action: nat.action,
            to: nat.to.clone(),
            fully_random: nat.fully_random,
            out_dev: of.asked(|test| match test {
                Test::OutDevice(devices) => single(devices).cloned(),
                _ => None,
            }),
            source: of.asked(|test| match test {
                Test::Source(sources) => single(sources).map(ToString::to_string),
                _ => None,
            }),
            proto: of.asked(|test| match test {
                Test::Protocol(numbers) => single(numbers).map(|number| protocol::name(*number)),
                _ => None,
            }),
        }
    }
}

fn single<T>(list: &[T]) -> Option<&T> {
    match list {
        [one] => Some(one),
        _ => None,
    }
}
