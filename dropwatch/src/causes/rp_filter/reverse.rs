//! The route back to the source: what it was, how it could lead back by the right device, and whether the source
//! is forged.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use crate::{
    facts::{Link, Route},
    judge::View,
    model::{anchor::Drop, evidence::SourceCheck, proto::Proto, tuple::Tuple},
};

/// include/uapi/linux/netfilter/nf_conntrack_common.h
const IPS_SEEN_REPLY: u32 = 2;
/// include/uapi/linux/rtnetlink.h
const RT_TABLE_MAIN: u32 = 254;
const RT_TABLE_LOCAL: u32 = 255;

/// The route back to the source.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct ReverseRoute {
    /// `unicast`, `blackhole`, …; null where it is not known.
    pub(super) kind: Option<String>,
    /// Device that it leaves by.
    pub(super) dev: Option<String>,
    /// Routing table.
    pub(super) table: Option<u32>,
    /// As `10.0.0.0/24`.
    pub(super) prefix: Option<String>,
    /// Next hop.
    pub(super) gateway: Option<Ipv4Addr>,
    /// Preferred source.
    pub(super) source: Option<Ipv4Addr>,
    /// Devices of all ways, where there are several (ECMP); else empty.
    pub(super) ways: Vec<String>,
    /// Who told device and table.
    pub(super) from: Informant,
}

/// Who told of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub(super) enum Informant {
    /// The look-up that refused the packet.
    Kernel,
    /// The tables, which were asked after it.
    #[default]
    Config,
}

/// What speaks for a forged source, or against it.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Origin {
    /// Device and namespace here that have this very address, behind the device of the route back.
    pub(super) owner: Option<String>,
    /// By which device that owner's own routes lead to the packet's destination, if that one leads to the device that the packet
    /// came in by, or away from this namespace: then the path is asymmetric.
    pub(super) owner_sends_by: Option<String>,
    /// Whether they lead straight to another device of this namespace: then the owner did not send the packet this way.
    pub(super) owner_sends_back: bool,
    /// Whether conntrack has seen packets of this connection in both directions; `None` where it was not asked or
    /// could not tell.
    pub(super) conversation: Option<bool>,
}

impl Origin {
    /// Whether the path is known to be asymmetric.
    pub(super) fn is_asymmetric(&self) -> bool {
        self.conversation == Some(true) || self.owner_sends_by.is_some()
    }
}

/// How the source is reached by the device that it came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// It is on the link itself.
    OnLink,
    /// By a router, as another route there says.
    Gateway(Ipv4Addr),
}

/// Whether there was no route back, as the kernel saw it or as the tables say now.
pub(super) fn no_route(check: &SourceCheck, back: Option<&Route>) -> Option<bool> {
    match (&check.lookup, back) {
        (Some(lookup), _) => Some(lookup.oif == 0),
        (None, Some(back)) => Some(back.oif.is_none()),
        (None, None) => None,
    }
}

/// Device and table from the kernel's look-up where it was seen; the rest from the tables, if they still
/// agree with it.
pub(super) fn reverse_route(
    check: &SourceCheck,
    link: Option<&Link>,
    asked: Option<&Route>,
) -> Option<ReverseRoute> {
    let of_config = asked.filter(|r| r.kind != "none").map(|r| ReverseRoute {
        kind: Some(r.kind.clone()),
        dev: r.dev.clone(),
        table: r.table,
        prefix: r.prefix.clone(),
        gateway: r.gateway,
        source: r.source,
        ways: r.ways.clone(),
        from: Informant::Config,
    });
    let Some(lookup) = &check.lookup else {
        return of_config;
    };
    if lookup.oif == 0 {
        // Blackholes and their like have no device either.
        return of_config.filter(|r| r.dev.is_none());
    }
    let agrees = asked.is_some_and(|r| r.oif == Some(lookup.oif));
    let mut route = of_config.filter(|_| agrees).unwrap_or_default();
    route.from = Informant::Kernel;
    // Without rules of their own, local and main are one table for the kernel, which it calls main.
    if route.table != Some(RT_TABLE_LOCAL) || lookup.table != RT_TABLE_MAIN {
        route.table = Some(lookup.table);
    }
    route.dev = route.dev.or_else(|| link.map(|l| l.name.clone()));
    Some(route)
}

/// How the source is reached by what a routing table says of the device.
pub(super) fn via(route: Option<&Route>) -> Option<Via> {
    let route = route.filter(|r| r.kind == "unicast" && r.prefix.is_some())?;
    Some(route.gateway.map_or(Via::OnLink, Via::Gateway))
}

/// How the source is reached at the other end of a veth: nobody else can have sent the packet, so it is that end's
/// own address or one that the end is the router of.
pub(super) fn via_peer(link: &Link, source: Ipv4Addr, view: &View<'_>) -> Option<Via> {
    let peer = link.peer.as_ref()?;
    let netns = peer
        .netns
        .filter(|_| link.kind.as_deref() == Some("veth"))?;
    let owner = view.owner(netns, source);
    let end = view.link(netns, peer.ifindex)?;
    // A bridge there has others behind it.
    if end.master.is_some() {
        return None;
    }
    let theirs: Vec<Ipv4Addr> = end
        .ipv4
        .iter()
        .filter_map(|cidr| subnet(cidr))
        .map(|s| s.0)
        .collect();
    if theirs.contains(&source) {
        return Some(Via::OnLink);
    }
    let ours: Vec<_> = link.ipv4.iter().filter_map(|cidr| subnet(cidr)).collect();
    let shared = theirs.iter().find(|address| {
        ours.iter().any(|(own, length)| {
            let bits = u32::from(*own) ^ u32::from(**address);
            *length < 32 && bits.leading_zeros() >= *length
        })
    });
    match shared {
        Some(gateway) => Some(Via::Gateway(*gateway)),
        // It answers ARP for all of its addresses.
        None => owner?.device.is_some().then_some(Via::OnLink),
    }
}

/// Address and prefix length of `10.0.0.1/24`.
fn subnet(cidr: &str) -> Option<(Ipv4Addr, u32)> {
    let (address, length) = cidr.split_once('/')?;
    Some((address.parse().ok()?, length.parse().ok()?))
}

/// Looks for who has the source's address, and for answers to it.
pub(super) fn origin(
    drop: &Drop,
    view: &View<'_>,
    source: Ipv4Addr,
    dev: u32,
    back: Option<u32>,
) -> Origin {
    let behind = back.and_then(|index| view.link(drop.netns, index));
    let there = behind.and_then(|link| {
        let netns = link.peer.as_ref()?.netns.filter(|n| *n != drop.netns)?;
        Some((link, netns, view.owner(netns, source)?))
    });
    let sends = there.and_then(|(link, netns, owner)| {
        owner.device.as_ref()?;
        let IpAddr::V4(to) = drop.packet.as_ref()?.dst else {
            return None;
        };
        let route = view.route_of(netns, to, Some(source), 0, 0, 0)?;
        let (oif, by) = (route.oif?, route.dev.clone()?);
        let straight = oif == link.peer.as_ref()?.ifindex || {
            let far = view.link(netns, oif)?.peer.as_ref();
            far.is_some_and(|p| p.netns == Some(drop.netns) && p.ifindex != dev)
        };
        Some((straight, by))
    });
    let owner = there.and_then(|(link, netns, owner)| {
        let name = link.peer.as_ref()?.owner.as_ref();
        let name = name.and_then(|n| n.name.clone());
        let device = owner.device.as_ref()?;
        Some(match name {
            Some(name) => format!("{device} in netns {name}"),
            None => format!("{device} in netns {netns}"),
        })
    });
    let tuple = drop.packet.as_ref().and_then(|p| {
        Some(Tuple {
            proto: matches!(p.proto, Proto::TCP | Proto::UDP).then_some(p.proto.0)?,
            src: p.src,
            dst: p.dst,
            sport: p.sport?,
            dport: p.dport?,
        })
    });
    let entry = tuple.and_then(|tuple| view.conntrack(drop.netns, tuple, 0));
    Origin {
        owner,
        owner_sends_back: sends.as_ref().is_some_and(|(straight, _)| *straight),
        owner_sends_by: sends.filter(|(straight, _)| !straight).map(|(_, by)| by),
        // No entry says nothing: conntrack may not be there, or in another zone.
        conversation: entry
            .filter(|e| e.found)
            .map(|e| e.status & IPS_SEEN_REPLY != 0),
    }
}
