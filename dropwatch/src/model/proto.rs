//! IP protocols.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An IP protocol by its number; as text its name, or `proto-` and the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Proto(pub u8);

const NAMES: [(Proto, &str); 13] = [
    (Proto::ICMP, "ICMP"),
    (Proto::IGMP, "IGMP"),
    (Proto(4), "IPIP"),
    (Proto::TCP, "TCP"),
    (Proto::UDP, "UDP"),
    (Proto(33), "DCCP"),
    (Proto(41), "IPv6"),
    (Proto(47), "GRE"),
    (Proto(50), "ESP"),
    (Proto(51), "AH"),
    (Proto::ICMPV6, "ICMPv6"),
    (Proto(132), "SCTP"),
    (Proto(136), "UDPLITE"),
];

impl Proto {
    /// ICMP.
    pub const ICMP: Self = Self(1);
    /// IGMP.
    pub const IGMP: Self = Self(2);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMPv6.
    pub const ICMPV6: Self = Self(58);
    /// "No next header" of IPv6.
    pub const NONE: Self = Self(59);
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(one, _)| one == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "proto-{}", self.0),
        }
    }
}

impl FromStr for Proto {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((proto, _)) = NAMES.iter().find(|(_, name)| *name == text) {
            return Ok(*proto);
        }
        let number = text.strip_prefix("proto-").and_then(|n| n.parse().ok());
        number
            .map(Self)
            .ok_or_else(|| format!("no IP protocol: {text:?}"))
    }
}

impl From<Proto> for String {
    fn from(value: Proto) -> Self {
        value.to_string()
    }
}

impl TryFrom<String> for Proto {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_known_again_by_its_text() {
        for number in 0..=u8::MAX {
            let proto = Proto(number);
            assert_eq!(proto.to_string().parse(), Ok(proto));
        }
        assert_eq!(Proto(58).to_string(), "ICMPv6");
        assert_eq!(Proto(200).to_string(), "proto-200");
        for text in ["", "tcp", "proto-", "proto-256", "proto--1", "6"] {
            assert!(text.parse::<Proto>().is_err(), "{text:?}");
        }
    }
}
