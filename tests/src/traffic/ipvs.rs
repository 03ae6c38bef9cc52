//! Connections through a director, and the real servers that answer them.
//!
//! A real server answers with its own address, so the client knows who it was. An attempt is a TCP
//! connection, or one datagram from a connected socket: both take an answer only from the address
//! and port that they asked.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::flow::{PATIENCE, udp};
use super::nat::{Proto, connected};
use crate::netns::Netns;
use crate::topology::ipvs::{CLIENT_IP, VIP};

/// Somewhere that a real server listens: its namespace, address and port.
pub type Place<'a> = (&'a Netns, &'static str, u16);

/// The real servers.
#[derive(Debug)]
pub struct Servers {
    proto: Proto,
    list: Vec<(&'static str, Server)>,
}

#[derive(Debug)]
enum Server {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// What came of an attempt.
#[derive(Debug)]
pub enum Outcome {
    /// A real server answered.
    Answered(Answered),
    /// The other side refused.
    Refused,
    /// Nothing came that the client would take.
    Silence,
}

/// An answer; the connection, if it is one, is held open.
#[derive(Debug)]
pub struct Answered {
    /// The real server's address.
    pub by: &'static str,
    /// The client's end and the server's.
    pub streams: Option<(TcpStream, TcpStream)>,
}

impl Servers {
    /// Starts listening.
    pub fn start(places: &[Place<'_>], proto: Proto) -> Result<Self> {
        let start = |&(netns, address, port): &Place<'_>| {
            let server = match proto {
                Proto::Udp => Server::Udp(udp(netns, address, port)?),
                Proto::Tcp => {
                    let at = SocketAddrV4::new(address.parse()?, port);
                    let listener = netns.run(|| {
                        TcpListener::bind(at).with_context(|| format!("listening on {at}"))
                    });
                    Server::Tcp(listener?)
                }
            };
            Ok((address, server))
        };
        let list = places.iter().map(start).collect::<Result<_>>()?;
        Ok(Self { proto, list })
    }

    /// One attempt of the client, from a port to a port of the director.
    pub fn attempt(&self, client: &Netns, from: u16, to: u16) -> Result<Outcome> {
        match self.proto {
            Proto::Tcp => self.connect(client, from, to),
            Proto::Udp => self.ask(client, from, to),
        }
    }

    fn connect(&self, client: &Netns, from: u16, to: u16) -> Result<Outcome> {
        let from = SocketAddrV4::new(CLIENT_IP.parse()?, from);
        let to = SocketAddrV4::new(VIP.parse()?, to);
        let mut stream = match client.run(|| connected(from, to))? {
            Ok(stream) => stream,
            Err(Errno::ECONNREFUSED) => return Ok(Outcome::Refused),
            Err(Errno::EINPROGRESS) => return Ok(Outcome::Silence),
            Err(error) => return Err(error).with_context(|| format!("connecting to {to}")),
        };
        let (by, server) = self.ready()?.context("connected, but to none of ours")?;
        let Server::Tcp(listener) = server else {
            return Ok(Outcome::Silence);
        };
        let (mut accepted, _) = listener.accept().context("accepting")?;
        accepted.write_all(by.as_bytes())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut buffer = vec![0; by.len()];
        stream.read_exact(&mut buffer).context("the answer")?;
        Ok(Outcome::Answered(Answered {
            by: self.named(&buffer)?,
            streams: Some((stream, accepted)),
        }))
    }

    fn ask(&self, client: &Netns, from: u16, to: u16) -> Result<Outcome> {
        let socket = udp(client, CLIENT_IP, from)?;
        socket.connect(SocketAddrV4::new(VIP.parse()?, to))?;
        socket.send(b"who are you?")?;
        let mut buffer = [0; 64];
        if let Some((by, Server::Udp(server))) = self.ready()? {
            let (_, asked_by) = server.recv_from(&mut buffer)?;
            server.send_to(by.as_bytes(), asked_by)?;
        }
        match socket.recv(&mut buffer) {
            Ok(length) => Ok(Outcome::Answered(Answered {
                by: self.named(&buffer[..length])?,
                streams: None,
            })),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Outcome::Refused),
            Err(_) => Ok(Outcome::Silence),
        }
    }

    /// The server that has something to receive or accept; nothing if none has for a while.
    fn ready(&self) -> Result<Option<&(&'static str, Server)>> {
        let mut polled: Vec<PollFd<'_>> = Vec::new();
        for (_, server) in &self.list {
            let fd = match server {
                Server::Tcp(listener) => listener.as_fd(),
                Server::Udp(socket) => socket.as_fd(),
            };
            polled.push(PollFd::new(fd, PollFlags::POLLIN));
        }
        poll(&mut polled, timeout(PATIENCE)?)?;
        let ready = polled.iter().position(|fd| fd.any() == Some(true));
        Ok(ready.and_then(|at| self.list.get(at)))
    }

    fn named(&self, answer: &[u8]) -> Result<&'static str> {
        let mut names = self.list.iter().map(|(name, _)| *name);
        names
            .find(|name| name.as_bytes() == answer)
            .context("an answer of none of ours")
    }
}

fn timeout(time: Duration) -> Result<PollTimeout> {
    Ok(PollTimeout::try_from(time)?)
}
