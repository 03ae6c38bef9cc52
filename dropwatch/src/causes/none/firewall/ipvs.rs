//! What IPVS had to do with a drop, in words.

use super::{Words, nobody};
use crate::{
    judge::{PlainKind, View},
    model::{anchor::Drop, hook::Hook, ipvs::Endpoint},
    netfilter::{Attribution, By, Place},
};

/// What is said of IPVS where it may have done it.
pub(super) const OPEN: &str =
    " and may have dropped it, as when a connection's real server was removed: not evaluated.";

/// What IPVS has to do with it, which drops what it has no real server for (`ip_vs_in`, net/netfilter/ipvs/ip_vs_core.c); `None`
/// where it has no service for such a packet, or it is certain that a rule did it.
pub(super) fn words(drop: &Drop, view: &View<'_>, attribution: &Attribution<'_>) -> Option<Words> {
    let Place { by, hook, .. } = attribution.place;
    let here = by == By::Hooks && matches!(hook, Some(Hook::Input | Hook::Output));
    let packet = drop.packet.as_ref()?;
    if !here || attribution.certain().is_some() {
        return None;
    }
    let end = |addr, port| Some(Endpoint { addr, port: port? });
    let from = end(packet.src, packet.sport)?;
    let to = end(packet.dst, packet.dport)?;
    let state = view.ipvs(drop.netns, from, to)?;
    let service = state.service_of(packet.proto, to, drop.mark)?;
    let said = attribution.words();
    let look = "`ipvsadm -Ln`: the service's real servers and their weights".to_owned();
    let name = service.name();
    Some(match service.unusable() {
        Some(why) if nobody(attribution) => (
            Some(PlainKind::IpvsNoDestination),
            format!(
                "IPVS has service {name}, which has no usable real server ({why}): it drops what comes for it. No rule of the \
                 firewall drops such a packet."
            ),
            look,
        ),
        Some(why) => (
            None,
            format!(
                "{said} Or it was IPVS: its service {name} has no usable real server ({why}), and drops what comes for it."
            ),
            look,
        ),
        None => (
            None,
            format!("{said} IPVS has service {name} for such packets{OPEN}"),
            look,
        ),
    })
}
