//! The facts as data (docs/events.md).

use serde::Serialize;

use super::{refusal::Informant, weigh::Proof};
use crate::{model::proto::Proto, model::tuple::Tuple, netfilter::NatRuleFacts};

/// Facts of cause `snat_race`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "SnatRaceFacts"))]
pub struct Facts {
    /// What it is a case of.
    pub(super) kind: Kind,
    /// Protocol name.
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) proto: Proto,
    /// The connection whose packet was lost.
    pub(super) loser: Translation,
    /// The one that holds the place.
    pub(super) winner: Winner,
    /// Conntrack zone.
    pub(super) zone: u16,
    /// Whether the rule leaves a single port.
    pub(super) fixed_port: bool,
    /// What says that it was a race.
    pub(super) proof: Proof,
    /// The rule that translated it; null where that is not known.
    pub(super) rule: Option<NatRuleFacts>,
    /// Of the namespace, as last read before the drop; null when it had not been read.
    pub(super) insert_failed_before: Option<u64>,
    /// Of the namespace, after the drop.
    pub(super) insert_failed: Option<u64>,
    /// Entries in the table.
    pub(super) entries: Option<u64>,
    /// Room in the table.
    pub(super) max: Option<u64>,
}

/// What it is a case of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Two connections were given the same translated source.
    SnatClash,
}

/// A connection and what it is translated to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Translation {
    /// Before translation.
    pub(super) original: Tuple,
    /// As it leaves.
    pub(super) translated: Tuple,
}

/// The connection that holds the place.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Winner {
    /// Before translation.
    pub(super) original: Tuple,
    /// As it leaves.
    pub(super) translated: Tuple,
    /// TCP state.
    pub(super) state: Option<String>,
    /// Who showed it.
    pub(super) from: Informant,
}
