//! Connection tracking, as ctnetlink tells (`include/uapi/linux/netfilter/nfnetlink_conntrack.h`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;

use super::netlink::{CT_GET, Netlink, Request};
use super::netns::Namespaces;
use super::parse::{attribute, attributes};
use crate::facts::{ConntrackEntry, FactError};
use crate::model::tuple::Tuple;

pub(super) mod stats;

/// There while conntrack is loaded. Asking ctnetlink without it would load it.
const LOADED: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
/// Size of `struct nfgenmsg`.
const HEADER: usize = 4;
const NESTED: u16 = 0x8000;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
const CTA_ZONE: u16 = 18;

const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTO_ICMP_ID: u16 = 4;
const CTA_PROTO_ICMP_TYPE: u16 = 5;
const CTA_PROTO_ICMP_CODE: u16 = 6;
const CTA_PROTO_ICMPV6_ID: u16 = 7;
const CTA_PROTO_ICMPV6_TYPE: u16 = 8;
const CTA_PROTO_ICMPV6_CODE: u16 = 9;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;

/// `enum tcp_conntrack` (include/uapi/linux/netfilter/nf_conntrack_tcp.h), as `conntrack -L` prints it.
const TCP_STATES: [&str; 10] = [
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
];

/// The entry that holds the tuple in either direction: the kernel's hash has both.
pub(super) fn read(
    namespaces: &mut Namespaces,
    netns: u32,
    tuple: &Tuple,
    zone: u16,
    until: Instant,
) -> Result<ConntrackEntry, FactError> {
    let request = question(tuple, zone)?;
    let Some(mut netlink) = open(namespaces, netns, until)? else {
        return Ok(ConntrackEntry::default());
    };
    match netlink.get(&request) {
        Ok(message) => entry(&message).ok_or_else(|| {
            FactError::Malformed("netlink: IPCTNL_MSG_CT_GET: answer not understood".into())
        }),
        Err(failure) if failure.errno() == Some(Errno::ENOENT) => Ok(ConntrackEntry::default()),
        // Neither a request nor a reply: an ICMP error belongs to the entry of the packet that it quotes.
        Err(failure) if failure.errno() == Some(Errno::EINVAL) && is_icmp(tuple.proto) => {
            let kind = tuple.dport >> 8;
            Err(format!("conntrack keeps no entries for ICMP type {kind}").into())
        }
        Err(failure) => Err(failure.into()),
    }
}

/// A socket in the namespace; `None` when conntrack is not loaded.
fn open(
    namespaces: &mut Namespaces,
    netns: u32,
    until: Instant,
) -> Result<Option<Netlink>, FactError> {
    let file = namespaces.open(netns)?;
    namespaces.inside(netns, &file, || {
        if !Path::new(LOADED).exists() {
            return Ok(None);
        }
        let netlink = Netlink::open_netfilter(until);
        netlink.map(Some).map_err(|e| FactError::io("netlink", &e))
    })
}

fn is_icmp(proto: u8) -> bool {
    [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6].contains(&i32::from(proto))
}

fn question(tuple: &Tuple, zone: u16) -> Result<Request, FactError> {
    let (family, addresses) = match (tuple.src, tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => (
            libc::AF_INET,
            [
                attribute(CTA_IP_V4_SRC, &src.octets()),
                attribute(CTA_IP_V4_DST, &dst.octets()),
            ],
        ),
        (IpAddr::V6(src), IpAddr::V6(dst)) => (
            libc::AF_INET6,
            [
                attribute(CTA_IP_V6_SRC, &src.octets()),
                attribute(CTA_IP_V6_DST, &dst.octets()),
            ],
        ),
        _ => return Err("a tuple of both IPv4 and IPv6".into()),
    };
    let (id, to) = (tuple.sport.to_be_bytes(), tuple.dport.to_be_bytes());
    let icmp = |kinds: [u16; 3]| {
        let values = [&id[..], &to[..1], &to[1..]];
        let pairs = kinds.into_iter().zip(values);
        pairs
            .flat_map(|(kind, value)| attribute(kind, value))
            .collect()
    };
    let ports = match i32::from(tuple.proto) {
        libc::IPPROTO_ICMP => icmp([CTA_PROTO_ICMP_ID, CTA_PROTO_ICMP_TYPE, CTA_PROTO_ICMP_CODE]),
        libc::IPPROTO_ICMPV6 => icmp([
            CTA_PROTO_ICMPV6_ID,
            CTA_PROTO_ICMPV6_TYPE,
            CTA_PROTO_ICMPV6_CODE,
        ]),
        _ => [
            attribute(CTA_PROTO_SRC_PORT, &id),
            attribute(CTA_PROTO_DST_PORT, &to),
        ]
        .concat(),
    };
    let proto = [attribute(CTA_PROTO_NUM, &[tuple.proto]), ports].concat();
    let nested = [
        attribute(CTA_TUPLE_IP | NESTED, &addresses.concat()),
        attribute(CTA_TUPLE_PROTO | NESTED, &proto),
    ];
    let header = [u8::try_from(family).unwrap_or(0), 0, 0, 0];
    let mut request =
        Request::new(CT_GET, &header).with_bytes(CTA_TUPLE_ORIG | NESTED, &nested.concat());
    if zone != 0 {
        request = request.with_bytes(CTA_ZONE, &zone.to_be_bytes());
    }
    Ok(request)
}

/// From the message, starting with `struct nfgenmsg`.
fn entry(message: &[u8]) -> Option<ConntrackEntry> {
    let mut entry = ConntrackEntry {
        found: true,
        ..ConntrackEntry::default()
    };
    for (kind, value) in attributes(message.get(HEADER..)?) {
        match kind {
            CTA_TUPLE_ORIG => entry.original = tuple(value),
            CTA_TUPLE_REPLY => entry.reply = tuple(value),
            CTA_STATUS => entry.status = be32(value)?,
            CTA_TIMEOUT => entry.timeout_s = be32(value),
            CTA_PROTOINFO => entry.tcp_state = tcp_state(value),
            _ => {}
        }
    }
    entry.original.is_some().then_some(entry)
}

fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let (mut src, mut dst, mut proto) = (None, None, None);
    let (mut sport, mut dport) = (0, 0);
    for (part, inner) in attributes(bytes) {
        match part {
            CTA_TUPLE_IP => {
                for (kind, value) in attributes(inner) {
                    match kind {
                        CTA_IP_V4_SRC | CTA_IP_V6_SRC => src = address(value),
                        CTA_IP_V4_DST | CTA_IP_V6_DST => dst = address(value),
                        _ => {}
                    }
                }
            }
            CTA_TUPLE_PROTO => {
                for (kind, value) in attributes(inner) {
                    match kind {
                        CTA_PROTO_NUM => proto = value.first().copied(),
                        CTA_PROTO_SRC_PORT | CTA_PROTO_ICMP_ID | CTA_PROTO_ICMPV6_ID => {
                            sport = be16(value)?;
                        }
                        CTA_PROTO_DST_PORT => dport = be16(value)?,
                        CTA_PROTO_ICMP_TYPE | CTA_PROTO_ICMPV6_TYPE => {
                            dport |= u16::from(*value.first()?) << 8;
                        }
                        CTA_PROTO_ICMP_CODE | CTA_PROTO_ICMPV6_CODE => {
                            dport |= u16::from(*value.first()?);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(Tuple {
        proto: proto?,
        src: src?,
        dst: dst?,
        sport,
        dport,
    })
}

fn tcp_state(info: &[u8]) -> Option<String> {
    let (_, tcp) = attributes(info).find(|&(kind, _)| kind == CTA_PROTOINFO_TCP)?;
    let (_, state) = attributes(tcp).find(|&(kind, _)| kind == CTA_PROTOINFO_TCP_STATE)?;
    let state = *state.first()?;
    let name = TCP_STATES.get(usize::from(state));
    Some(name.map_or_else(|| state.to_string(), |&name| name.to_owned()))
}

fn be32(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|chunk| u32::from_be_bytes(*chunk))
}

fn be16(value: &[u8]) -> Option<u16> {
    value.first_chunk().map(|chunk| u16::from_be_bytes(*chunk))
}

fn address(value: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(value) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(value)
        .ok()
        .map(|v6| Ipv6Addr::from(v6).into())
}

#[cfg(test)]
mod tests;
