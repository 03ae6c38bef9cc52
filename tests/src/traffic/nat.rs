//! Single connections through a node that translates addresses.

use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::flow::{PATIENCE, udp};
use super::volley::DPORT;
use crate::netns::Netns;
use crate::topology::nat::{Nat, WORLD_IP};

/// What goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    /// One datagram.
    Udp,
    /// A connection, kept open.
    Tcp,
}

impl Proto {
    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            Self::Udp => 17,
            Self::Tcp => 6,
        }
    }
}

/// The server in the world.
#[derive(Debug)]
pub enum Server {
    /// Receives datagrams.
    Udp(UdpSocket),
    /// Accepts connections (the kernel does).
    Tcp(TcpListener),
}

/// What got through, held open.
#[derive(Debug)]
pub struct Through {
    /// The source port that the server sees.
    pub seen_port: u16,
    _stream: Option<(TcpStream, TcpStream)>,
}

impl Server {
    /// Starts listening.
    pub fn start(nat: &Nat, proto: Proto) -> Result<Self> {
        match proto {
            Proto::Udp => Ok(Self::Udp(udp(&nat.world, WORLD_IP, DPORT)?)),
            Proto::Tcp => {
                let address = SocketAddrV4::new(WORLD_IP.parse()?, DPORT);
                let listener = nat.world.run(|| Ok(TcpListener::bind(address)?))?;
                Ok(Self::Tcp(listener))
            }
        }
    }

    /// One attempt of a client with this source; `None` when it does not get through.
    pub fn attempt(&self, client: &Netns, address: &str, port: u16) -> Result<Option<Through>> {
        let from = SocketAddrV4::new(address.parse()?, port);
        let to = SocketAddrV4::new(WORLD_IP.parse()?, DPORT);
        match self {
            Self::Udp(server) => {
                let socket = client
                    .run(|| UdpSocket::bind(from).with_context(|| format!("binding {from}")))?;
                socket.send_to(b"dropwatch", to).context("sending")?;
                Ok(server
                    .recv_from(&mut [0; 64])
                    .ok()
                    .map(|(_, seen)| Through {
                        seen_port: seen.port(),
                        _stream: None,
                    }))
            }
            Self::Tcp(server) => {
                let Ok(stream) = client.run(|| connected(from, to))? else {
                    return Ok(None);
                };
                let (accepted, seen) = server.accept().context("accepting")?;
                Ok(Some(Through {
                    seen_port: seen.port(),
                    _stream: Some((stream, accepted)),
                }))
            }
        }
    }
}

/// Connects with a source port; `EINPROGRESS` when that takes longer than [`PATIENCE`].
///
/// That is less than the first retransmission takes: what is dropped is one SYN.
pub fn connected(from: SocketAddrV4, to: SocketAddrV4) -> Result<Result<TcpStream, Errno>> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    let patience = i64::try_from(PATIENCE.as_micros())?;
    let patience = TimeVal::new(patience / 1_000_000, patience % 1_000_000);
    setsockopt(&socket, sockopt::SendTimeout, &patience)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(from)).with_context(|| format!("binding {from}"))?;
    let done = connect(socket.as_raw_fd(), &SockaddrIn::from(to));
    Ok(done.map(|()| TcpStream::from(socket)))
}
