//! Multicast groups that a device takes packets of (net/ipv4/igmp.c, `ip_check_mc_rcu`).

use std::fs;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::link::device_name;
use super::netns::Namespaces;
use crate::facts::{FactError, Groups};

/// Of the thread that looks: `/proc/net` is that of the process.
const FILE: &str = "/proc/thread-self/net/igmp";

pub(super) fn read(
    namespaces: &mut Namespaces,
    netns: u32,
    ifindex: u32,
    until: Instant,
) -> Result<Groups, FactError> {
    let mut netlink = namespaces.netlink(netns, until)?;
    let name = device_name(&mut netlink, ifindex);
    let file = namespaces.open(netns)?;
    let (text, routed) = namespaces.inside(netns, &file, || {
        let text = fs::read_to_string(FILE).map_err(|e| FactError::io(FILE, &e))?;
        let is_on = |name: &str| {
            let path = format!("/proc/sys/net/ipv4/conf/{name}/mc_forwarding");
            // Absent on kernels without multicast routing.
            fs::read_to_string(path).is_ok_and(|text| text.trim() != "0")
        };
        Ok::<_, FactError>((text, is_on("all") || name.as_deref().is_some_and(is_on)))
    })?;
    Ok(Groups {
        joined: joined(&text, ifindex),
        routed,
    })
}

/// Groups of a device: a line for the device, then indented ones for its groups, each in hexadecimal digits of
/// the number that the address is in memory.
fn joined(text: &str, ifindex: u32) -> Vec<Ipv4Addr> {
    let mut of_device = false;
    let mut groups = Vec::new();
    for line in text.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if !line.starts_with(char::is_whitespace) {
            of_device = first.parse() == Ok(ifindex);
        } else if of_device && let Ok(number) = u32::from_str_radix(first, 16) {
            groups.push(Ipv4Addr::from(number.to_ne_bytes()));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_of_the_device() {
        let text = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
                    1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n\
                    2\teth0      :     2      V3\n\t\t\t\t160000E0     1 0:00000000\t\t0\n\
                    \t\t\t\t010000E0     1 0:00000000\t\t0\n";
        if cfg!(target_endian = "little") {
            let expected = [Ipv4Addr::new(224, 0, 0, 22), Ipv4Addr::new(224, 0, 0, 1)];
            assert_eq!(joined(text, 2), expected);
            assert_eq!(joined(text, 1), [Ipv4Addr::new(224, 0, 0, 1)]);
        }
        assert!(joined(text, 3).is_empty());
    }
}
