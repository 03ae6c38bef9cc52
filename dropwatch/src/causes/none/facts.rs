//! The facts as data (docs/events.md).

use serde::Serialize;

use super::routes::RouteFacts;
use crate::{
    causes::source_check::MartianKind, judge::PlainKind, netfilter::NetfilterFacts, reasons::Class,
};

/// Facts of a drop that no cause claims.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "PlainFacts"))]
pub struct Facts {
    /// What it was, where the reason does not tell: of conntrack, of queues or of IPVS.
    pub(super) kind: Option<PlainKind>,
    /// Name, `reason N`, or `no reason given`.
    pub(super) reason: String,
    /// What kind of reason it is; null when this version does not know the reason.
    pub(super) class: Option<Class>,
    /// What kind of impossible source it has.
    pub(super) martian: Option<MartianKind>,
    /// What routing had against it; null when it was something else, or could not be told.
    pub(super) route: Option<RouteFacts>,
    /// null when it was not netfilter, or its rules could not be read.
    pub(super) netfilter: Option<NetfilterFacts>,
}
