//! Flows: one attempt to get traffic through, and whether it arrived.
//!
//! An attempt says `true` only when the far end received something, `false` when nothing came
//! within a short while. What is sent has fixed ports, so a scenario recognises its own packets.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::packet::{IcmpSocket, Packet, Payload, RawSocket};
use crate::netns::Netns;
use crate::topology::seed::{
    LOST_IP, NODE_IP, NODE_OUTSIDE_IP, OUTSIDE, POD_IP, POD_PORT, Seed, WORLD_IP,
};

/// How long an attempt waits.
pub const PATIENCE: Duration = Duration::from_millis(400);

const SPORT: u16 = 40_113;
const DPORT: u16 = 40_253;
const ECHO_ID: u16 = 0x0d07;

/// The traffic of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// A UDP datagram from the pod to the node.
    UdpToNode,
    /// A UDP datagram from the pod to the world, forwarded by the node.
    UdpToWorld,
    /// A UDP datagram from the pod's unroutable address to the node.
    UdpFromNowhere,
    /// The node's health probe of the pod; it is the pod's answer that comes in on `lxc…`.
    Probe,
    /// A TCP connection from the pod to the node.
    TcpToNode,
    /// A TCP connection from the pod to the world, forwarded by the node.
    TcpToWorld,
    /// An echo request from the pod to the node.
    EchoToNode,
    /// A datagram from the world to the node with the pod's address as its forged source.
    ForgedFromWorld,
}

/// What identifies a packet; ports that are not fixed are `None`.
#[derive(Clone, Copy, Debug)]
pub struct Tuple {
    /// Protocol number.
    pub proto: u8,
    /// Source.
    pub src: &'static str,
    /// Destination.
    pub dst: &'static str,
    /// Source port.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
}

impl Flow {
    /// The packet that comes in on the node.
    pub fn tuple(self) -> Tuple {
        let (proto, src, dst, sport, dport) = match self {
            Self::UdpToNode => (17, POD_IP, NODE_IP, Some(SPORT), Some(DPORT)),
            Self::UdpToWorld => (17, POD_IP, WORLD_IP, Some(SPORT), Some(DPORT)),
            Self::UdpFromNowhere => (17, LOST_IP, NODE_IP, Some(SPORT), Some(DPORT)),
            Self::Probe => (6, POD_IP, NODE_IP, Some(POD_PORT), None),
            Self::TcpToNode => (6, POD_IP, NODE_IP, None, Some(DPORT)),
            Self::TcpToWorld => (6, POD_IP, WORLD_IP, None, Some(DPORT)),
            Self::EchoToNode => (1, POD_IP, NODE_IP, None, None),
            Self::ForgedFromWorld => (17, POD_IP, NODE_OUTSIDE_IP, Some(SPORT), Some(DPORT)),
        };
        Tuple {
            proto,
            src,
            dst,
            sport,
            dport,
        }
    }

    /// Sends it once; whether it arrived.
    pub fn attempt(self, seed: &Seed) -> Result<bool> {
        let tuple = self.tuple();
        match self {
            Self::UdpToNode | Self::UdpFromNowhere => {
                datagram(&seed.pod, &seed.node, &tuple, &tuple, PATIENCE)
            }
            Self::UdpToWorld => datagram(&seed.pod, &seed.world, &tuple, &tuple, PATIENCE),
            Self::Probe => probe(&seed.node),
            Self::TcpToNode => connection(&seed.pod, &seed.node, &tuple),
            Self::TcpToWorld => connection(&seed.pod, &seed.world, &tuple),
            Self::EchoToNode => echo(&seed.pod),
            Self::ForgedFromWorld => forged(seed, &tuple),
        }
    }
}

/// One health probe of the pod by the node.
pub fn probe(node: &Netns) -> Result<bool> {
    node.run(|| {
        let address = SocketAddr::new(POD_IP.parse::<Ipv4Addr>()?.into(), POD_PORT);
        let Ok(mut stream) = TcpStream::connect_timeout(&address, PATIENCE) else {
            return Ok(false);
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        Ok(answer.contains("200 OK"))
    })
}

/// A UDP socket inside a namespace.
pub fn udp(netns: &Netns, address: &str, port: u16) -> Result<UdpSocket> {
    let address = SocketAddr::new(address.parse()?, port);
    netns.run(|| {
        let socket = UdpSocket::bind(address).with_context(|| format!("binding {address}"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    })
}

/// Sends one datagram with this tuple; no receiver is involved.
pub fn send_datagram(from: &Netns, tuple: &Tuple) -> Result<()> {
    let socket = udp(from, tuple.src, tuple.sport.unwrap_or(0))?;
    let dst: IpAddr = tuple.dst.parse()?;
    socket
        .send_to(b"dropwatch", (dst, tuple.dport.unwrap_or(DPORT)))
        .context("sending")?;
    Ok(())
}

/// Sends one datagram that should arrive `there`, perhaps translated; whether it did in time.
pub fn datagram(
    from: &Netns,
    to: &Netns,
    sent: &Tuple,
    there: &Tuple,
    patience: Duration,
) -> Result<bool> {
    let receiver = udp(to, there.dst, there.dport.unwrap_or(DPORT))?;
    receiver.set_read_timeout(Some(patience))?;
    send_datagram(from, sent)?;
    Ok(receiver.recv(&mut [0; 64]).is_ok())
}

/// Connects from any port; whether that succeeded before a first retransmission.
pub fn connection(from: &Netns, to: &Netns, tuple: &Tuple) -> Result<bool> {
    let address = SocketAddr::new(tuple.dst.parse()?, tuple.dport.unwrap_or(DPORT));
    let _listener = to.run(|| Ok(TcpListener::bind(address)?))?;
    from.run(|| Ok(TcpStream::connect_timeout(&address, PATIENCE).is_ok()))
}

fn echo(from: &Netns) -> Result<bool> {
    let replies = IcmpSocket::open(from, PATIENCE)?;
    let packet = Packet {
        src: POD_IP.parse()?,
        dst: NODE_IP.parse()?,
        ttl: 64,
        payload: Payload::Echo(ECHO_ID, 1),
    };
    RawSocket::open(from, "eth0")?.send(&packet)?;
    Ok(replies.replied(ECHO_ID, 1))
}

fn forged(seed: &Seed, tuple: &Tuple) -> Result<bool> {
    let receiver = udp(&seed.node, tuple.dst, DPORT)?;
    let packet = Packet {
        src: tuple.src.parse()?,
        dst: tuple.dst.parse()?,
        ttl: 64,
        payload: Payload::Udp(SPORT, DPORT, b"dropwatch"),
    };
    RawSocket::open(&seed.world, OUTSIDE)?.send(&packet)?;
    Ok(receiver.recv(&mut [0; 64]).is_ok())
}
