//! Records of the `ipvs` hook, to the model.

use dropwatch_common::record::ipvs::{Ipvs, event as kind};

use super::evidence::{address, tuple};
use crate::{
    event::Event,
    model::{
        hook::Hook,
        ipvs::{Endpoint, IpvsConnection, IpvsReply, IpvsReset},
    },
};

/// What happened; `None` when the addresses are of no known family or the event of no known kind.
pub fn event(record: &Ipvs) -> Option<Event> {
    let endpoint = |bytes, port| {
        Some(Endpoint {
            addr: address(record.af, bytes)?,
            port,
        })
    };
    let connection = IpvsConnection {
        proto: record.protocol as u8,
        client: endpoint(record.caddr, record.cport)?,
        service: endpoint(record.vaddr, record.vport)?,
        real_server: endpoint(record.daddr, record.dport)?,
        flags: record.flags,
        fwmark: record.fwmark,
    };
    let (time_ns, netns) = (record.time_ns, record.netns);
    match record.event {
        kind::REPLY => Some(Event::IpvsReply(Box::new(IpvsReply {
            time_ns,
            cpu: record.cpu,
            netns,
            hook: Hook::from_number(record.hook),
            connection,
            asked: tuple(&record.asked)?,
        }))),
        kind::RESET => Some(Event::IpvsReset(IpvsReset {
            time_ns,
            netns,
            connection,
        })),
        _ => None,
    }
}
