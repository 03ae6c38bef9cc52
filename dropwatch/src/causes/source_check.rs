//! The check of a packet's source address (net/ipv4/fib_frontend.c and route.c, 5.10 to 7.2), as far as more than
//! one explanation speaks of it: whose settings it used, and what kind of source it refused.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;

use crate::{
    judge::View,
    model::{
        anchor::{Dev, Drop},
        evidence::{Mode, Refused},
    },
};

/// The device whose settings the check used.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The device; a VRF where it is not known which of its devices it was.
    pub dev: Dev,
    /// Its settings, if they are known.
    pub mode: Option<Mode>,
    /// Whether the kernel showed them at the drop; else they were read afterwards.
    pub by_kernel: bool,
    /// Index of the VRF that the route was looked up in.
    pub vrf: Option<u32>,
    /// Why the settings are not known.
    pub unknown: Option<String>,
}

/// Whose settings the check used. In a VRF they are those of the device that the packet came in by, though the
/// packet shows the VRF by then (net/ipv4/ip_input.c, `ip_rcv_finish`); above bridges, bonds, VLANs, macvlans and
/// ipvlans (L2) it is the upper device's.
#[must_use]
pub fn checked(drop: &Drop, view: &View<'_>) -> Option<Checked> {
    let dev = drop.dev.clone()?;
    let link = view.link(drop.netns, dev.ifindex);
    let settings = view.rp_filter(drop.netns);
    let by_kernel = drop.source_check.as_ref().and_then(|check| check.mode);
    let vrf = link.and_then(|link| link.vrf);
    let lowers = link.map_or(&[][..], |link| &link.lowers);
    let (dev, link) = match lowers {
        _ if vrf != Some(dev.ifindex) => {
            if by_kernel.is_some() {
                return Some(Checked {
                    dev,
                    mode: by_kernel,
                    by_kernel: true,
                    vrf,
                    unknown: None,
                });
            }
            (dev, link)
        }
        [(name, ifindex)] => {
            let lower = Dev {
                name: name.clone(),
                ifindex: *ifindex,
            };
            (lower, view.link(drop.netns, *ifindex))
        }
        lowers => {
            let names: Vec<_> = lowers.iter().map(|(name, _)| name.as_str()).collect();
            return Some(Checked {
                unknown: Some(format!(
                    "which device of the VRF {} the packet came in by ({}): that one's rp_filter counts, and the \
                     packet shows the VRF alone",
                    dev.name,
                    names.join(", ")
                )),
                dev,
                mode: None,
                by_kernel: false,
                vrf,
            });
        }
    };
    let read = settings.zip(link).and_then(|(settings, link)| {
        let of_device = settings.devices.iter().find(|(name, _)| *name == dev.name);
        Some(Mode {
            all: settings.all,
            device: of_device?.1,
            has_address: !link.ipv4.is_empty(),
        })
    });
    let unknown = read
        .is_none()
        .then(|| format!("the rp_filter settings of {} at the drop", dev.name));
    Some(Checked {
        dev,
        mode: read,
        by_kernel: false,
        vrf,
        unknown,
    })
}

/// What kind of source was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Martian {
    /// 127.0.0.0/8.
    Loopback,
    /// A multicast address.
    Multicast,
    /// 255.255.255.255.
    LimitedBroadcast,
    /// 0.0.0.0/8.
    Zero,
    /// Exactly an address of this host, on this device.
    OwnAddress(String),
    /// Inside a route of type local (or broadcast), in a namespace where all such routes are asked whatever
    /// `rp_filter` says.
    LocalRoute(Prefix),
    /// The same, and the kernel only asked for it because `rp_filter` was on.
    ByFilter(Prefix),
    /// The same; whether it takes `rp_filter` for that is not known.
    Unclear(Prefix),
    /// The same; whether it is an own address is not known either.
    OfLocalRoute(Prefix),
    /// What the kernel refused it for is not known.
    Unknown,
}

/// A route that the source is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// `local`, `broadcast`, …
    pub kind: String,
    /// The prefix, if it is known.
    pub prefix: Option<String>,
    /// Device of the route.
    pub dev: Option<String>,
}

impl Martian {
    /// What is told of it in the facts.
    #[must_use]
    pub fn kind(&self) -> MartianKind {
        match self {
            Self::Loopback => MartianKind::Loopback,
            Self::Multicast => MartianKind::Multicast,
            Self::LimitedBroadcast => MartianKind::Broadcast,
            Self::Zero => MartianKind::Zero,
            Self::OwnAddress(_) => MartianKind::OwnAddress,
            Self::LocalRoute(route)
            | Self::ByFilter(route)
            | Self::Unclear(route)
            | Self::OfLocalRoute(route) => match route.kind.as_str() {
                "broadcast" => MartianKind::Broadcast,
                "multicast" => MartianKind::Multicast,
                _ => MartianKind::LocalRoute,
            },
            Self::Unknown => MartianKind::Invalid,
        }
    }
}

/// A kind of source that no packet may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MartianKind {
    /// An address of this host.
    OwnAddress,
    /// Inside a route of type local.
    LocalRoute,
    /// 127.0.0.0/8.
    Loopback,
    /// A multicast address.
    Multicast,
    /// A broadcast address.
    Broadcast,
    /// 0.0.0.0/8.
    Zero,
    /// What the kernel refused it for is not known.
    Invalid,
}

impl MartianKind {
    /// In words: as it is for a sentence.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::OwnAddress => "own address",
            Self::LocalRoute => "local route",
            Self::Loopback => "loopback",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Zero => "zero",
            Self::Invalid => "invalid",
        }
    }
}

/// Whether it was refused for its source by another check than the reverse path.
#[must_use]
pub fn may_be_martian(drop: &Drop) -> bool {
    let check = drop.source_check.as_ref();
    let returned = check.and_then(|c| c.returned.as_ref()).map(|r| r.verdict);
    // IP_LOCALNET is either address being in 127/8; only the source makes it a martian source.
    let of_loopback = drop.packet.as_ref().is_some_and(|p| p.src.is_loopback());
    let named = match drop.reason.name.as_deref() {
        Some("IP_LOCAL_SOURCE" | "IP_INVALID_SOURCE") => true,
        Some("IP_LOCALNET") => of_loopback,
        _ => false,
    };
    let refused = returned == Some(Refused::LocalOrInvalid);
    // The handler also runs for the reverse-path filter: where reasons have names, that one has its own.
    let reverse_path = drop.reason.name.as_deref() == Some("IP_RPFILTER");
    let handled =
        drop.reason.name.is_some() && !reverse_path && check.is_some_and(|c| c.martian_handler);
    named || refused || handled || impossible(drop)
}

/// Freed by the receive path, without a word, and with a source that this path always refuses: enough where
/// no hook saw the refusal (loopback sources never reach `fib_validate_source`).
fn impossible(drop: &Drop) -> bool {
    let receiving = drop
        .location
        .symbol
        .as_deref()
        .is_some_and(|s| s.split('.').next() == Some("ip_rcv_finish_core"));
    let packet = drop.packet.as_ref();
    let bad = packet.is_some_and(|p| match (p.src, p.dst) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => by_address(source, destination).is_some(),
        _ => false,
    });
    drop.reason.name.is_some() && drop.reason.is_silent() && receiving && bad
}

/// Sources that are refused for what they are. Nothing of that is asked before a multicast group was found to be
/// joined, and zero may be sent to all and to groups (`ip_route_input_slow`, `ip_mc_validate_source`).
#[must_use]
pub fn by_address(source: Ipv4Addr, destination: Ipv4Addr) -> Option<Martian> {
    if destination.is_multicast() {
        return None;
    }
    if source.is_loopback() {
        Some(Martian::Loopback)
    } else if source.is_multicast() {
        Some(Martian::Multicast)
    } else if source.is_broadcast() {
        Some(Martian::LimitedBroadcast)
    } else if source.octets()[0] == 0 && !destination.is_broadcast() {
        Some(Martian::Zero)
    } else {
        None
    }
}

/// What kind of source it is; `None` when the source was not the matter, or while facts are pending.
#[must_use]
pub fn martian(drop: &Drop, view: &View<'_>) -> Option<Martian> {
    if !may_be_martian(drop) {
        return None;
    }
    let packet = drop.packet.as_ref()?;
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (packet.src, packet.dst) else {
        return Some(Martian::Unknown);
    };
    let named = matches!(
        drop.reason.name.as_deref(),
        Some("IP_LOCAL_SOURCE" | "IP_INVALID_SOURCE" | "IP_LOCALNET")
    );
    // A group's packet is refused for its source too, once the group is joined.
    let against = if named && destination.is_multicast() {
        Ipv4Addr::LOCALHOST
    } else {
        destination
    };
    if let Some(kind) = by_address(source, against) {
        return Some(kind);
    }
    // All questions first: they are answered side by side.
    let owner = view.owner(drop.netns, source);
    let checked = checked(drop, view);
    let oif = checked.as_ref().and_then(|c| c.vrf).unwrap_or(0);
    let route = view.route_of(drop.netns, source, None, 0, 0, oif);
    if let Some(device) = owner.and_then(|owner| owner.device.as_ref()) {
        return Some(Martian::OwnAddress(device.clone()));
    }
    let route = route?;
    if !matches!(
        route.kind.as_str(),
        "local" | "broadcast" | "multicast" | "anycast"
    ) {
        return Some(Martian::Unknown);
    }
    let prefix = Prefix {
        kind: route.kind.clone(),
        prefix: route.prefix.clone(),
        dev: route.dev.clone(),
    };
    let Some(owner) = owner else {
        return Some(Martian::OfLocalRoute(prefix));
    };
    let always = owner.custom_rules || owner.custom_local_routes;
    let mode = checked.filter(|c| c.by_kernel).and_then(|c| c.mode);
    Some(match mode {
        _ if always => Martian::LocalRoute(prefix),
        // Without rules and routes of that kind the kernel asks for its own addresses alone unless rp_filter is on.
        Some(mode) if mode.effective() > 0 => Martian::ByFilter(prefix),
        _ => Martian::Unclear(prefix),
    })
}
