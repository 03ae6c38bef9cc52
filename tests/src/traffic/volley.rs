//! Volleys: two packets at a time, sent at the same moment by two threads on two CPUs.
//!
//! The threads meet before each pair, spinning, so that both packets are on their way through the
//! node together. Who has only one CPU cannot race.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::lab::Skip;
use crate::netns::Netns;
use crate::topology::nat::{Nat, POD_A_IP, POD_B_IP, WORLD_IP};

use super::flow::udp;

/// Where the server listens.
pub const DPORT: u16 = 5353;
/// Pairs in a volley: few enough that the server's receive buffer holds all.
pub const PAIRS: u16 = 64;

/// How long one thread waits for the other before it goes on alone.
const MEET: Duration = Duration::from_secs(2);

/// A datagram of a volley: the client's address and its source port.
pub type Sent = (&'static str, u16);

/// Each pair: one datagram from each of two clients, with the same source port, `first` and up.
///
/// Returns those that did not arrive.
pub fn two_clients(nat: &Nat, first: u16) -> Result<BTreeSet<Sent>> {
    let ports = first..first + PAIRS;
    let a = sockets(&nat.pod_a, POD_A_IP, ports.clone())?;
    let b = sockets(&nat.pod_b, POD_B_IP, ports.clone())?;
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
    let sockets = sockets(&nat.pod_a, POD_A_IP, first..first + PAIRS)?;
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
) -> Result<Vec<UdpSocket>> {
    let address: Ipv4Addr = address.parse()?;
    let server = SocketAddrV4::new(WORLD_IP.parse()?, DPORT);
    netns.run(|| {
        ports
            .map(|port| {
                let socket = UdpSocket::bind((address, port))
                    .with_context(|| format!("binding {address}:{port}"))?;
                socket.connect(server)?;
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
