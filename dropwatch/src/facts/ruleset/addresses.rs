//! Addresses that a rule asks for: a prefix or a range, kept as the text that users write.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

/// A prefix or a range of addresses of one IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Addresses {
    /// `10.0.0.0/8`.
    Prefix(IpAddr, u8),
    /// `10.0.0.1-10.0.0.9`, both ends included.
    Range(IpAddr, IpAddr),
}

impl Addresses {
    /// Whether the address is one of them.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Prefix(IpAddr::V4(net), length), IpAddr::V4(one)) => {
                let shift = 32 - u32::from(*length).min(32);
                let apart = net.to_bits() ^ one.to_bits();
                apart.checked_shr(shift).unwrap_or(0) == 0
            }
            (Self::Prefix(IpAddr::V6(net), length), IpAddr::V6(one)) => {
                let shift = 128 - u32::from(*length).min(128);
                let apart = net.to_bits() ^ one.to_bits();
                apart.checked_shr(shift).unwrap_or(0) == 0
            }
            (Self::Range(first, last), one) => {
                first.is_ipv4() == one.is_ipv4() && (*first..=*last).contains(&one)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(net, length) => write!(f, "{net}/{length}"),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl FromStr for Addresses {
    type Err = String;

    /// A single address is a prefix of its full length. A mask with gaps is refused.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("no addresses: {text}");
        let address = |part: &str| part.parse::<IpAddr>().map_err(|_| wrong());
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (address(first)?, address(last)?);
            let sound = first.is_ipv4() == last.is_ipv4();
            return sound.then_some(Self::Range(first, last)).ok_or_else(wrong);
        }
        let (net, length) = match text.split_once('/') {
            Some((net, length)) => (address(net)?, length.parse().map_err(|_| wrong())?),
            None => {
                let net = address(text)?;
                (net, if net.is_ipv4() { 32 } else { 128 })
            }
        };
        let most = if net.is_ipv4() { 32 } else { 128 };
        (length <= most)
            .then_some(Self::Prefix(net, length))
            .ok_or_else(wrong)
    }
}

impl TryFrom<String> for Addresses {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Addresses> for String {
    fn from(addresses: Addresses) -> Self {
        addresses.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(addresses: &str, address: &str) -> bool {
        let addresses: Addresses = addresses.parse().expect("addresses");
        addresses.contain(address.parse().expect("an address"))
    }

    #[test]
    fn prefixes_and_ranges() {
        assert!(covers("10.0.0.0/8", "10.255.0.1"));
        assert!(!covers("10.0.0.0/8", "11.0.0.1"));
        assert!(covers("0.0.0.0/0", "1.2.3.4"));
        assert!(!covers("0.0.0.0/0", "fd00::1"), "the other version");
        assert!(covers("::/0", "fd00::1"));
        assert!(covers("fd00::/64", "fd00::ffff") && !covers("fd00::/64", "fd01::"));
        assert!(covers("10.0.0.1", "10.0.0.1") && !covers("10.0.0.1", "10.0.0.2"));
        assert!(covers("10.0.0.1-10.0.0.9", "10.0.0.9"));
        assert!(!covers("10.0.0.1-10.0.0.9", "10.0.0.10"));
        assert!(!covers("10.0.0.1-10.0.0.9", "::1"));
    }

    #[test]
    fn texts_are_as_users_write_them() {
        for (given, printed) in [
            ("10.0.0.1", "10.0.0.1/32"),
            ("fd00::1", "fd00::1/128"),
            ("10.0.0.0/24", "10.0.0.0/24"),
            ("10.0.0.1-10.0.0.2", "10.0.0.1-10.0.0.2"),
        ] {
            let read: Addresses = given.parse().expect("addresses");
            assert_eq!(read.to_string(), printed);
            assert_eq!(printed.parse(), Ok(read));
        }
        for bad in [
            "",
            "x",
            "10.0.0.0/255.0.255.0",
            "10.0.0.0/33",
            "10.0.0.1-::1",
            "@set",
        ] {
            assert!(bad.parse::<Addresses>().is_err(), "{bad}");
        }
    }
}
