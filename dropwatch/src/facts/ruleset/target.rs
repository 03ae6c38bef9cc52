//! What rules do.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Hook;

/// What a rule does with a packet. What changes nothing that matters here (counters, logs) is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Drops it.
    Drop,
    /// Drops it and says so to the sender.
    Reject,
    /// Lets it out of this base chain.
    Accept,
    /// Back to the chain that jumped here; in a base chain, on to its policy.
    Return,
    /// Into a chain of the same table, and back.
    Jump(String),
    /// Into a chain of the same table, and back to where this one would have gone back.
    Goto(String),
    /// To a program, by one of the queues.
    Queue {
        /// First queue number.
        first: u16,
        /// Last queue number.
        last: u16,
        /// Whether it goes on when no program listens.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        bypass: bool,
    },
    /// Changes the mark.
    SetMark(MarkChange),
    /// Changes the mark; the unknown bits come from the conntrack entry's.
    RestoreMark(MarkChange),
    /// Changes the conntrack entry's mark to something else than the packet's.
    SetConntrackMark(MarkChange),
    /// Copies bits of the mark to the conntrack entry's.
    SaveMark,
    /// Writes a header field of the packet.
    SetHeader(HeaderField),
    /// Translates an address.
    Nat(Nat),
    /// May do anything, to drop the packet included: the text.
    Unknown(String),
}

impl Target {
    /// Why it may drop a packet although it is no verdict to drop; `None` if it does not.
    #[must_use]
    pub fn drops_by_itself(&self, hook: Hook) -> Option<&'static str> {
        match self {
            // nf_nat_masquerade_ipv4 (net/netfilter/nf_nat_masquerade.c).
            Self::Nat(nat) if nat.action == NatAction::Masquerade => Some(
                "MASQUERADE drops by itself when it finds no address to use; SNAT to an address looks for none",
            ),
            // nf_nat_redirect (net/netfilter/nf_nat_redirect.c): from this machine it goes to the loopback address.
            Self::Nat(nat) if nat.action == NatAction::Redirect && hook != Hook::Output => Some(
                "REDIRECT drops by itself when the device has no address of that IP version; DNAT to an address asks for none",
            ),
            // net/netfilter/xt_TPROXY.c.
            Self::Unknown(text) if text.contains("TPROXY") => {
                Some("TPROXY drops by itself what no socket listens for")
            }
            Self::Unknown(_) => Some("not all that it does is known"),
            _ => None,
        }
    }
}

/// A change of a mark: `new = (old & !clear) ^ flip`, after which the bits of `unknown` may be anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkChange {
    /// Bits cleared.
    pub clear: u32,
    /// Bits flipped then.
    pub flip: u32,
    /// Bits whose new value the rule does not tell.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub unknown: u32,
}

impl MarkChange {
    /// The value, whatever was there.
    #[must_use]
    pub fn to(value: u32) -> Self {
        Self {
            clear: u32::MAX,
            flip: value,
            unknown: 0,
        }
    }

    /// Bits that may be another after it.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.clear | self.flip | self.unknown
    }
}

/// Fields that rules are judged by and can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderField {
    /// Source address.
    Source,
    /// Destination address.
    Destination,
    /// Source port.
    SourcePort,
    /// Destination port.
    DestinationPort,
}

/// A translation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nat {
    /// Which.
    pub action: NatAction,
    /// New addresses and ports as written, without keywords: `10.0.0.1:40000-40010`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Whether ports are fully random.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fully_random: bool,
}

/// Kinds of translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum NatAction {
    /// Source becomes the address of the device that it leaves by.
    Masquerade,
    /// Source.
    Snat,
    /// Destination.
    Dnat,
    /// Destination becomes this machine.
    Redirect,
    /// Network part of source or destination.
    Netmap,
}

impl NatAction {
    const NAMES: [(&'static str, Self); 5] = [
        ("masquerade", Self::Masquerade),
        ("snat", Self::Snat),
        ("dnat", Self::Dnat),
        ("redirect", Self::Redirect),
        ("netmap", Self::Netmap),
    ];

    /// By name, in any case.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.iter();
        let found = names.find(|(one, _)| one.eq_ignore_ascii_case(name));
        found.map(|(_, action)| *action)
    }

    /// nft's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, action)| *action == self);
        found.map_or("", |(name, _)| name)
    }
}

impl fmt::Display for NatAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
