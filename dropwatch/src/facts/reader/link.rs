//! Devices, their addresses and their other ends.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::netlink::{Failure, GETADDR, GETLINK, GETNSID, Netlink, Request};
use super::netns::Namespaces;
use super::parse::{Device, attributes, cidr, number, number_at};
use crate::facts::{FactError, Link, Peer};

/// Leaves out the statistics.
const RTEXT_FILTER_SKIP_STATS: u32 = 8;
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;

/// Longest search for the namespace of an other end.
const SEARCH_LIMIT: Duration = Duration::from_millis(200);

pub(super) fn read(
    namespaces: &mut Namespaces,
    netns: u32,
    ifindex: u32,
    until: Instant,
) -> Result<Link, FactError> {
    let mut here = namespaces.netlink(netns, until)?;
    let device = device(&mut here, ifindex, None)?;
    let ipv4 = addresses(&mut here, ifindex)?;
    let master = device
        .master
        .and_then(|index| device_name(&mut here, index));
    let vrf = vrf(&mut here, ifindex);
    let lowers = match vrf {
        Some((vrf, _)) if vrf == ifindex => lowers(&mut here, ifindex)?,
        _ => Vec::new(),
    };
    let peer = peer(namespaces, &mut here, netns, &device, until);
    Ok(Link {
        name: device.name,
        ifindex,
        kind: device.kind,
        ipv4,
        peer,
        master,
        vrf: vrf.map(|(index, _)| index),
        lowers,
    })
}

/// Index and table of the VRF that a device is or belongs to, directly or by a bridge or bond of it.
fn vrf(netlink: &mut Netlink, ifindex: u32) -> Option<(u32, u32)> {
    let mut index = ifindex;
    // Bridges in VRFs are common; more than a few levels are no device's.
    for _ in 0..4 {
        let device = device(netlink, index, None).ok()?;
        if let Some(table) = device.vrf_table {
            return Some((index, table));
        }
        index = device.master?;
    }
    None
}

/// Table of the VRF that a device is or belongs to.
pub(super) fn vrf_table(netlink: &mut Netlink, ifindex: u32) -> Option<u32> {
    Some(vrf(netlink, ifindex)?.1)
}

/// The devices of a VRF.
fn lowers(netlink: &mut Netlink, ifindex: u32) -> Result<Vec<(String, u32)>, Failure> {
    let request = Request::new(GETLINK, &[0; 16])
        .with(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS.to_ne_bytes())
        .with(libc::IFLA_MASTER, ifindex.to_ne_bytes());
    let mut found = Vec::new();
    netlink.dump(&request, |message| {
        if let (Some(device), Some(index)) = (Device::parse(message), number_at(message, 4))
            && device.master == Some(ifindex)
        {
            found.push((device.name, index));
        }
    })?;
    Ok(found)
}

/// The name of a device in the socket's namespace.
pub(super) fn device_name(netlink: &mut Netlink, ifindex: u32) -> Option<String> {
    Some(device(netlink, ifindex, None).ok()?.name)
}

/// A device of the socket's namespace, or of one that has an id there.
fn device(netlink: &mut Netlink, ifindex: u32, nsid: Option<i32>) -> Result<Device, Failure> {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    let mut request = Request::new(GETLINK, &header)
        .with(libc::IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    if let Some(nsid) = nsid {
        request = request.with(libc::IFLA_TARGET_NETNSID, nsid.to_ne_bytes());
    }
    let message = netlink.get(&request)?;
    Device::parse(&message).ok_or_else(|| Failure::Other(GETLINK, "answer not understood".into()))
}

fn addresses(netlink: &mut Netlink, ifindex: u32) -> Result<Vec<String>, Failure> {
    let mut header = [2, 0, 0, 0, 0, 0, 0, 0];
    header[4..].copy_from_slice(&ifindex.to_ne_bytes());
    let mut found = Vec::new();
    netlink.dump(&Request::new(GETADDR, &header), |message| {
        let of_device = cidr(message).filter(|&(index, _)| index == ifindex);
        found.extend(of_device.map(|(_, cidr)| cidr));
    })?;
    Ok(found)
}

fn peer(
    namespaces: &mut Namespaces,
    here: &mut Netlink,
    netns: u32,
    device: &Device,
    until: Instant,
) -> Option<Peer> {
    let ifindex = device.link?;
    let Some(nsid) = device.link_nsid else {
        let owner = namespaces.describe(netns).ok();
        return Some(Peer {
            ifindex,
            name: device_name(here, ifindex),
            netns: Some(netns),
            owner,
        });
    };
    if nsid < 0 {
        return Some(Peer {
            ifindex,
            ..Peer::default()
        });
    }
    let mut name = self::device(here, ifindex, Some(nsid))
        .ok()
        .map(|device| device.name);
    let search_until = until.min(Instant::now() + SEARCH_LIMIT);
    let found = search(namespaces, here, netns, nsid, search_until);
    if let Some(found) = found
        && name.is_none()
    {
        let there = namespaces.netlink(found, until);
        name = there
            .ok()
            .and_then(|mut there| device_name(&mut there, ifindex));
    }
    let owner = found.and_then(|found| namespaces.describe(found).ok());
    Some(Peer {
        ifindex,
        name,
        netns: found,
        owner,
    })
}

/// The namespace that has this id in the socket's.
fn search(
    namespaces: &mut Namespaces,
    here: &mut Netlink,
    netns: u32,
    nsid: i32,
    until: Instant,
) -> Option<u32> {
    let mut is_it = |namespaces: &mut Namespaces, candidate: u32| {
        let file = namespaces.open(candidate).ok()?;
        let id = id_of(here, &file)?;
        namespaces.remember_id(netns, id, candidate);
        (id == nsid).then_some(candidate)
    };
    if let Some(known) = namespaces.known_by_id(netns, nsid)
        && let Some(found) = is_it(namespaces, known)
    {
        return Some(found);
    }
    let mut tried = Vec::new();
    for again in [false, true] {
        let mut candidates = namespaces.all(netns, again);
        candidates.retain(|candidate| !tried.contains(candidate));
        for &candidate in &candidates {
            if Instant::now() >= until {
                return None;
            }
            if let Some(found) = is_it(namespaces, candidate) {
                return Some(found);
            }
        }
        tried = candidates;
    }
    None
}

/// The id that the namespace has in the socket's; `None` when it has none.
fn id_of(netlink: &mut Netlink, namespace: &File) -> Option<i32> {
    let fd = namespace.as_raw_fd();
    let request = Request::new(GETNSID, &[0; 4]).with(NETNSA_FD, fd.to_ne_bytes());
    let message = netlink.get(&request).ok()?;
    let id = attributes(message.get(4..)?)
        .find(|&(kind, _)| kind == NETNSA_NSID)?
        .1;
    number(id).map(u32::cast_signed).filter(|&id| id >= 0)
}
