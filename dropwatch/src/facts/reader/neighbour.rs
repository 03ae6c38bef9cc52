//! Neighbour entries.

use std::net::Ipv4Addr;
use std::time::Instant;

use nix::errno::Errno;

use super::netlink::{GETNEIGH, Request};
use super::netns::Namespaces;
use super::parse::attributes;
use crate::facts::{FactError, Neighbour};

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
/// Size of `struct ndmsg`.
const HEADER: usize = 12;
/// Failed and incomplete entries are not usable (`NUD_FAILED`, `NUD_INCOMPLETE`).
const UNUSABLE: u16 = 0x21;

pub(super) fn read(
    namespaces: &mut Namespaces,
    netns: u32,
    ifindex: u32,
    address: Ipv4Addr,
    until: Instant,
) -> Result<Neighbour, FactError> {
    let mut netlink = namespaces.netlink(netns, until)?;
    let mut header = [0; HEADER];
    header[0] = 2;
    header[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    let request = Request::new(GETNEIGH, &header).with(NDA_DST, address.octets());
    match netlink.get(&request) {
        Ok(message) => parse(&message).ok_or_else(|| "RTM_GETNEIGH: answer not understood".into()),
        Err(failure) if failure.errno() == Some(Errno::ENOENT) => Ok(Neighbour::default()),
        Err(failure) => Err(failure.into()),
    }
}

/// From the message, starting with `struct ndmsg`.
fn parse(message: &[u8]) -> Option<Neighbour> {
    let state = u16::from_ne_bytes(*message.get(8..)?.first_chunk()?);
    let mut rest = attributes(message.get(HEADER..)?);
    let has_address = rest.any(|(kind, value)| kind == NDA_LLADDR && !value.is_empty());
    Some(Neighbour {
        known: has_address && state & UNUSABLE == 0,
        state: Some(state),
    })
}

#[cfg(test)]
mod tests {
    use super::super::parse::tests::attribute;
    use super::*;

    #[test]
    fn a_failed_entry_is_not_known() {
        let entry = |state: u16| {
            let header = [2, 0, 0, 0, 7, 0, 0, 0];
            let tail = [state.to_ne_bytes().as_slice(), &[0, 0]].concat();
            let address = attribute(NDA_LLADDR, &[2, 0, 0, 0, 0, 1]);
            [header.as_slice(), &tail, &address].concat()
        };
        assert_eq!(parse(&entry(0x80)).map(|n| n.known), Some(true));
        assert_eq!(parse(&entry(0x20)).map(|n| n.known), Some(false));
        assert_eq!(parse(&[0; 9]), None);
    }
}
