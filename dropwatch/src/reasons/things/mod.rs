//! What can be said of a drop from its reason, its place and its headers together.
//!
//! Neither a reason's name nor a function says which check refused a packet: one name covers many checks
//! (`QDISC_DROP`), one check has other names in other kernels (an answer that a `ping` socket does not wait
//! for is freed in `icmp_rcv` or in `ping_rcv`), and some have none. A [`Thing`] is one check, or several that
//! cannot be told apart by what the record holds; its words name all of them and claim none. Which kernel
//! shows it how stands in [`Thing::shown`], so that words follow the thing and not the version.
//!
//! Functions and their checks as of Linux 5.10 to 7.2.

use super::Class;
use crate::model::{anchor::Drop, packet::Packet, proto::Proto, tcp_flags::TcpFlags};

mod bridge;
mod device;
mod receive;
mod route;
mod send;
mod socket;
mod tcp;
#[cfg(test)]
mod tests;
mod tunnel;

/// Place in [`Thing::shown`] that stands for every function.
const ANYWHERE: &str = "*";

/// Reason in [`Thing::shown`] that stands for "no reason given".
const SILENT: &str = "-";

/// One check of the kernel, or several that look the same from outside.
#[derive(Debug)]
pub struct Thing {
    /// What happened, in sentences; alternatives are named as such.
    pub what: &'static str,
    /// How to tell them apart and where to look next, for [`super::hint::fill`].
    pub look: &'static str,
    /// What kind of thing it is. [`Class::Normal`] only where the record proves that nothing is lost.
    pub class: Class,
    /// How kernels show it: reason and function.
    shown: &'static [(&'static str, &'static str)],
    /// What the record must hold besides.
    only: fn(&Drop) -> bool,
}

/// The tables. Within one, the first that fits counts, so special ones come first.
const TABLES: [&[Thing]; 8] = [
    device::THINGS,
    tunnel::THINGS,
    receive::THINGS,
    route::THINGS,
    socket::THINGS,
    tcp::THINGS,
    send::THINGS,
    bridge::THINGS,
];

/// What is known of the check that refused a packet beyond its reason's name, or `None` if nothing is.
#[must_use]
pub fn thing(drop: &Drop) -> Option<&'static Thing> {
    let function = drop
        .location
        .symbol
        .as_deref()
        .map_or("", super::location::function);
    let reason = match drop.reason.name.as_deref() {
        _ if drop.reason.is_silent() => SILENT,
        Some(name) => name,
        None => return None,
    };
    let fits = |(name, place): &(&str, &str)| {
        *name == reason && (*place == ANYWHERE || *place == function)
    };
    TABLES
        .iter()
        .copied()
        .flatten()
        .find(|thing| thing.shown.iter().any(fits) && (thing.only)(drop))
}

/// Shorthand for the tables.
const fn known(
    shown: &'static [(&'static str, &'static str)],
    only: fn(&Drop) -> bool,
    class: Class,
    what: &'static str,
    look: &'static str,
) -> Thing {
    Thing {
        what,
        look,
        class,
        shown,
        only,
    }
}

/// For things of which reason and place say enough.
fn always(_: &Drop) -> bool {
    true
}

fn packet(drop: &Drop, is: impl Fn(&Packet) -> bool) -> bool {
    drop.packet.as_ref().is_some_and(is)
}

/// In a kernel that gives no reasons at all (before 5.17), where more checks look the same.
fn without_reasons(drop: &Drop) -> bool {
    drop.reason.name.is_none()
}

fn v4(drop: &Drop) -> bool {
    packet(drop, |p| p.l3 == 4)
}

fn v6(drop: &Drop) -> bool {
    packet(drop, |p| p.l3 == 6)
}

/// Sent to a multicast group.
fn to_group(drop: &Drop) -> bool {
    packet(drop, |p| p.dst.is_multicast())
}

/// Sent to many: a multicast group or 255.255.255.255. Broadcast addresses of a network are not known as such.
fn to_many(drop: &Drop) -> bool {
    to_group(drop) || packet(drop, |p| p.dst == std::net::Ipv4Addr::BROADCAST)
}

fn flag(drop: &Drop, flag: TcpFlags) -> bool {
    packet(drop, |p| p.tcp_flags.is_some_and(|flags| flags.has(flag)))
}

/// A message of IPv6's neighbour discovery or multicast membership (MLD).
fn of_neighbours(drop: &Drop) -> bool {
    packet(drop, |p| {
        p.proto == Proto::ICMPV6 && p.icmp_type.is_some_and(|t| matches!(t, 130..=137 | 143))
    })
}

/// ICMP or ICMPv6 of a type.
fn icmp(drop: &Drop, v4: u8, v6: u8) -> bool {
    packet(drop, |p| {
        p.icmp_type == Some(if p.l3 == 6 { v6 } else { v4 })
    })
}
