//! What a pod sends through a node that inspects packets, and whether it arrived.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::socket::{setsockopt, sockopt};

use super::flow::{PATIENCE, Tuple, connection, datagram};
use crate::topology::queue::{Inspected, NODE_IP, NODE_IP6, POD_IP, POD_IP6, SERVICE_IP, WORLD_IP};

/// The port of the node's web server.
pub const WEB: u16 = 80;
/// The port of datagrams.
pub const DNS: u16 = 5353;
/// The port that a service's datagrams are translated to.
pub const DNS_BEHIND: u16 = 5300;
/// The source port of datagrams.
const SPORT: u16 = 40_080;
/// How much a bulk transfer carries: several large packets, some dozens on the wire.
const BULK: usize = 64 << 10;
/// How much longer than [`PATIENCE`] a datagram is waited for that a program holds back a while.
const HELD: Duration = Duration::from_secs(3);

/// The traffic of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// A connection to the node's web server: its first packet.
    Connect,
    /// The same in IPv6.
    Connect6,
    /// A transfer over a connection to the node's web server: its large packets.
    Bulk,
    /// A datagram to the node.
    Datagram,
    /// The same, when it may take its time.
    LateDatagram,
    /// A datagram to the world, forwarded by the node.
    Forwarded,
    /// A datagram to a service's address, which the node translates to the world's.
    Service,
}

impl Traffic {
    /// The packet as the node sees it at its last hook.
    pub fn tuple(self) -> Tuple {
        let (proto, src, dst, sport, dport) = match self {
            Self::Connect | Self::Bulk => (6, POD_IP, NODE_IP, None, WEB),
            Self::Connect6 => (6, POD_IP6, NODE_IP6, None, WEB),
            Self::Datagram | Self::LateDatagram => (17, POD_IP, NODE_IP, Some(SPORT), DNS),
            Self::Forwarded => (17, POD_IP, WORLD_IP, Some(SPORT), DNS),
            Self::Service => (17, POD_IP, WORLD_IP, Some(SPORT), DNS_BEHIND),
        };
        Tuple {
            proto,
            src,
            dst,
            sport,
            dport: Some(dport),
        }
    }

    /// The packet as the pod sends it.
    fn sent(self) -> Tuple {
        let tuple = self.tuple();
        match self {
            Self::Service => Tuple {
                dst: SERVICE_IP,
                dport: Some(DNS),
                ..tuple
            },
            _ => tuple,
        }
    }

    /// Sends it once; whether it arrived.
    pub fn attempt(self, net: &Inspected) -> Result<bool> {
        let (sent, there) = (self.sent(), self.tuple());
        match self {
            Self::Connect | Self::Connect6 => connection(&net.pod, &net.node, &sent),
            Self::Bulk => bulk(net),
            Self::Datagram => datagram(&net.pod, &net.node, &sent, &there, PATIENCE),
            Self::LateDatagram => datagram(&net.pod, &net.node, &sent, &there, PATIENCE + HELD),
            Self::Forwarded | Self::Service => {
                datagram(&net.pod, &net.world, &sent, &there, PATIENCE)
            }
        }
    }
}

/// Connects, which must work, and sends much; whether all of it arrived.
fn bulk(net: &Inspected) -> Result<bool> {
    let address = SocketAddrV4::new(NODE_IP.parse()?, WEB);
    let listener = net.node.run(|| Ok(TcpListener::bind(address)?))?;
    let mut client = net.pod.run(|| {
        TcpStream::connect_timeout(&address.into(), PATIENCE)
            .context("the network is wrong: the first packets do not get through")
    })?;
    let (mut server, _) = listener.accept().context("accepting")?;
    // Otherwise the kernel goes on sending what was lost after the socket is closed.
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&client, sockopt::Linger, &linger)?;
    server.set_read_timeout(Some(PATIENCE))?;
    // The kernel then takes it all at once, and nobody waits for what does not arrive.
    setsockopt(&client, sockopt::SndBuf, &(4 * BULK))?;
    client.write_all(&vec![0x5a; BULK]).context("sending")?;
    let mut got = vec![0; BULK];
    Ok(server.read_exact(&mut got).is_ok())
}
