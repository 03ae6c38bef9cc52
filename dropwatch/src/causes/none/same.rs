//! What makes two plain drops one case: the same explanation is true of both, but for devices and flows.

use std::net::IpAddr;

use super::routes::RouteFacts;
use crate::{
    facts::ruleset::Family as RuleFamily,
    judge::{Answer, Family, Key, PlainKind},
    model::{
        anchor::Drop, explanation::Explanation, hook::Hook, packet::Packet, proto::Proto,
        tcp_flags::TcpFlags,
    },
    reasons::Class,
};

/// What netfilter's drops have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct SameRules {
    /// `facts.kind`.
    pub kind: Option<PlainKind>,
    /// Family of the hook.
    pub family: Option<RuleFamily>,
    /// The hook.
    pub hook: Option<Hook>,
    /// Rules and policies that can have dropped it, as they are told: a place alone may have another rule by now.
    pub rules: Vec<String>,
    /// Whether all rules were read.
    pub complete: bool,
    /// Whether it is certain which of them it was.
    pub certain: bool,
    /// Which member of the sets or maps of that one.
    pub element: Option<String>,
    /// The way through a queue program.
    pub queue: Option<Trip>,
}

/// A way through a queue program.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Trip {
    /// Queue number.
    pub queue: Option<u16>,
    /// Verdict.
    pub verdict: Option<u32>,
    /// Name of the program.
    pub program: Option<String>,
}

/// What two drops of one case have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
pub enum Same {
    /// Another cause told what it was.
    Words(Key),
    /// Netfilter dropped them.
    Rules(SameRules),
    /// Routing refused them, by the same route or setting.
    Route(RouteFacts),
    /// The kernel dropped them at this place for this reason.
    Place {
        /// Reason and address of the code.
        at: (u32, u64),
        /// What is said of them.
        what: String,
        /// Where they went, if that is what matters.
        to: To,
    },
}

/// What of a packet's way matters for why it was dropped.
#[derive(Debug, PartialEq, Eq, Hash)]
pub enum To {
    /// The socket, or that there is none.
    Socket {
        /// Protocol.
        proto: Proto,
        /// Address.
        dst: IpAddr,
        /// Port.
        port: Option<u16>,
    },
    /// The host that it was going to.
    Host {
        /// Address.
        dst: IpAddr,
        /// Device.
        dev: Option<String>,
    },
    /// The IP protocol that is not handled.
    Protocol {
        /// Name, or number.
        proto: Proto,
        /// Device.
        dev: Option<String>,
    },
    /// The device.
    Device(Option<String>),
}

impl Same {
    /// Of a drop: `words` of another cause come first, then the rules.
    pub fn of(
        drop: &Drop,
        words: Option<Key>,
        rules: Option<SameRules>,
        class: Option<Class>,
        what: &str,
    ) -> Self {
        match (words, rules) {
            (Some(words), _) => Self::Words(words),
            (None, Some(rules)) => Self::Rules(rules),
            (None, None) => Self::Place {
                at: (drop.reason.number, drop.location.address),
                what: what.to_owned(),
                to: To::of(drop, class),
            },
        }
    }

    /// Whether all of them are of one device.
    #[must_use]
    pub fn has_device(&self) -> bool {
        matches!(
            self,
            Self::Place {
                to: To::Device(_) | To::Host { .. } | To::Protocol { .. },
                ..
            }
        )
    }

    /// Where all of them went, for a title: ` (UDP to 10.0.0.1 port 53)`, or nothing.
    #[must_use]
    pub fn destination(&self) -> String {
        match self {
            Self::Place {
                to: To::Socket { proto, dst, port },
                ..
            } => match port {
                Some(port) => format!(" ({proto} to {dst} port {port})"),
                None => format!(" ({proto} to {dst})"),
            },
            Self::Place {
                to: To::Host { dst, .. },
                ..
            } => format!(" (to {dst})"),
            Self::Place {
                to: To::Protocol { proto, .. },
                ..
            } => format!(" ({proto})"),
            _ => String::new(),
        }
    }

    /// The answer with this key. Of hosts and ports there may be very many.
    #[must_use]
    pub fn answer(self, drop: &Drop, explanation: Explanation) -> Answer {
        let family = match &self {
            Self::Place { at, to, .. } if !matches!(to, To::Device(_)) => Some(Family {
                key: Key::of(*at),
                title: format!("dropped: {}, further destinations", drop.reason.text()),
            }),
            // Sets may have very many members.
            Self::Rules(same) => same.element.as_ref().map(|element| {
                let title = &explanation.title;
                let rule = title.replace(&format!(" ({element})"), "");
                Family {
                    key: Key::of((same.rules.clone(), same.hook, same.family)),
                    title: format!("{rule}, further members"),
                }
            }),
            _ => None,
        };
        Answer {
            explanation,
            key: Key::of(self),
            counted: None,
            family,
        }
    }
}

impl To {
    fn socket(packet: &Packet) -> Self {
        Self::Socket {
            proto: packet.proto,
            dst: packet.dst,
            port: packet.dport.filter(|_| packet.icmp_type.is_none()),
        }
    }

    fn of(drop: &Drop, class: Option<Class>) -> Self {
        let dev = || drop.dev.as_ref().map(|dev| dev.name.clone());
        let Some(packet) = &drop.packet else {
            return Self::Device(dev());
        };
        // Where several checks look alike, the layer that made them tells what its packets differ by.
        let open = matches!(class, None | Some(Class::Unknown));
        let layer = drop.location.symbol.as_deref().unwrap_or_default();
        let is_of = |layers: &[&str]| open && layers.iter().any(|one| layer.starts_with(one));
        let reason = drop.reason.name.as_deref();
        match class {
            Some(Class::Socket | Class::Tcp) => Self::socket(packet),
            _ if is_of(&["udp", "__udp"]) => Self::socket(packet),
            // Segments of connections go to ports of clients as well, of which each has its own.
            _ if is_of(&["tcp_"]) && opens(packet) => Self::socket(packet),
            // Whose buffer is full, whose filter it is: every socket is a case of its own.
            _ if matches!(
                reason,
                Some("SOCKET_RCVBUFF" | "SOCKET_BACKLOG" | "SOCKET_FILTER")
            ) && packet.dport.is_some() =>
            {
                Self::socket(packet)
            }
            // What is missing is what handles the protocol. UNHANDLED_PROTO is said of types of frames, of options and
            // of ICMP messages, never of the protocol that the packet carries.
            _ if reason == Some("IP_NOPROTO") => Self::Protocol {
                proto: packet.proto,
                dev: dev(),
            },
            Some(Class::Routing | Class::Neighbour) => Self::host(packet, dev()),
            _ if is_of(&["ip_forward", "ip6_forward"]) => Self::host(packet, dev()),
            // A group is joined, or it is not.
            _ if layer.starts_with("ip6_mc_input") => Self::host(packet, dev()),
            _ => Self::Device(dev()),
        }
    }

    fn host(packet: &Packet, dev: Option<String>) -> Self {
        Self::Host {
            dst: packet.dst,
            dev,
        }
    }
}

/// Whether somebody wants to connect by it.
fn opens(packet: &Packet) -> bool {
    let flags = packet.tcp_flags.unwrap_or(TcpFlags(0));
    flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::ACK)
}
