//! What is known of a packet that meets the rules.

use std::{borrow::Cow, net::IpAddr};

use dropwatch_common::record::ct_insert::status;

use crate::{
    facts::ruleset::{Family, Hook, State},
    model::{
        anchor::Drop,
        evidence::{CtState, Insertion},
    },
};

/// What a packet that comes back from a queue does not meet again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Base chains of a lower priority.
    pub below: i64,
    /// Base chain that queued it, as its place in the rule set; `None` where that is not known, or where the program
    /// sent the packet through it once more (`NF_REPEAT`).
    pub chain: Option<usize>,
}

/// A packet at a hook; `None` is unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct Packet {
    /// `Ip` or `Ip6`, or that of the hook (`Bridge`, `Netdev`, `Arp`); tables of `Inet` see the first two.
    pub family: Family,
    /// Hook.
    pub hook: Hook,
    /// How far it had come when it was queued.
    pub after: Option<Passed>,
    /// Device that it came in by.
    pub in_dev: Option<String>,
    /// Device that it leaves by.
    pub out_dev: Option<String>,
    /// IP protocol number.
    pub protocol: Option<u8>,
    /// Source address.
    pub src: Option<IpAddr>,
    /// Destination address.
    pub dst: Option<IpAddr>,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
    /// TCP flags, FIN being the lowest bit.
    pub tcp_flags: Option<u8>,
    /// ICMP or ICMPv6 type.
    pub icmp_type: Option<u8>,
    /// Mark.
    pub mark: Option<u32>,
    /// Conntrack state.
    pub state: Option<State>,
    /// Whether its connection's source is translated.
    pub snat: Option<bool>,
    /// Whether its connection's destination is translated.
    pub dnat: Option<bool>,
    /// Whether it had passed the chains that translate at this hook; `false` where that is not known.
    pub nat_passed: bool,
    /// Addresses known to be this machine's.
    pub own: Vec<IpAddr>,
}

/// `IPS_DST_NAT_DONE` (include/uapi/linux/netfilter/nf_conntrack_common.h).
const DST_NAT_DONE: u32 = 1 << 8;
/// Priority at which conntrack gives packets their state (`NF_IP_PRI_CONNTRACK`).
pub(super) const CONNTRACK: i64 = -200;

impl Packet {
    /// A packet of which nothing is known but where it is.
    #[must_use]
    pub fn at(family: Family, hook: Hook) -> Self {
        Self {
            family,
            hook,
            after: None,
            in_dev: None,
            out_dev: None,
            protocol: None,
            src: None,
            dst: None,
            sport: None,
            dport: None,
            tcp_flags: None,
            icmp_type: None,
            mark: None,
            state: None,
            snat: None,
            dnat: None,
            nat_passed: false,
            own: Vec::new(),
        }
    }

    /// A packet that was dropped at a hook of IP; `None` when its headers could not be read.
    #[must_use]
    pub fn at_drop(drop: &Drop, hook: Hook) -> Option<Self> {
        let headers = drop.packet.as_ref()?;
        let family = if headers.l3 == 4 {
            Family::Ip
        } else {
            Family::Ip6
        };
        // What stands in for the ports of an ICMP echo are none.
        let ports = headers.icmp_type.is_none();
        let name = drop.dev.as_ref().map(|dev| dev.name.clone());
        let (in_dev, out_dev) = match hook {
            Hook::Output | Hook::Postrouting | Hook::Egress => (None, name),
            _ => (name, None),
        };
        Some(Self {
            in_dev,
            out_dev,
            protocol: Some(headers.proto.0),
            src: Some(headers.src),
            dst: Some(headers.dst),
            sport: headers.sport.filter(|_| ports),
            dport: headers.dport.filter(|_| ports),
            tcp_flags: headers.tcp_flags.map(|flags| flags.0),
            icmp_type: headers.icmp_type,
            mark: Some(drop.mark),
            ..Self::at(family, hook).with_entry(drop.insertion.as_ref())
        })
    }

    /// The same with what the packet's conntrack entry tells. That there is none tells nothing: it may not have
    /// been looked for.
    fn with_entry(self, entry: Option<&Insertion>) -> Self {
        let Some(entry) = entry else {
            return self;
        };
        let has = |bit| entry.status & bit != 0;
        let done = match self.hook {
            Hook::Prerouting | Hook::Output => DST_NAT_DONE,
            _ => status::SRC_NAT_DONE,
        };
        Self {
            state: match entry.state {
                CtState::New => Some(State::New),
                CtState::Established => Some(State::Established),
                CtState::Related => Some(State::Related),
                CtState::Other => None,
            },
            snat: Some(has(status::SRC_NAT)),
            dnat: Some(has(status::DST_NAT)),
            nat_passed: has(done),
            ..self
        }
    }

    /// The packet as a base chain of this priority sees it: one before conntrack sees no state.
    pub(super) fn seen_at(&self, priority: i64) -> Cow<'_, Self> {
        let early = matches!(self.hook, Hook::Prerouting | Hook::Output) && priority <= CONNTRACK;
        if !early {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self {
            state: None,
            snat: None,
            dnat: None,
            ..self.clone()
        })
    }

    /// Whether tables of the family see it.
    pub(super) fn is_seen_by(&self, family: Family) -> bool {
        // Tables of `Inet` can look at devices too, by the hook ingress.
        let ip = matches!(self.family, Family::Ip | Family::Ip6 | Family::Netdev);
        family == self.family || (family == Family::Inet && ip)
    }

    /// IP version, where it has one.
    pub(super) fn version(&self) -> Option<u8> {
        match self.family {
            Family::Ip => Some(4),
            Family::Ip6 => Some(6),
            _ => self.src.map(|src| if src.is_ipv4() { 4 } else { 6 }),
        }
    }

    /// Name of the device that it came in by: empty where it came by none.
    pub(super) fn in_name(&self) -> Option<&str> {
        match self.hook {
            Hook::Output => Some(""),
            _ => self.in_dev.as_deref(),
        }
    }

    /// Name of the device that it leaves by: empty where that is not decided.
    pub(super) fn out_name(&self) -> Option<&str> {
        match self.hook {
            Hook::Prerouting | Hook::Input | Hook::Ingress => Some(""),
            _ => self.out_dev.as_deref(),
        }
    }

    /// The same with whatever NAT at this hook may have changed unknown.
    pub(super) fn before_nat(&self) -> Self {
        let mut packet = self.clone();
        match self.hook {
            Hook::Prerouting | Hook::Output => (packet.dst, packet.dport) = (None, None),
            Hook::Input | Hook::Postrouting => (packet.src, packet.sport) = (None, None),
            Hook::Forward | Hook::Ingress | Hook::Egress => {}
        }
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{anchor::Dev, packet, proto::Proto, tcp_flags::TcpFlags};

    fn dropped(proto: Proto, icmp_type: Option<u8>) -> Drop {
        Drop {
            dev: Some(Dev {
                name: "eth0".into(),
                ifindex: 2,
            }),
            mark: 0x8000,
            packet: Some(packet::Packet {
                l3: 4,
                proto,
                src: [10, 0, 0, 1].into(),
                dst: [10, 0, 0, 2].into(),
                sport: Some(1000),
                dport: Some(80),
                tcp_flags: (proto == Proto::TCP).then_some(TcpFlags(0x12)),
                tcp_seq: None,
                icmp_type,
                icmp_code: icmp_type,
                ttl: 64,
                id: None,
            }),
            ..crate::model::anchor::tests::drop()
        }
    }

    #[test]
    fn a_drop_gives_what_it_has() {
        let packet = Packet::at_drop(&dropped(Proto::TCP, None), Hook::Forward).expect("headers");
        assert_eq!((packet.family, packet.protocol), (Family::Ip, Some(6)));
        assert_eq!(
            (packet.in_dev.as_deref(), packet.out_dev),
            (Some("eth0"), None)
        );
        assert_eq!((packet.dport, packet.tcp_flags), (Some(80), Some(0x12)));
        assert_eq!(packet.mark, Some(0x8000));
        let leaving =
            Packet::at_drop(&dropped(Proto::UDP, None), Hook::Postrouting).expect("headers");
        assert_eq!(
            (leaving.in_dev, leaving.out_dev.as_deref()),
            (None, Some("eth0"))
        );
        let echo = Packet::at_drop(&dropped(Proto::ICMP, Some(8)), Hook::Input).expect("headers");
        assert_eq!((echo.dport, echo.icmp_type), (None, Some(8)));
        let bare = Drop {
            packet: None,
            ..dropped(Proto::TCP, None)
        };
        assert_eq!(Packet::at_drop(&bare, Hook::Input), None);
    }

    #[test]
    fn nat_changes_one_end_at_each_hook() {
        let at = |hook| {
            let packet = Packet::at_drop(&dropped(Proto::TCP, None), hook).expect("headers");
            let before = packet.before_nat();
            (before.src.is_some(), before.dst.is_some())
        };
        assert_eq!(at(Hook::Prerouting), (true, false));
        assert_eq!(at(Hook::Postrouting), (false, true));
        assert_eq!(at(Hook::Forward), (true, true));
    }
}
