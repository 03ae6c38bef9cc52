//! Whose an address is, as far as the check of a packet's source asks for it.

use std::net::Ipv4Addr;
use std::time::Instant;

use super::link::device_name;
use super::lookup::entries;
use super::netlink::{GETADDR, Request};
use super::netns::Namespaces;
use super::parse::cidr;
use super::rules::{self, Rule};
use crate::facts::{FactError, Owner};

/// Made by the kernel with an address (include/uapi/linux/rtnetlink.h).
const RTPROT_KERNEL: u8 = 2;

pub(super) fn read(
    namespaces: &mut Namespaces,
    netns: u32,
    address: Ipv4Addr,
    until: Instant,
) -> Result<Owner, FactError> {
    let mut netlink = namespaces.netlink(netns, until)?;
    let mut owner = None;
    netlink.dump(
        &Request::new(GETADDR, &[2, 0, 0, 0, 0, 0, 0, 0]),
        |message| {
            if let Some((index, cidr)) = cidr(message)
                && is(&cidr, address)
            {
                owner = Some(index);
            }
        },
    )?;
    let device = match owner {
        Some(index) => {
            let name = device_name(&mut netlink, index);
            Some(name.unwrap_or_else(|| format!("device {index}")))
        }
        None => None,
    };
    let mut custom_local_routes = false;
    entries(&mut netlink, None, |entry| {
        custom_local_routes |= entry.kind == libc::RTN_LOCAL && entry.protocol != RTPROT_KERNEL;
    })?;
    Ok(Owner {
        device,
        custom_rules: rules::read(&mut netlink)?.iter().any(Rule::is_custom),
        custom_local_routes,
    })
}

/// Whether `10.0.0.1/24` is this address.
fn is(cidr: &str, address: Ipv4Addr) -> bool {
    cidr.split('/').next().and_then(|text| text.parse().ok()) == Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_address_is_meant() {
        assert!(is("10.1.0.1/24", Ipv4Addr::new(10, 1, 0, 1)));
        assert!(!is("10.1.0.1/24", Ipv4Addr::new(10, 1, 0, 50)));
    }
}
