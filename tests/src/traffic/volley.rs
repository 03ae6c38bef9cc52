//! Volleys: two packets at a time, sent at the same moment by two threads on two CPUs.
//!
//! The threads meet before each pair, spinning, so that both packets are on their way through the
//! node together. Who has only one CPU cannot race.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use nix::unistd::Pid;

use crate::lab::Skip;
use crate::netns::Netns;
use crate::topology::nat::{Nat, POD_A_IP, POD_B_IP, WORLD_IP};

use super::flow::udp;

/// Where the server listens.
pub const DPORT: u16 = 5353;
/// Pairs in a volley: few enough that the server's receive buffer holds all.
pub const PAIRS: u16 = 64;

/// Pairs in a volley of connections: few enough that a listener's queue holds all.
pub const CONNECTIONS: u16 = 12;

/// When all connections are there whose first packet arrived; a first packet is sent again after a second.
const UNDISTURBED: Duration = Duration::from_millis(700);
/// When the others must be.
const RETRIED: Duration = Duration::from_secs(8);

/// How long one thread waits for the other before it goes on alone.
const MEET: Duration = Duration::from_secs(2);

/// A datagram of a volley: the client's address and its source port.
pub type Sent = (&'static str, u16);

/// Each pair: one datagram from each of two clients, with the same source port, `first` and up.
///
/// Returns those that did not arrive.
pub fn two_clients(nat: &Nat, first: u16) -> Result<BTreeSet<Sent>> {
    let ports = first..first + PAIRS;
    let server = Some(SocketAddrV4::new(WORLD_IP.parse()?, DPORT));
    let a = sockets(&nat.pod_a, POD_A_IP, ports.clone(), server)?;
    let b = sockets(&nat.pod_b, POD_B_IP, ports.clone(), server)?;
    let clients = [(POD_A_IP, &a), (POD_B_IP, &b)];
    let sent = clients.into_iter().flat_map(|(client, sockets)| {
        ports
            .clone()
            .zip(sockets)
            .map(move |(port, _)| (client, port))
    });
    volley(nat, sent.collect(), |side, pair| {
        let (client, sockets) = clients[side];
        let port = first + u16::try_from(pair).unwrap_or(0);
        sockets[pair]
            .send(text(client, port).as_bytes())
            .map(|_| ())
    })
}

/// Each pair: two datagrams from one socket, as a resolver asks for A and AAAA.
///
/// Returns how many did not arrive.
pub fn one_socket(nat: &Nat, first: u16) -> Result<usize> {
    let server = Some(SocketAddrV4::new(WORLD_IP.parse()?, DPORT));
    let sockets = sockets(&nat.pod_a, POD_A_IP, first..first + PAIRS, server)?;
    let names = [POD_A_IP, POD_B_IP]; // merely to tell the two apart
    let sent = names
        .into_iter()
        .flat_map(|name| (first..first + PAIRS).map(move |p| (name, p)));
    let lost = volley(nat, sent.collect(), |side, pair| {
        let port = first + u16::try_from(pair).unwrap_or(0);
        sockets[pair]
            .send(text(names[side], port).as_bytes())
            .map(|_| ())
    })?;
    Ok(lost.len())
}

/// Each pair: two datagrams from one socket to two services, which may be one server.
///
/// Returns how many did not arrive.
pub fn two_services(nat: &Nat, first: u16, services: [&'static str; 2]) -> Result<usize> {
    let sockets = sockets(&nat.pod_a, POD_A_IP, first..first + PAIRS, None)?;
    let services_at = services.map(|service| (service, DPORT));
    let sent = services
        .into_iter()
        .flat_map(|name| (first..first + PAIRS).map(move |p| (name, p)));
    let lost = volley(nat, sent.collect(), |side, pair| {
        let port = first + u16::try_from(pair).unwrap_or(0);
        sockets[pair]
            .send_to(text(services[side], port).as_bytes(), services_at[side])
            .map(|_| ())
    })?;
    Ok(lost.len())
}

/// Sends a datagram of [`two_clients`] again, as a resolver asks again; whether it arrived.
pub fn again(nat: &Nat, (client, port): Sent) -> Result<bool> {
    let server = udp(&nat.world, WORLD_IP, DPORT)?;
    let netns = if client == POD_A_IP {
        &nat.pod_a
    } else {
        &nat.pod_b
    };
    let socket = udp(netns, client, port)?;
    let text = text(client, port);
    socket.send_to(text.as_bytes(), (WORLD_IP, DPORT))?;
    let mut buffer = [0; 64];
    while let Ok(length) = server.recv(&mut buffer) {
        if &buffer[..length] == text.as_bytes() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Each of some pairs: one TCP connection of each of two clients, with the same source port, `first` and up.
///
/// Returns those whose first packet was lost, when they were at last connected: the kernel tries again after a
/// second. With them come all connections, which hold their ports as long as they are open.
pub fn connections(
    nat: &Nat,
    server: &TcpListener,
    first: u16,
    pairs: u16,
) -> Result<(BTreeMap<Sent, Duration>, Vec<TcpStream>)> {
    let ports = first..first + pairs;
    let clients = [(&nat.pod_a, POD_A_IP), (&nat.pod_b, POD_B_IP)];
    let bound: Vec<Vec<OwnedFd>> = clients
        .iter()
        .map(|(netns, address)| {
            netns.run(|| ports.clone().map(|p| unconnected(address, p)).collect())
        })
        .collect::<Result<_>>()?;
    let to = SockaddrIn::from(SocketAddrV4::new(WORLD_IP.parse()?, DPORT));
    let begun = Instant::now();
    at_once(usize::from(pairs), |side, pair| {
        match connect(bound[side][pair].as_raw_fd(), &to) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    })?;
    std::thread::sleep(UNDISTURBED.saturating_sub(begun.elapsed()));
    let mut streams = Vec::new();
    let mut waiting = Vec::new();
    for ((_, client), sockets) in clients.iter().zip(bound) {
        for (port, socket) in ports.clone().zip(sockets) {
            let stream = TcpStream::from(socket);
            if !is_connected(&stream, Duration::ZERO)? {
                waiting.push(((*client, port), streams.len()));
            }
            streams.push(stream);
        }
    }
    let mut late = BTreeMap::new();
    for (sent, at) in waiting {
        ensure!(
            is_connected(&streams[at], RETRIED.saturating_sub(begun.elapsed()))?,
            "{sent:?} was not connected within {RETRIED:?}"
        );
        late.insert(sent, begun.elapsed());
    }
    for _ in 0..streams.len() {
        streams.push(server.accept().context("accepting")?.0);
    }
    Ok((late, streams))
}

/// A TCP socket that does not wait when it connects.
fn unconnected(address: &str, port: u16) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    let from = SocketAddrV4::new(address.parse()?, port);
    bind(socket.as_raw_fd(), &SockaddrIn::from(from)).with_context(|| format!("binding {from}"))?;
    Ok(socket)
}

/// Whether it is connected, at the latest after a while.
fn is_connected(stream: &TcpStream, patience: Duration) -> Result<bool> {
    let mut polled = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
    let patience = PollTimeout::try_from(patience)?;
    Ok(poll(&mut polled, patience)? > 0 && stream.peer_addr().is_ok())
}

/// Calls `send` for both sides of each pair at the same moment.
pub fn at_once(pairs: usize, send: impl Fn(usize, usize) -> io::Result<()> + Sync) -> Result<()> {
    let cpus = two_cpus()?;
    let met = AtomicUsize::new(0);
    let side = |side: usize| -> Result<()> {
        let mut cpu = CpuSet::new();
        cpu.set(cpus[side])?;
        sched_setaffinity(Pid::from_raw(0), &cpu).context("pinning a thread")?;
        let mut result = Ok(());
        for pair in 0..pairs {
            met.fetch_add(1, Ordering::AcqRel);
            let begun = Instant::now();
            while met.load(Ordering::Acquire) < 2 * (pair + 1) {
                if begun.elapsed() > MEET {
                    return Err(anyhow!("the other thread of a volley did not come"));
                }
                std::hint::spin_loop();
            }
            // A failure is told at the end: the other side still waits for this one.
            result = result.and(send(side, pair));
        }
        result.context("sending a volley")
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| side(1));
        // Not on this thread: it keeps its CPUs.
        let one = scope.spawn(|| side(0));
        for thread in [one, other] {
            thread
                .join()
                .map_err(|_| anyhow!("a thread of a volley panicked"))??;
        }
        Ok(())
    })
}

fn volley(
    nat: &Nat,
    mut missing: BTreeSet<Sent>,
    send: impl Fn(usize, usize) -> io::Result<()> + Sync,
) -> Result<BTreeSet<Sent>> {
    let server = udp(&nat.world, WORLD_IP, DPORT)?;
    at_once(usize::from(PAIRS), send)?;
    let mut buffer = [0; 64];
    while !missing.is_empty() {
        let Ok(length) = server.recv(&mut buffer) else {
            break;
        };
        let got = &buffer[..length];
        let before = missing.len();
        missing.retain(|(client, port)| text(client, *port).as_bytes() != got);
        ensure!(
            missing.len() < before,
            "something arrived that was not sent"
        );
    }
    Ok(missing)
}

fn text(client: &str, port: u16) -> String {
    format!("{client}:{port}")
}

fn sockets(
    netns: &Netns,
    address: &str,
    ports: impl Iterator<Item = u16> + Send,
    server: Option<SocketAddrV4>,
) -> Result<Vec<UdpSocket>> {
    let address: Ipv4Addr = address.parse()?;
    netns.run(|| {
        ports
            .map(|port| {
                let socket = UdpSocket::bind((address, port))
                    .with_context(|| format!("binding {address}:{port}"))?;
                if let Some(server) = server {
                    socket.connect(server)?;
                }
                Ok(socket)
            })
            .collect()
    })
}

fn two_cpus() -> Result<[usize; 2]> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    let mut cpus = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu) == Ok(true));
    match (cpus.next(), cpus.next()) {
        (Some(one), Some(other)) => Ok([one, other]),
        _ => Err(Skip("a race needs two CPUs".to_owned()).into()),
    }
}
