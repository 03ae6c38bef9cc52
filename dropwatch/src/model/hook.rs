//! Where in a packet's way through the machine netfilter looks at it.

use serde::{Deserialize, Serialize};

/// A netfilter hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// Before routing.
    Prerouting,
    /// To this machine.
    Input,
    /// Through this machine.
    Forward,
    /// From this machine.
    Output,
    /// After routing.
    Postrouting,
    /// Just received.
    Ingress,
    /// About to be sent.
    Egress,
}

impl Hook {
    const NAMES: [(&'static str, Self); 7] = [
        ("prerouting", Self::Prerouting),
        ("input", Self::Input),
        ("forward", Self::Forward),
        ("output", Self::Output),
        ("postrouting", Self::Postrouting),
        ("ingress", Self::Ingress),
        ("egress", Self::Egress),
    ];

    /// By name, in any case.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let mut names = Self::NAMES.iter();
        let found = names.find(|(one, _)| one.eq_ignore_ascii_case(name));
        found.map(|(_, hook)| *hook)
    }

    /// nft's name; in upper case it is the name of iptables' built-in chain.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, hook)| *hook == self);
        found.map_or("", |(name, _)| name)
    }

    /// By the kernel's number for hooks of IP: `enum nf_inet_hooks` (include/uapi/linux/netfilter.h).
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Prerouting,
            1 => Self::Input,
            2 => Self::Forward,
            3 => Self::Output,
            4 => Self::Postrouting,
            _ => return None,
        })
    }
}
