//! A connection's addresses and ports in one direction.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

/// One direction of a connection, as conntrack has it. Numbers are in host byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Tuple {
    /// IP protocol number.
    pub proto: u8,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port, or ICMP identifier.
    pub sport: u16,
    /// Destination port; for ICMP type and code.
    pub dport: u16,
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            src,
            dst,
            sport,
            dport,
            ..
        } = self;
        match src {
            IpAddr::V4(_) => write!(f, "{src}:{sport} -> {dst}:{dport}"),
            IpAddr::V6(_) => write!(f, "[{src}]:{sport} -> [{dst}]:{dport}"),
        }
    }
}
