//! IPVS: its sysctl, its services, one of its connections.

use serde::{Deserialize, Serialize};

use crate::model::ipvs::Endpoint;

/// What IPVS of a namespace says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IpvsState {
    /// `net.ipv4.vs.conntrack`.
    pub conntrack: Option<i32>,
    /// Virtual services.
    pub services: Vec<IpvsService>,
    /// The connection asked for, while IPVS has it.
    pub entry: Option<IpvsEntry>,
}

/// A virtual service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpvsService {
    /// `TCP`, `UDP`, `SCTP`, or `FWM` for a mark.
    pub proto: String,
    /// Its address; `None` for a mark.
    pub endpoint: Option<Endpoint>,
    /// Its mark; 0 for an address.
    pub fwmark: u32,
    /// Scheduler.
    pub scheduler: String,
}

/// A connection of IPVS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpvsEntry {
    /// State, as `ipvsadm -Lc` prints it.
    pub state: String,
    /// Seconds until it expires.
    pub expires_s: Option<u32>,
}
