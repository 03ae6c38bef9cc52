//! The flags of a TCP header.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Flags as in the header, FIN being the lowest bit; as text their names with commas between: `SYN,ACK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TcpFlags(pub u8);

const NAMES: [(TcpFlags, &str); 8] = [
    (TcpFlags::FIN, "FIN"),
    (TcpFlags::SYN, "SYN"),
    (TcpFlags::RST, "RST"),
    (TcpFlags(8), "PSH"),
    (TcpFlags::ACK, "ACK"),
    (TcpFlags(0x20), "URG"),
    (TcpFlags(0x40), "ECE"),
    (TcpFlags(0x80), "CWR"),
];

impl TcpFlags {
    /// The sender has no more data.
    pub const FIN: Self = Self(1);
    /// Opens a connection.
    pub const SYN: Self = Self(2);
    /// Ends it at once.
    pub const RST: Self = Self(4);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);

    /// Whether all of these are set.
    #[must_use]
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = NAMES.iter().filter(|(flag, _)| self.has(*flag));
        for (at, (_, name)) in set.enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{name}")?;
        }
        Ok(())
    }
}

impl FromStr for TcpFlags {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut flags = Self(0);
        for word in text.split(',').filter(|_| !text.is_empty()) {
            let known = NAMES.iter().find(|(_, name)| *name == word);
            let (flag, _) = known.ok_or_else(|| format!("no TCP flag: {word:?}"))?;
            flags.0 |= flag.0;
        }
        Ok(flags)
    }
}

impl From<TcpFlags> for String {
    fn from(value: TcpFlags) -> Self {
        value.to_string()
    }
}

impl TryFrom<String> for TcpFlags {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_is_known_again_by_its_text() {
        for bits in 0..=u8::MAX {
            let flags = TcpFlags(bits);
            assert_eq!(flags.to_string().parse(), Ok(flags));
        }
        assert_eq!(TcpFlags(0x12).to_string(), "SYN,ACK");
        assert_eq!(TcpFlags(0).to_string(), "");
        for text in ["syn", "SYN,", ",", "SYN|ACK", "NS"] {
            assert!(text.parse::<TcpFlags>().is_err(), "{text:?}");
        }
    }
}
