//! The last of the causes: no root cause at all. Every drop that none claims is explained by its reason, its place, the
//! rule that made it; nothing is blamed.

use crate::{
    judge::{Cause, Judgement, PLAIN, View},
    model::anchor::Anchor,
};

pub(super) mod facts;
mod firewall;
mod martian;
mod plain;
mod routes;
mod same;
#[cfg(test)]
mod tests;

/// The plain explanation.
pub struct Plain;

impl Cause for Plain {
    fn id(&self) -> &'static str {
        PLAIN
    }

    fn judge(&self, anchor: &Anchor, view: &View<'_>) -> Judgement {
        let Some(drop) = anchor.drop() else {
            return Judgement::NotMine;
        };
        match plain::explain(drop, view) {
            Some(answer) => Judgement::Mine(Box::new(answer)),
            None => Judgement::Wait,
        }
    }
}
