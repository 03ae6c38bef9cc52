//! What goes wrong and is no drop by itself.

use serde::Serialize;

use super::netns::Netns;
use crate::{
    model::{
        hook::Hook,
        ipvs::{Endpoint, IpvsReply},
        proto::Proto,
    },
    output::{
        Names,
        clock::{Clock, Time},
    },
};

/// A reply that leaves IPVS from where the client did not ask.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AnomalyObject<'a> {
    /// What went wrong.
    kind: AnomalyKind,
    /// When IPVS took the reply.
    time: Time,
    /// CPU.
    cpu: u32,
    /// Namespace of IPVS.
    netns: Netns<'a>,
    /// Where IPVS took it; null for a hook that this version does not know.
    hook: Option<Hook>,
    /// IP version.
    #[cfg_attr(test, schemars(extend("enum" = [4, 6])))]
    af: u8,
    /// Protocol name.
    #[cfg_attr(test, schemars(with = "String"))]
    proto: Proto,
    /// The client.
    client: Endpoint,
    /// The virtual service: what the reply leaves from.
    service: Endpoint,
    /// The real server.
    real_server: Endpoint,
    /// `IP_VS_CONN_F_*` bits of the connection.
    flags: u32,
    /// Mark of a fwmark service; 0 = none.
    fwmark: u32,
    /// What the client asked for.
    asked: Endpoint,
}

/// Kinds of anomalies.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum AnomalyKind {
    /// A reply leaves IPVS from the service's address although the client had asked for another.
    IpvsReply,
}

impl<'a> AnomalyObject<'a> {
    /// Of a reply; the clock gives its time, the names that of its namespace.
    pub(super) fn new(reply: &IpvsReply, clock: Clock, names: &'a Names) -> Self {
        let c = &reply.connection;
        Self {
            kind: AnomalyKind::IpvsReply,
            time: clock.rfc3339(reply.time_ns),
            cpu: reply.cpu,
            netns: Netns::new(reply.netns, names),
            hook: reply.hook,
            af: if c.client.addr.is_ipv4() { 4 } else { 6 },
            proto: Proto(c.proto),
            client: c.client,
            service: c.service,
            real_server: c.real_server,
            flags: c.flags,
            fwmark: c.fwmark,
            asked: Endpoint {
                addr: reply.asked.dst,
                port: reply.asked.dport,
            },
        }
    }
}
