//! A packet's headers, in words.

use std::{fmt, net::IpAddr};

use dropwatch_common::{
    flow::Flow,
    record::skb_drop::flags::{L3, L4},
};
use serde::{Deserialize, Serialize};

use super::{proto::Proto, tcp_flags::TcpFlags};

/// What is known of a packet's headers. Numbers are in host byte order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    test,
    derive(schemars::JsonSchema),
    schemars(
        extend("if" = { "properties": { "l3": { "const": 4 } } }),
        extend("then" = { "properties": {
            "src": { "format": "ipv4" }, "dst": { "format": "ipv4" }, "id": { "type": "integer" }
        } }),
        extend("else" = { "properties": {
            "src": { "format": "ipv6" }, "dst": { "format": "ipv6" }, "id": { "type": "null" }
        } }),
    )
)]
pub struct Packet {
    /// IP version.
    #[cfg_attr(test, schemars(extend("enum" = [4, 6])))]
    pub l3: u8,
    /// Protocol: `TCP`, `UDP`, `ICMPv6`, …, or `proto-` and its number.
    #[cfg_attr(test, schemars(with = "String"))]
    pub proto: Proto,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port, host byte order; of an ICMP echo its identifier.
    pub sport: Option<u16>,
    /// Destination port, host byte order; of an ICMP echo its sequence number.
    pub dport: Option<u16>,
    /// TCP flags joined by commas, as `SYN,ACK`; empty when none is set.
    #[cfg_attr(
        test,
        schemars(
            with = "Option<String>",
            regex(
                pattern = "^((FIN|SYN|RST|PSH|ACK|URG|ECE|CWR)(,(FIN|SYN|RST|PSH|ACK|URG|ECE|CWR))*)?$"
            )
        )
    )]
    pub tcp_flags: Option<TcpFlags>,
    /// TCP sequence number, host byte order.
    pub tcp_seq: Option<u32>,
    /// ICMP type.
    pub icmp_type: Option<u8>,
    /// ICMP code.
    pub icmp_code: Option<u8>,
    /// TTL or hop limit at the drop.
    pub ttl: u8,
    /// IPv4 identification, host byte order.
    pub id: Option<u16>,
}

impl Packet {
    /// From the wire; `None` when no IP header could be read.
    #[must_use]
    pub fn from_flow(flow: &Flow, flags: u32) -> Option<Self> {
        if flags & L3 == 0 {
            return None;
        }
        let l4 = flags & L4 != 0;
        let proto = Proto(flow.l4);
        let icmp = matches!(proto, Proto::ICMP | Proto::ICMPV6);
        let tcp = proto == Proto::TCP;
        // Echo request and reply carry an identifier; other ICMP types have no such thing.
        let echo = icmp && matches!(flow.icmp_type, 0 | 8 | 128 | 129);
        let ports = l4 && (!icmp || echo);
        let packet = Self {
            l3: flow.l3,
            proto,
            src: address(flow.l3, flow.src),
            dst: address(flow.l3, flow.dst),
            sport: ports.then_some(flow.sport),
            dport: ports.then_some(flow.dport),
            tcp_flags: (l4 && tcp).then_some(TcpFlags(flow.tcp_flags)),
            tcp_seq: (l4 && tcp).then_some(flow.tcp_seq),
            icmp_type: (l4 && icmp).then_some(flow.icmp_type),
            icmp_code: (l4 && icmp).then_some(flow.icmp_code),
            ttl: flow.ttl,
            id: (flow.l3 == 4).then_some(flow.ip_id),
        };
        // Larger ones than the header can say (0) have all of it.
        Some(match u32::from(flow.ip_len) {
            0 => packet,
            len => packet.within_ip(len),
        })
    }
}

impl Packet {
    /// Whether the buffer that it was read from holds this header at all, as far as that can be told: `len` bytes
    /// when it was freed in a function (`symbol`). Elsewhere than at IP's entrance the length may be that of what
    /// is behind the header.
    #[must_use]
    pub fn fits(&self, symbol: Option<&str>, len: u32) -> bool {
        let function = symbol.and_then(|symbol| symbol.split('.').next());
        match function {
            Some("ip_rcv_core" | "ip_rcv") => len >= 20,
            Some("ip6_rcv_core" | "ipv6_rcv") => len >= 40,
            _ => true,
        }
    }

    /// Without what lies beyond the end of a buffer of `len` bytes, freed in a function (`symbol`) that shows where it
    /// begins: IP's entrance and TCP's.
    #[must_use]
    pub fn within(self, symbol: Option<&str>, len: u32) -> Self {
        let function = symbol.and_then(|symbol| symbol.split('.').next());
        match function {
            Some("tcp_v4_rcv" | "tcp_v6_rcv") => self.within_transport(len),
            Some("ip_rcv_core" | "ip_rcv" | "ip6_rcv_core" | "ipv6_rcv") => self.within_ip(len),
            _ => self,
        }
    }

    /// Of a packet that ends `len` bytes behind the beginning of its IP header, which may be longer than this.
    fn within_ip(self, len: u32) -> Self {
        let header = if self.l3 == 4 { 20 } else { 40 };
        self.within_transport(len.saturating_sub(header))
    }

    /// Of a packet that ends `len` bytes behind the beginning of its transport header.
    fn within_transport(mut self, len: u32) -> Self {
        let ports = if self.icmp_type.is_some() { 8 } else { 4 };
        if len < ports {
            (self.sport, self.dport) = (None, None);
        }
        if len < 2 {
            (self.icmp_type, self.icmp_code) = (None, None);
        }
        if len < 20 {
            (self.tcp_flags, self.tcp_seq) = (None, None);
        }
        self
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            proto,
            src,
            dst,
            sport,
            dport,
            tcp_flags,
            icmp_type,
            icmp_code,
            ..
        } = self;
        write!(f, "{proto} ")?;
        if let (Some(kind), Some(code)) = (icmp_type, icmp_code) {
            write!(f, "{src} -> {dst} {}", icmp_name(self.l3, *kind, *code))?;
            return match (sport, dport) {
                (Some(id), Some(seq)) => write!(f, " id {id} seq {seq}"),
                _ => Ok(()),
            };
        }
        match (sport, dport) {
            (Some(sport), Some(dport)) if self.l3 == 6 => {
                write!(f, "[{src}]:{sport} -> [{dst}]:{dport}")?;
            }
            (Some(sport), Some(dport)) => write!(f, "{src}:{sport} -> {dst}:{dport}")?,
            _ => write!(f, "{src} -> {dst}")?,
        }
        match tcp_flags {
            Some(flags) => write!(f, " [{flags}]"),
            None => Ok(()),
        }
    }
}

fn address(l3: u8, bytes: [u8; 16]) -> IpAddr {
    if l3 == 4 {
        let [a, b, c, d, ..] = bytes;
        [a, b, c, d].into()
    } else {
        bytes.into()
    }
}

fn icmp_name(l3: u8, kind: u8, code: u8) -> String {
    match (l3, kind) {
        (4, 8) | (6, 128) => "echo request".into(),
        (4, 0) | (6, 129) => "echo reply".into(),
        (4, 3) | (6, 1) => format!("unreachable code {code}"),
        (4, 11) | (6, 3) => format!("time exceeded code {code}"),
        _ => format!("type {kind} code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(l4: u8) -> Flow {
        let mut flow = Flow {
            l3: 4,
            l4,
            sport: 8080,
            dport: 41000,
            ..Flow::default()
        };
        flow.src[..4].copy_from_slice(&[10, 0, 0, 113]);
        flow.dst[..4].copy_from_slice(&[10, 0, 0, 253]);
        flow
    }

    #[test]
    fn tcp_reads_as_a_tuple_with_flags() {
        let flow = Flow {
            tcp_flags: 0x12,
            tcp_seq: 7,
            ..flow(6)
        };
        let packet = Packet::from_flow(&flow, L3 | L4).expect("IP");
        assert_eq!(
            packet.to_string(),
            "TCP 10.0.0.113:8080 -> 10.0.0.253:41000 [SYN,ACK]"
        );
        assert_eq!(packet.tcp_seq, Some(7));
        assert_eq!(packet.tcp_flags, Some(TcpFlags(0x12)));
    }

    #[test]
    fn only_an_echo_has_an_identifier() {
        let mut flow = flow(1);
        flow.icmp_type = 8;
        let echo = Packet::from_flow(&flow, L3 | L4).expect("IP");
        assert_eq!(
            echo.to_string(),
            "ICMP 10.0.0.113 -> 10.0.0.253 echo request id 8080 seq 41000"
        );
        flow.icmp_type = 3;
        let unreachable = Packet::from_flow(&flow, L3 | L4).expect("IP");
        assert_eq!(unreachable.sport, None);
        assert_eq!(
            unreachable.to_string(),
            "ICMP 10.0.0.113 -> 10.0.0.253 unreachable code 0"
        );
    }

    #[test]
    fn bytes_behind_the_end_are_no_header() {
        let packet = Packet::from_flow(&flow(17), L3).expect("IP");
        assert!(!packet.fits(Some("ip_rcv_core"), 12));
        assert!(!packet.fits(Some("ip_rcv_core.isra.0"), 19));
        assert!(packet.fits(Some("ip_rcv_core"), 20));
        // What a UDP socket gets is behind the header.
        assert!(packet.fits(Some("udp_queue_rcv_one_skb"), 9));
        assert!(packet.fits(None, 9));
    }

    #[test]
    fn transport_headers_end_where_the_packet_does() {
        let whole = |ip_len| Flow {
            ip_len,
            tcp_flags: 2,
            ..flow(6)
        };
        let read = |flow: &Flow| Packet::from_flow(flow, L3 | L4).expect("IP");
        let addresses = "TCP 10.0.0.113 -> 10.0.0.253";
        assert_eq!(read(&whole(20)).to_string(), addresses);
        let ports = read(&whole(24)).to_string();
        assert_eq!(ports, "TCP 10.0.0.113:8080 -> 10.0.0.253:41000");
        assert_eq!(read(&whole(40)).tcp_flags, Some(TcpFlags::SYN));
        assert!(
            read(&whole(0)).sport.is_some(),
            "more than the header can say"
        );
        // Cut off on the way, so that the header says more than there is.
        let cut = read(&whole(40)).within(Some("ip_rcv_core.isra.0"), 20);
        assert_eq!(cut.to_string(), addresses);
        let echo = Flow {
            icmp_type: 8,
            ..whole(20)
        };
        let nothing = Packet::from_flow(&Flow { l4: 1, ..echo }, L3 | L4).expect("IP");
        assert_eq!(nothing.to_string(), "ICMP 10.0.0.113 -> 10.0.0.253");
        assert_eq!(nothing.icmp_type, None);
    }

    #[test]
    fn a_fragment_without_ports_shows_addresses_only() {
        let packet = Packet::from_flow(&flow(17), L3).expect("IP");
        assert_eq!(packet.to_string(), "UDP 10.0.0.113 -> 10.0.0.253");
        assert_eq!(Packet::from_flow(&flow(17), 0), None);
    }
}
