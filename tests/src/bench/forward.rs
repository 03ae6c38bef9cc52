//! Traffic that is not dropped: the rate at which the node forwards it, without and with a tracer.
//!
//! The filter is strict and the pod has a route of its own, so every packet passes the source check
//! that dropwatch may watch. One thread sends a burst, which the kernel carries through the node's
//! namespace inside the sending system calls, and then takes the burst out of the receiver: only the
//! sending is timed, and what did not arrive does not count.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::pairs::{Pairs, traced};
use super::{Row, bpf};
use crate::lab::Lab;
use crate::topology::seed::{Config, POD_IP, Seed, WORLD_IP};
use crate::tracer::Tracer;
use crate::traffic::flow::udp;

const PORT: u16 = 7778;
const ROUND: Duration = Duration::from_millis(700);
/// Packets for which program runs are counted.
const COUNTED: u64 = 50_000;
/// Fits into a receiver's default buffer.
const BURST: u32 = 128;

/// Measures.
pub fn measure(lab: &Lab, rounds: usize) -> Result<Vec<Row>> {
    let seed = Seed::build(&Config {
        device: 1,
        endpoint_route: true,
        ..Config::HEALTHY
    })?;
    let receiver = udp(&seed.world, WORLD_IP, PORT)?;
    receiver.set_read_timeout(Some(Duration::from_millis(50)))?;
    let sender = udp(&seed.pod, POD_IP, 0)?;
    sender.connect((WORLD_IP, PORT))?;
    round(&sender, &receiver)?; // caches and clocks warm up
    let pairs = Pairs::measure(rounds, |on| {
        traced(lab, Some(&seed.node), on, || round(&sender, &receiver))
    })?;
    let runs = runs(lab, &seed, &sender, &receiver)?;
    let mut rows = vec![Row::new(
        "BPF runs per forwarded packet",
        runs,
        "",
        "0: nothing sits on the way of clean traffic",
    )];
    let names = [
        "forwarded without tracer",
        "forwarded with tracer",
        "forwarded",
    ];
    rows.extend(pairs.rows(names, "kpps", "over 99"));
    Ok(rows)
}

/// How often the tracer's programs run for each packet: exact, whatever else the machine is doing.
fn runs(lab: &Lab, seed: &Seed, sender: &UdpSocket, receiver: &UdpSocket) -> Result<f64> {
    let stats = bpf::Stats::on()?;
    let tracer = lab.explain(Some(&seed.node), &[])?;
    let total = |tracer: &Tracer| -> Result<u64> {
        Ok(bpf::runs(tracer.pid())?.iter().map(|run| run.count).sum())
    };
    let before = total(&tracer)?;
    let mut buffer = [0_u8; 64];
    let mut arrived = 0;
    for _ in 0..COUNTED / u64::from(BURST) {
        for _ in 0..BURST {
            sender.send(b"forward")?;
        }
        arrived += (0..BURST)
            .take_while(|_| receiver.recv(&mut buffer).is_ok())
            .count();
    }
    let runs = total(&tracer)? - before;
    drop(stats);
    lab.finish_without_replay(tracer)?;
    Ok(runs as f64 / arrived as f64)
}

/// Packets per second that arrived, over the time spent sending.
fn round(sender: &UdpSocket, receiver: &UdpSocket) -> Result<f64> {
    let begun = Instant::now();
    let (mut sending, mut arrived) = (Duration::ZERO, 0_u64);
    let mut buffer = [0_u8; 64];
    while begun.elapsed() < ROUND {
        let burst = Instant::now();
        for _ in 0..BURST {
            sender.send(b"forward")?;
        }
        sending += burst.elapsed();
        let received = (0..BURST)
            .take_while(|_| receiver.recv(&mut buffer).is_ok())
            .count();
        arrived += received as u64;
    }
    ensure!(arrived > 0, "the network is wrong: nothing arrived");
    Ok(arrived as f64 / sending.as_secs_f64())
}
