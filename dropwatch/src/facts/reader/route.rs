//! Routes: what the namespace's tables give now.

use std::net::Ipv4Addr;
use std::time::Instant;

use nix::errno::Errno;

use super::link::{device_name, vrf_table};
use super::lookup::{Entry, entries};
use super::netlink::{Failure, GETROUTE, Netlink, Request};
use super::netns::Namespaces;
use super::rules;
use crate::facts::{DefaultRoutes, Route};

const RTM_F_LOOKUP_TABLE: u32 = 0x1000;
const RTM_F_FIB_MATCH: u32 = 0x2000;

/// What a route is looked up for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) to: Ipv4Addr,
    pub(super) from: Option<Ipv4Addr>,
    pub(super) mark: u32,
    /// Device that it came in by; 0 = made here.
    pub(super) iif: u32,
    /// Device that it must leave by, or its VRF; 0 = any.
    pub(super) oif: u32,
    /// Name of `iif`, for the rules.
    pub(super) iif_name: Option<String>,
    /// Table of the VRF that `iif` or `oif` belong to.
    pub(super) vrf_table: Option<u32>,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            to: Ipv4Addr::UNSPECIFIED,
            from: None,
            mark: 0,
            iif: 0,
            oif: 0,
            iif_name: None,
            vrf_table: None,
        }
    }
}

pub(super) fn read(
    namespaces: &mut Namespaces,
    netns: u32,
    mut flow: Flow,
    until: Instant,
) -> Result<Route, String> {
    if flow.to.octets()[0] == 0 {
        return Err(format!("no route is looked up to {}", flow.to));
    }
    flow.from = flow.from.filter(|from| !from.is_unspecified());
    let mut netlink = namespaces.netlink(netns, until)?;
    if flow.iif != 0 {
        flow.iif_name = device_name(&mut netlink, flow.iif);
    }
    flow.vrf_table = [flow.iif, flow.oif]
        .into_iter()
        .filter(|&index| index != 0)
        .find_map(|index| vrf_table(&mut netlink, index));
    let mut route = match ask(&mut netlink, &flow, RTM_F_LOOKUP_TABLE | RTM_F_FIB_MATCH) {
        Ok(entry) => completed(&mut netlink, &flow, &entry),
        // The kernel makes an answer up where it finds none, but names no entry then.
        Err(failure) if flow.oif != 0 && flow.vrf_table.is_none() => {
            of_kind(kind_of(&failure).map(|_| "none").ok_or(failure)?)
        }
        Err(failure) => refused(&mut netlink, flow, failure)?,
    };
    if let Some(oif) = route.oif {
        route.dev = device_name(&mut netlink, oif);
    }
    Ok(route)
}

/// Asks the kernel for a route.
fn ask(netlink: &mut Netlink, flow: &Flow, flags: u32) -> Result<Entry, Failure> {
    let from_length = if flow.from.is_some() { 32 } else { 0 };
    let mut header = [2, 32, from_length, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[8..].copy_from_slice(&flags.to_ne_bytes());
    let mut request = Request::new(GETROUTE, &header).with(libc::RTA_DST, flow.to.octets());
    if let Some(from) = flow.from {
        request = request.with(libc::RTA_SRC, from.octets());
    }
    if flow.mark != 0 {
        request = request.with(libc::RTA_MARK, flow.mark.to_ne_bytes());
    }
    if flow.iif != 0 {
        request = request.with(libc::RTA_IIF, flow.iif.to_ne_bytes());
    }
    if flow.oif != 0 {
        request = request.with(libc::RTA_OIF, flow.oif.to_ne_bytes());
    }
    let message = netlink.get(&request)?;
    Entry::parse(&message).ok_or_else(|| Failure::Other(GETROUTE, "answer not understood".into()))
}

/// The route of a matching entry. What the entry leaves open (the source address, one of several ways)
/// is asked for again.
fn completed(netlink: &mut Netlink, flow: &Flow, entry: &Entry) -> Route {
    let mut route = entry.to_route();
    if (route.source.is_none() || entry.hops.len() != 1)
        && let Ok(chosen) = ask(netlink, flow, 0)
    {
        // A source that was asked for is not repeated.
        route.source = chosen.source.or(route.source).or(flow.from);
        if let Some(hop) = chosen.hops.first() {
            route.oif = Some(hop.oif);
            route.gateway = hop.gateway;
        }
    }
    if entry.hops.len() > 1 {
        let names = entry
            .hops
            .iter()
            .filter_map(|hop| device_name(netlink, hop.oif));
        route.ways = names.collect();
    }
    route
}

/// What the kernel's refusal means.
fn refused(netlink: &mut Netlink, flow: Flow, failure: Failure) -> Result<Route, String> {
    let Some(mut kind) = kind_of(&failure) else {
        return Err(failure.into());
    };
    if kind == "none" && flow.from.is_none() && flow.iif == 0 {
        return Ok(of_kind(kind));
    }
    let rules = rules::read(netlink)?;
    // The kernel looks nothing up for a source that is not its own.
    if flow.iif == 0 && flow.from.is_some() && !rules::ask_for_source(&rules, &flow) {
        let without = Flow {
            from: None,
            ..flow.clone()
        };
        match ask(netlink, &without, RTM_F_LOOKUP_TABLE | RTM_F_FIB_MATCH) {
            Ok(entry) => return Ok(completed(netlink, &without, &entry)),
            Err(failure) => match kind_of(&failure) {
                None => return Err(failure.into()),
                Some("none") => return Ok(of_kind("none")),
                Some(other) => kind = other,
            },
        }
    }
    // The error number says neither table nor prefix, and some have several meanings.
    match rules::look_up(netlink, &rules, &flow) {
        Err(_) if matches!(kind, "unreachable" | "prohibit") => Ok(of_kind(kind)),
        outcome => outcome,
    }
}

/// The kind of route that an error number stands for.
fn kind_of(failure: &Failure) -> Option<&'static str> {
    match failure.errno()? {
        Errno::ENETUNREACH => Some("none"),
        Errno::EHOSTUNREACH => Some("unreachable"),
        Errno::EACCES => Some("prohibit"),
        Errno::EINVAL => Some("blackhole"),
        _ => None,
    }
}

fn of_kind(kind: &str) -> Route {
    Route {
        kind: kind.to_owned(),
        ..Route::default()
    }
}

pub(super) fn defaults(
    namespaces: &mut Namespaces,
    netns: u32,
    until: Instant,
) -> Result<DefaultRoutes, String> {
    let mut netlink = namespaces.netlink(netns, until)?;
    let mut indexes = Vec::new();
    let mut object = None;
    entries(&mut netlink, None, |entry| {
        if !entry.is_default() {
            return;
        }
        if entry.hops.is_empty() {
            object = object.or(entry.object);
        }
        for hop in entry.hops {
            if !indexes.contains(&hop.oif) {
                indexes.push(hop.oif);
            }
        }
    })?;
    if let Some(object) = object {
        return Err(format!("default route by nexthop object {object}"));
    }
    // A device that went away in the meantime has no route either.
    let devices = indexes
        .into_iter()
        .filter_map(|index| device_name(&mut netlink, index))
        .collect();
    Ok(DefaultRoutes { devices })
}
