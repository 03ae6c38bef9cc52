//! The facts as data (docs/events.md).

use std::net::IpAddr;

use serde::Serialize;

use crate::{model::ipvs::Endpoint, model::proto::Proto, netfilter::NatRuleFacts};

/// Facts of cause `ipvs_conntrack`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(rename = "IpvsConntrackFacts")
)]
pub struct Facts {
    /// What it is a case of.
    pub(super) kind: Kind,
    /// Protocol name.
    #[cfg_attr(test, schemars(with = "String"))]
    pub(super) proto: Proto,
    /// The client.
    pub(super) client: Endpoint,
    /// What the client asked for.
    pub(super) asked: Endpoint,
    /// What the reply left from.
    pub(super) answered: Endpoint,
    /// The virtual service.
    pub(super) service: Service,
    /// The real server.
    pub(super) real_server: Endpoint,
    /// `IP_VS_CONN_F_*` bits.
    pub(super) flags: u32,
    /// Their names, the forwarding method first.
    pub(super) flag_names: Vec<&'static str>,
    /// `net.ipv4.vs.conntrack` of the namespace, just after it.
    pub(super) vs_conntrack: Option<i32>,
    /// The sysctl is on, but IPVS's entry for the connection is older than that.
    pub(super) older_entry: bool,
    /// Seconds until that entry expires.
    pub(super) expires_s: Option<u32>,
    /// The rule that translated the destination.
    pub(super) rule: Option<NatRuleFacts>,
    /// The client's reset, if it came before this was told.
    pub(super) reset: Option<Reset>,
    /// What became of the reply at a client on this machine, if that was seen before this was told.
    pub(super) client_drop: Option<ClientDrop>,
}

/// What it is a case of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(inline))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A reply left from another address than the client had asked for.
    WrongSource,
}

/// A virtual service.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "IpvsService"))]
pub struct Service {
    /// Address.
    pub(super) addr: IpAddr,
    /// Port, host byte order.
    pub(super) port: u16,
    /// Mark of a fwmark service; 0 = none.
    pub(super) fwmark: u32,
    /// Name of its scheduler.
    pub(super) scheduler: Option<String>,
}

/// A client's reset.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Reset {
    /// After the reply, milliseconds.
    #[cfg_attr(test, schemars(range(min = 0)))]
    pub(super) after_ms: f64,
}

/// A drop at the client.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ClientDrop {
    /// The client's namespace.
    pub(super) netns: ClientNetns,
    /// Name, `reason N`, or `no reason given`.
    pub(super) reason: String,
    /// `function+0x1d`, or the address.
    pub(super) location: String,
    /// After the reply, milliseconds.
    #[cfg_attr(test, schemars(range(min = 0)))]
    pub(super) after_ms: f64,
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ClientNetns {
    /// Inode number; 0 = unknown.
    pub(super) inum: u32,
}
