//! Reads the parts of kernel answers that facts need. What is not needed is not looked at.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use netlink_packet_core::{NLA_ALIGNTO, NLA_HEADER_SIZE, NLA_TYPE_MASK};

use super::process::inode;

/// The attributes in these bytes: type and value.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?) & NLA_TYPE_MASK;
        let value = rest.get(NLA_HEADER_SIZE..length)?;
        rest = rest
            .get(length.next_multiple_of(NLA_ALIGNTO)..)
            .unwrap_or_default();
        Some((kind, value))
    })
}

/// An attribute with its padding.
pub(super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A native-endian number at an offset.
pub(super) fn number_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes
        .get(offset..)?
        .first_chunk()
        .map(|chunk| u32::from_ne_bytes(*chunk))
}

/// The value of an attribute with a number.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    number_at(value, 0)
}

/// The value of an attribute with an IPv4 address.
pub(super) fn address(value: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from)
}

/// The value of an attribute with a name, up to its closing zero.
pub(super) fn text(value: &[u8]) -> Option<String> {
    let name = value.split(|&byte| byte == 0).next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

/// Whether the prefix covers the address.
pub(super) fn covers(network: Ipv4Addr, length: u8, address: Ipv4Addr) -> bool {
    let bits = u32::from(network) ^ u32::from(address);
    bits.checked_shr(32 - u32::from(length.min(32)))
        .unwrap_or(0)
        == 0
}

const IFLA_VRF_TABLE: u16 = 1;

/// A device, as `RTM_GETLINK` tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) name: String,
    pub(super) kind: Option<String>,
    /// Index of the other end or the lower device.
    pub(super) link: Option<u32>,
    /// Id of that one's namespace, if it is another: negative when it has none.
    pub(super) link_nsid: Option<i32>,
    pub(super) master: Option<u32>,
    /// Table of a VRF.
    pub(super) vrf_table: Option<u32>,
}

impl Device {
    /// From the message, starting with `struct ifinfomsg`.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        let mut device = Self::default();
        for (kind, value) in attributes(message.get(16..)?) {
            match kind {
                libc::IFLA_IFNAME => device.name = text(value)?,
                libc::IFLA_LINK => device.link = number(value).filter(|&index| index != 0),
                libc::IFLA_LINK_NETNSID => device.link_nsid = number(value).map(u32::cast_signed),
                libc::IFLA_MASTER => device.master = number(value),
                libc::IFLA_LINKINFO => {
                    let find = |wanted| attributes(value).find(|&(kind, _)| kind == wanted);
                    device.kind = find(libc::IFLA_INFO_KIND).and_then(|(_, value)| text(value));
                    if device.kind.as_deref() == Some("vrf")
                        && let Some((_, data)) = find(libc::IFLA_INFO_DATA)
                    {
                        let table = attributes(data).find(|&(kind, _)| kind == IFLA_VRF_TABLE);
                        device.vrf_table = table.and_then(|(_, value)| number(value));
                    }
                }
                _ => {}
            }
        }
        (!device.name.is_empty()).then_some(device)
    }
}

/// Index and `address/length` of a `RTM_GETADDR` message, starting with `struct ifaddrmsg`.
pub(super) fn cidr(message: &[u8]) -> Option<(u32, String)> {
    let length = *message.get(1)?;
    let index = number_at(message, 4)?;
    let (mut local, mut peer) = (None, None);
    for (kind, value) in attributes(message.get(8..)?) {
        match kind {
            libc::IFA_LOCAL => local = address(value),
            libc::IFA_ADDRESS => peer = address(value),
            _ => {}
        }
    }
    Some((index, format!("{}/{length}", local.or(peer)?)))
}

/// The mount points of network namespaces in `/proc/PID/mountinfo`.
pub(super) fn mounted_namespaces(mountinfo: &[u8]) -> impl Iterator<Item = (u32, PathBuf)> {
    mountinfo.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b' ').skip(3);
        let inode = inode(std::str::from_utf8(fields.next()?).ok()?)?;
        Some((
            inode,
            PathBuf::from(OsStr::from_bytes(&unescape(fields.next()?))),
        ))
    })
}

/// Turns `\040` and the like back into bytes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = match rest {
            [b'\\', digits @ ..] => digits
                .get(..3)
                .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()),
            _ => None,
        };
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &rest[4..] } else { tail };
    }
    bytes
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) use super::attribute;

    #[test]
    fn a_veth_is_read() {
        let message = [
            vec![0; 16],
            attribute(libc::IFLA_IFNAME, b"lxc1234\0"),
            attribute(libc::IFLA_LINK, &2u32.to_ne_bytes()),
            attribute(libc::IFLA_LINK_NETNSID, &0i32.to_ne_bytes()),
            attribute(libc::IFLA_MASTER, &7u32.to_ne_bytes()),
            attribute(
                libc::IFLA_LINKINFO | 0x8000,
                &attribute(libc::IFLA_INFO_KIND, b"veth\0"),
            ),
            attribute(999, &[1; 3]),
        ]
        .concat();
        let device = Device::parse(&message).expect("a device");
        let expected = Device {
            name: "lxc1234".into(),
            kind: Some("veth".into()),
            link: Some(2),
            link_nsid: Some(0),
            master: Some(7),
            vrf_table: None,
        };
        assert_eq!(device, expected);
        for length in 0..message.len() {
            let _ = Device::parse(&message[..length]);
        }
        assert_eq!(Device::parse(&[0; 16]), None, "no name");
    }

    #[test]
    fn an_unassigned_namespace_id_is_negative() {
        let message = [
            vec![0; 16],
            attribute(libc::IFLA_IFNAME, b"gre0\0"),
            attribute(libc::IFLA_LINK, &0u32.to_ne_bytes()),
            attribute(libc::IFLA_LINK_NETNSID, &(-1i32).to_ne_bytes()),
        ]
        .concat();
        let device = Device::parse(&message).expect("a device");
        assert_eq!(
            (device.link, device.link_nsid, device.kind),
            (None, Some(-1), None)
        );
    }

    #[test]
    fn addresses_are_the_local_ones() {
        let header = [&[2, 24, 0, 0][..], &5u32.to_ne_bytes()].concat();
        let both = [
            header.clone(),
            attribute(libc::IFA_ADDRESS, &[10, 0, 0, 2]),
            attribute(libc::IFA_LOCAL, &[10, 0, 0, 1]),
        ];
        assert_eq!(cidr(&both.concat()), Some((5, "10.0.0.1/24".into())));
        let one = [header.clone(), attribute(libc::IFA_ADDRESS, &[10, 0, 0, 2])];
        assert_eq!(cidr(&one.concat()), Some((5, "10.0.0.2/24".into())));
        assert_eq!(cidr(&header), None);
        assert_eq!(cidr(&[]), None);
    }

    #[test]
    fn prefixes_cover() {
        let net = Ipv4Addr::new(10, 1, 0, 0);
        assert!(covers(net, 16, Ipv4Addr::new(10, 1, 255, 255)));
        assert!(!covers(net, 16, Ipv4Addr::new(10, 2, 0, 0)));
        assert!(covers(net, 0, Ipv4Addr::BROADCAST));
        assert!(covers(net, 32, net) && !covers(net, 32, Ipv4Addr::new(10, 1, 0, 1)));
    }

    #[test]
    fn mounts_of_namespaces_are_found() {
        let text = b"21 1 0:5 / /proc rw - proc proc rw\n\
            88 21 0:4 net:[4026532001] /run/a\\040b rw shared:1 - nsfs nsfs rw\n\
            89 21 0:4 mnt:[4026532002] /run/c rw - nsfs nsfs rw\n\n";
        let found: Vec<_> = mounted_namespaces(text).collect();
        assert_eq!(found, [(4_026_532_001, PathBuf::from("/run/a b"))]);
        assert_eq!(unescape(b"\\04"), b"\\04");
        assert_eq!(unescape(b"a\\134b\\999"), b"a\\b\\999");
    }
}
