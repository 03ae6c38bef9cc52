//! IPVS connections whose conntrack entry was detached although a translation needs it.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::{hook::Hook, tuple::Tuple};

/// A reply that is given the service's address, which is not what the client asked for: an anomaly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IpvsReply {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// CPU.
    pub cpu: u32,
    /// Network namespace inode number; 0 = unknown.
    pub netns: u32,
    /// Hook where IPVS took the reply; `None` for one that this version does not know.
    pub hook: Option<Hook>,
    /// The connection.
    pub connection: IpvsConnection,
    /// What the client sent, before translation.
    pub asked: Tuple,
}

/// The client resets such a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IpvsReset {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Network namespace inode number; 0 = unknown.
    pub netns: u32,
    /// The connection.
    pub connection: IpvsConnection,
}

/// A connection of IPVS, as it is in the kernel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IpvsConnection {
    /// IP protocol number.
    pub proto: u8,
    /// The client.
    pub client: Endpoint,
    /// The virtual service.
    pub service: Endpoint,
    /// The real server.
    pub real_server: Endpoint,
    /// `IP_VS_CONN_F_*` bits: [`dropwatch_common::record::ipvs::flag`].
    pub flags: u32,
    /// Mark of a fwmark service; 0 = none.
    pub fwmark: u32,
}

/// An address with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Endpoint {
    /// Address.
    pub addr: IpAddr,
    /// Port, host byte order.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.addr, self.port).fmt(f)
    }
}
