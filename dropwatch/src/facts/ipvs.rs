//! IPVS: its sysctl, its services, one of its connections.

use serde::{Deserialize, Serialize};

use crate::model::{ipvs::Endpoint, proto::Proto};

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
    /// Real servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<IpvsDestination>,
}

/// A real server of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpvsDestination {
    /// Its address.
    pub endpoint: Endpoint,
    /// Share of new connections; 0 for none.
    pub weight: i32,
}

impl IpvsState {
    /// The service that takes packets to an address, as `ip_vs_service_find` looks for it (net/netfilter/ipvs/ip_vs_ctl.c):
    /// by the mark, the port, or for any port.
    #[must_use]
    pub fn service_of(&self, proto: Proto, to: Endpoint, mark: u32) -> Option<&IpvsService> {
        let name = proto.to_string();
        let by_mark = |one: &&IpvsService| one.fwmark != 0 && one.fwmark == mark;
        let name = name.as_str();
        let at = |port: u16| {
            move |one: &&IpvsService| {
                one.proto.eq_ignore_ascii_case(name)
                    && one
                        .endpoint
                        .is_some_and(|own| own.addr == to.addr && own.port == port)
            }
        };
        let all = || self.services.iter();
        all()
            .find(by_mark)
            .or_else(|| all().find(at(to.port)))
            .or_else(|| all().find(at(0)))
    }
}

impl IpvsService {
    /// Protocol and address, or mark, with the scheduler.
    #[must_use]
    pub fn name(&self) -> String {
        match self.endpoint {
            Some(endpoint) => format!("{} {endpoint} ({})", self.proto, self.scheduler),
            None => format!("of fwmark {:#x} ({})", self.fwmark, self.scheduler),
        }
    }

    /// Why it has no destination for new connections; `None` if it has one.
    #[must_use]
    pub fn unusable(&self) -> Option<String> {
        let all = self.destinations.len();
        if self.destinations.iter().any(|one| one.weight > 0) {
            return None;
        }
        Some(match all {
            0 => "it has none".to_owned(),
            1 => "its only one has weight 0".to_owned(),
            all => format!("all {all} have weight 0"),
        })
    }
}

/// A connection of IPVS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpvsEntry {
    /// State, as `ipvsadm -Lc` prints it.
    pub state: String,
    /// Seconds until it expires.
    pub expires_s: Option<u32>,
}
