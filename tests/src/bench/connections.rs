//! New connections through a node: so many in a second, each from a source port of its own.
//!
//! A connection is one datagram, or a TCP connection that is made and closed. Of datagrams only the
//! sending is timed, which carries them through the node, and what did not arrive does not count.
//! Limits: a line is used once; its ports and the node's tables are not given back.

use std::io::Read as _;
use std::net::{Shutdown, SocketAddrV4, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::netns::Netns;
use crate::tracer::SLOW;
use crate::traffic::flow::udp;
use crate::traffic::ipvs::Place;
use crate::traffic::nat::{Proto, connected};
use crate::traffic::packet::{Packet, Payload, RawSocket};

const ROUND: Duration = Duration::from_millis(700);
/// Fits into a receiver's default buffer.
const BURST: u16 = 64;
const FIRST_PORT: u16 = 20_000;
const LAST_PORT: u16 = 60_000;

/// A client and the servers that it reaches through a node.
#[derive(Debug)]
pub struct Line<'a> {
    /// The client.
    pub client: &'a Netns,
    /// Its device.
    pub device: &'a str,
    /// Its address.
    pub source: &'a str,
    /// What it asks.
    pub target: (&'a str, u16),
    /// Where that ends up.
    pub servers: Vec<Place<'a>>,
    /// How many connections the node's tables may hold, beside others.
    pub room: u64,
}

/// What a line carried.
#[derive(Clone, Copy, Debug)]
pub struct Carried {
    /// New connections per second.
    pub rate: f64,
    /// Connections.
    pub count: u64,
}

impl Line<'_> {
    /// Opens new connections for a while.
    pub fn measure(&self, proto: Proto) -> Result<Carried> {
        let room = u16::try_from(self.room).unwrap_or(u16::MAX);
        let last = LAST_PORT.min(FIRST_PORT.saturating_add(room));
        let (count, time) = match proto {
            Proto::Udp => self.datagrams(last)?,
            Proto::Tcp => self.connections(last)?,
        };
        ensure!(count > 0, "the network is wrong: nothing arrived");
        Ok(Carried {
            rate: count as f64 / time.as_secs_f64(),
            count,
        })
    }

    fn datagrams(&self, last: u16) -> Result<(u64, Duration)> {
        let mut receivers = Vec::new();
        for &(netns, address, port) in &self.servers {
            let receiver = udp(netns, address, port)?;
            receiver.set_nonblocking(true)?;
            receivers.push(receiver);
        }
        let (source, target) = (self.source.parse()?, self.target.0.parse()?);
        let socket = RawSocket::open(self.client, self.device)?;
        let packet = |port| Packet {
            src: source,
            dst: target,
            ttl: 64,
            payload: Payload::Udp(port, self.target.1, b"new"),
        };
        until_up(|| {
            socket.send(&packet(FIRST_PORT - 1)).context("sending")?;
            Ok(receivers.iter().map(drain).sum::<u64>() > 0)
        })?;
        let begun = Instant::now();
        let (mut arrived, mut sending) = (0, Duration::ZERO);
        let mut port = FIRST_PORT;
        while begun.elapsed() < ROUND && last - port >= BURST {
            let packets: Vec<Vec<u8>> = (port..port + BURST).map(|p| packet(p).bytes()).collect();
            let burst = Instant::now();
            for packet in &packets {
                socket.send_bytes(packet, target).context("sending")?;
            }
            sending += burst.elapsed();
            port += BURST;
            arrived += receivers.iter().map(drain).sum::<u64>();
        }
        Ok((arrived, sending))
    }

    fn connections(&self, last: u16) -> Result<(u64, Duration)> {
        let mut listeners = Vec::new();
        for &(netns, address, port) in &self.servers {
            let address = SocketAddrV4::new(address.parse()?, port);
            let listener = netns.run(|| Ok(TcpListener::bind(address)?))?;
            listener.set_nonblocking(true)?;
            listeners.push(listener);
        }
        let source = self.source.parse()?;
        let target = SocketAddrV4::new(self.target.0.parse()?, self.target.1);
        // One thread inside for all of them: starting one costs more than a connection.
        self.client.run(|| {
            let connection = |port| -> Result<()> {
                let mut stream = connected(SocketAddrV4::new(source, port), target)?
                    .with_context(|| format!("connecting from port {port}"))?;
                let mut accepted = listeners.iter().filter_map(|l| l.accept().ok());
                let (mut accepted, _) = accepted.next().context("connected, but not accepted")?;
                // Both ends read the other's end of stream: the kernel drops one that nobody reads.
                accepted.shutdown(Shutdown::Write)?;
                stream.read(&mut [0]).context("the server's end")?;
                drop(stream);
                accepted.set_nonblocking(false)?;
                accepted.read(&mut [0]).context("the client's end")?;
                Ok(())
            };
            until_up(|| Ok(connection(FIRST_PORT - 1).is_ok()))?;
            let begun = Instant::now();
            let mut count = 0;
            for port in FIRST_PORT..last {
                connection(port)?;
                count += 1;
                if begun.elapsed() > ROUND {
                    break;
                }
            }
            Ok((count, begun.elapsed()))
        })
    }
}

/// Waits for a first packet to arrive: new devices carry none until the kernel has noticed that both
/// ends are up, which it may put off while it takes down the network of an earlier measurement.
fn until_up(arrives: impl Fn() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !arrives()? {
        ensure!(
            begun.elapsed() < SLOW,
            "the network is wrong: nothing arrived"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn drain(receiver: &UdpSocket) -> u64 {
    let mut buffer = [0; 64];
    let received = (0..).take_while(|_| receiver.recv(&mut buffer).is_ok());
    received.count() as u64
}
