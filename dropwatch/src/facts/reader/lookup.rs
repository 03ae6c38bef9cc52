//! Entries of routing tables, and which of a table's entries an address belongs to.

use std::net::Ipv4Addr;

use super::netlink::{Failure, GETROUTE, Netlink, Request};
use super::parse::{address, attributes, covers, number, number_at};
use crate::facts::Route;

const RTNH_F_DEAD: u32 = 1;
const RTM_F_CLONED: u32 = 0x200;
const RTA_NH_ID: u16 = 30;
/// Size of `struct rtmsg` and of `struct rtnexthop`.
const RTMSG: usize = 12;
const RTNEXTHOP: usize = 8;

/// An IPv4 route, as the kernel tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: u8,
    pub(super) table: u32,
    pub(super) network: Option<Ipv4Addr>,
    pub(super) length: u8,
    pub(super) source: Option<Ipv4Addr>,
    pub(super) hops: Vec<Hop>,
    /// Nexthop object, which stands for the hops when the kernel does not list them.
    pub(super) object: Option<u32>,
    /// Who made it: `RTPROT_*`.
    pub(super) protocol: u8,
    tos: u8,
    flags: u32,
    priority: u32,
}

/// Where a route leads next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) oif: u32,
    pub(super) gateway: Option<Ipv4Addr>,
}

impl Entry {
    /// From the message, starting with `struct rtmsg`.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let header: &[u8; RTMSG] = message.first_chunk()?;
        let [family, length, _, tos, table, protocol, _, kind, ..] = *header;
        if i32::from(family) != libc::AF_INET {
            return None;
        }
        let flags = number_at(header, 8)?;
        let mut entry = Self {
            kind,
            table: table.into(),
            length,
            protocol,
            tos,
            flags,
            ..Self::default()
        };
        let mut hop = Hop::default();
        for (kind, value) in attributes(message.get(RTMSG..)?) {
            match kind {
                libc::RTA_DST => entry.network = address(value),
                libc::RTA_OIF => hop.oif = number(value).unwrap_or_default(),
                libc::RTA_GATEWAY => hop.gateway = address(value),
                libc::RTA_PREFSRC => entry.source = address(value),
                libc::RTA_TABLE => entry.table = number(value)?,
                libc::RTA_PRIORITY => entry.priority = number(value)?,
                libc::RTA_MULTIPATH => entry.hops = hops(value),
                RTA_NH_ID => entry.object = number(value),
                _ => {}
            }
        }
        if hop.oif != 0 {
            entry.hops.insert(0, hop);
        }
        Some(entry)
    }

    /// Whether look-ups can use it: not a cached exception, and its device is up.
    fn is_usable(&self) -> bool {
        self.flags & (RTM_F_CLONED | RTNH_F_DEAD) == 0 && self.tos == 0
    }

    fn covers(&self, to: Ipv4Addr) -> bool {
        covers(
            self.network.unwrap_or(Ipv4Addr::UNSPECIFIED),
            self.length,
            to,
        )
    }

    /// Whether it comes before another one that covers the same address.
    fn wins_over(&self, other: &Self) -> bool {
        let rank = |entry: &Self| (u8::MAX - entry.length, entry.priority);
        rank(self) < rank(other)
    }

    /// Whether it is an IPv4 default route.
    pub(super) fn is_default(&self) -> bool {
        self.length == 0 && self.kind == libc::RTN_UNICAST && self.is_usable()
    }

    /// The fact, but for the device's name.
    pub(super) fn to_route(&self) -> Route {
        let network = self.network.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let hop = self.hops.first();
        Route {
            kind: kind_name(self.kind),
            dev: None,
            oif: hop.map(|hop| hop.oif),
            table: (self.table != 0).then_some(self.table),
            prefix: Some(format!("{network}/{}", self.length)),
            gateway: hop.and_then(|hop| hop.gateway),
            source: self.source,
            ways: Vec::new(),
            rule: None,
        }
    }
}

/// The nexthops in a multipath attribute.
fn hops(mut bytes: &[u8]) -> Vec<Hop> {
    let mut hops = Vec::new();
    while let Some(length) = bytes
        .first_chunk()
        .map(|two| usize::from(u16::from_ne_bytes(*two)))
    {
        let (Some(oif), Some(rest)) = (number_at(bytes, 4), bytes.get(RTNEXTHOP..length)) else {
            break;
        };
        let gateway = attributes(rest).find(|&(kind, _)| kind == libc::RTA_GATEWAY);
        hops.push(Hop {
            oif,
            gateway: gateway.and_then(|(_, value)| address(value)),
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}

/// The name `ip route` has for a kind of route.
pub(super) fn kind_name(kind: u8) -> String {
    let name = match kind {
        libc::RTN_UNICAST => "unicast",
        libc::RTN_LOCAL => "local",
        libc::RTN_BROADCAST => "broadcast",
        libc::RTN_ANYCAST => "anycast",
        libc::RTN_MULTICAST => "multicast",
        libc::RTN_BLACKHOLE => "blackhole",
        libc::RTN_UNREACHABLE => "unreachable",
        libc::RTN_PROHIBIT => "prohibit",
        libc::RTN_THROW => "throw",
        libc::RTN_NAT => "nat",
        other => return format!("type {other}"),
    };
    name.to_owned()
}

/// Goes through the entries of one table, or of all.
pub(super) fn entries(
    netlink: &mut Netlink,
    table: Option<u32>,
    mut each: impl FnMut(Entry),
) -> Result<(), Failure> {
    let mut header = [0; RTMSG];
    header[0] = u8::try_from(libc::AF_INET).unwrap_or_default();
    let mut request = Request::new(GETROUTE, &header);
    if let Some(table) = table {
        request = request.with(libc::RTA_TABLE, table.to_ne_bytes());
    }
    let asked = |entry: &Entry| table.is_none_or(|table| table == entry.table);
    netlink.dump(&request, |message| {
        Entry::parse(message)
            .filter(asked)
            .into_iter()
            .for_each(&mut each)
    })
}

/// The entry of the table that an address belongs to.
pub(super) fn best(
    netlink: &mut Netlink,
    table: u32,
    to: Ipv4Addr,
) -> Result<Option<Entry>, Failure> {
    let mut best: Option<Entry> = None;
    let outcome = entries(netlink, Some(table), |entry| {
        let wins = best.as_ref().is_none_or(|best| entry.wins_over(best));
        if entry.is_usable() && entry.covers(to) && wins {
            best = Some(entry);
        }
    });
    match outcome {
        // There is no such table: the same as an empty one.
        Err(failure) if failure.errno() == Some(nix::errno::Errno::ENOENT) => Ok(None),
        outcome => outcome.map(|()| best),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::parse::tests::attribute;
    use super::*;

    /// A message of `RTM_NEWROUTE`.
    pub(in super::super) fn message(kind: u8, length: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let header = [2, length, 0, 0, 254, 3, 0, kind, 0, 0, 0, 0];
        [header.to_vec(), attributes.concat()].concat()
    }

    #[test]
    fn a_route_by_a_gateway_is_read() {
        let message = message(
            libc::RTN_UNICAST,
            24,
            &[
                attribute(libc::RTA_TABLE, &1000u32.to_ne_bytes()),
                attribute(libc::RTA_DST, &[10, 2, 0, 0]),
                attribute(libc::RTA_GATEWAY, &[10, 1, 0, 254]),
                attribute(libc::RTA_OIF, &3u32.to_ne_bytes()),
            ],
        );
        let route = Entry::parse(&message).expect("a route").to_route();
        let expected = Route {
            kind: "unicast".into(),
            dev: None,
            oif: Some(3),
            table: Some(1000),
            prefix: Some("10.2.0.0/24".into()),
            gateway: Some(Ipv4Addr::new(10, 1, 0, 254)),
            source: None,
            ways: Vec::new(),
            rule: None,
        };
        assert_eq!(route, expected);
        for length in 0..message.len() {
            let _ = Entry::parse(&message[..length]);
        }
    }

    #[test]
    fn a_multipath_default_route_is_read() {
        let hop = |oif: u32, gateway: [u8; 4]| {
            let header = [&[16, 0, 0, 0][..], &oif.to_ne_bytes()].concat();
            [header, attribute(libc::RTA_GATEWAY, &gateway)].concat()
        };
        let both = [hop(3, [10, 0, 0, 1]), hop(4, [10, 0, 1, 1])].concat();
        let message = message(
            libc::RTN_UNICAST,
            0,
            &[attribute(libc::RTA_MULTIPATH, &both)],
        );
        let entry = Entry::parse(&message).expect("a route");
        assert!(entry.is_default());
        let devices: Vec<u32> = entry.hops.iter().map(|hop| hop.oif).collect();
        assert_eq!(devices, [3, 4]);
        assert_eq!(entry.to_route().gateway, Some(Ipv4Addr::new(10, 0, 0, 1)));
        for length in 0..both.len() {
            let _ = hops(&both[..length]);
        }
        assert_eq!(hops(&[0; 16]), [], "a length of nothing ends it");
    }

    #[test]
    fn unreachable_defaults_and_exceptions_are_no_default_routes() {
        let none = message(libc::RTN_UNREACHABLE, 0, &[]);
        assert!(!Entry::parse(&none).expect("a route").is_default());
        let mut cached = message(libc::RTN_UNICAST, 0, &[]);
        cached[8..12].copy_from_slice(&RTM_F_CLONED.to_ne_bytes());
        assert!(!Entry::parse(&cached).expect("a route").is_default());
        let mut ipv6 = message(libc::RTN_UNICAST, 0, &[]);
        ipv6[0] = 10;
        assert_eq!(Entry::parse(&ipv6), None);
    }

    #[test]
    fn the_longest_prefix_then_the_lowest_metric_wins() {
        let entry = |length, priority| Entry {
            length,
            priority,
            ..Entry::default()
        };
        assert!(entry(24, 100).wins_over(&entry(16, 0)));
        assert!(entry(24, 1).wins_over(&entry(24, 2)));
        assert!(
            !entry(24, 1).wins_over(&entry(24, 1)),
            "the first one stays"
        );
    }
}
