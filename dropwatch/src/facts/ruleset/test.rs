//! What rules ask for.

use serde::{Deserialize, Serialize};

use super::addresses::Addresses;

/// One condition of a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// Whether it must *not* hold.
    #[serde(default, rename = "not", skip_serializing_if = "std::ops::Not::not")]
    pub negated: bool,
    /// What is asked.
    #[serde(flatten)]
    pub test: Test,
}

impl Match {
    /// The test must hold.
    #[must_use]
    pub fn is(test: Test) -> Self {
        Self {
            negated: false,
            test,
        }
    }

    /// The test must not hold.
    #[must_use]
    pub fn is_not(test: Test) -> Self {
        Self {
            negated: true,
            test,
        }
    }
}

/// Numbers from the first to the last, both included.
pub type Span<T> = (T, T);

/// A test of a packet. Lists hold if one of their members does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// Mark.
    Mark(MarkTest),
    /// Mark of the packet's conntrack entry.
    ConntrackMark(MarkTest),
    /// IP version, 4 or 6.
    IpVersion(u8),
    /// IP protocol numbers.
    Protocol(Vec<u8>),
    /// Source addresses.
    Source(Vec<Addresses>),
    /// Destination addresses.
    Destination(Vec<Addresses>),
    /// Source ports.
    SourcePort(Vec<Span<u16>>),
    /// Destination ports.
    DestinationPort(Vec<Span<u16>>),
    /// Source or destination port.
    EitherPort(Vec<Span<u16>>),
    /// Devices that it came in by; `+` or `*` at the end stands for any rest, `\+` and `\*` for themselves.
    InDevice(Vec<String>),
    /// Devices that it leaves by, likewise.
    OutDevice(Vec<String>),
    /// Conntrack state.
    ConntrackState(Vec<State>),
    /// TCP flags: those of `mask` are exactly `value` (FIN is 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32).
    TcpFlags {
        /// Flags looked at.
        mask: u8,
        /// Flags set among them.
        value: u8,
    },
    /// ICMP or ICMPv6 type.
    IcmpType(u8),
    /// Types of the source address.
    SourceType(Vec<AddressType>),
    /// Types of the destination address.
    DestinationType(Vec<AddressType>),
    /// Not understood: the text.
    Other(String),
}

impl Test {
    /// A mark as iptables and nft ask for it: `mark & mask == value`.
    #[must_use]
    pub fn mark(value: u32, mask: u32) -> Self {
        Self::Mark(MarkTest {
            mask,
            values: vec![(value, value)],
        })
    }
}

/// Bits of a mark that must have one of some values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MarkTest {
    /// Bits looked at.
    pub mask: u32,
    /// Values they may have.
    pub values: Vec<Span<u32>>,
}

/// What an address is to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressType {
    /// One of another machine.
    Unicast,
    /// Its own.
    Local,
    /// Of all in a network.
    Broadcast,
    /// Of a group.
    Multicast,
    /// Any other that routes can give: `unreachable`, `blackhole`, …
    Other,
}

impl AddressType {
    /// By the name that iptables and nft have for it, in any case.
    #[must_use]
    pub fn by_name(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "unicast" => Self::Unicast,
            "local" => Self::Local,
            "broadcast" => Self::Broadcast,
            "multicast" => Self::Multicast,
            _ => Self::Other,
        }
    }
}

/// A packet's conntrack state, or what was done to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Belongs to no known connection.
    Invalid,
    /// First packet.
    New,
    /// Belongs to a known connection.
    Established,
    /// Opens a connection that a known one announced, or is an error message about one.
    Related,
    /// Not followed.
    Untracked,
    /// The connection's source is translated; no state by itself.
    Snat,
    /// The connection's destination is translated; no state by itself.
    Dnat,
}

impl State {
    /// By name, in any case.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "invalid" => Self::Invalid,
            "new" => Self::New,
            "established" => Self::Established,
            "related" => Self::Related,
            "untracked" => Self::Untracked,
            "snat" => Self::Snat,
            "dnat" => Self::Dnat,
            _ => return None,
        })
    }
}
