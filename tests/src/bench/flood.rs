//! A flood of drops at a raw-table DROP rule: what a drop costs in BPF, what the sender keeps of its
//! rate, whether every drop was counted, how much memory the tracer holds.

use std::fs;
use std::net::UdpSocket;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::{Row, bpf, quantile};
use crate::lab::Lab;
use crate::topology::seed::{Config, NODE_IP, POD_IP, Seed};
use crate::tracer::Tracer;
use crate::traffic::flow::udp;

const PORT: u16 = 7777;
const WARM_UP: u64 = 10_000;
const COSTED: u64 = 200_000;

/// Measures.
pub fn measure(lab: &Lab, rounds: usize, packets: u64) -> Result<Vec<Row>> {
    let seed = Seed::build(&Config::HEALTHY)?;
    rule(&seed, &PORT.to_string())?;
    let socket = udp(&seed.pod, POD_IP, 0)?;
    socket.connect((NODE_IP, PORT))?;
    let mut rows = cost(lab, &seed, &socket)?;
    rows.extend(rate(lab, &seed, &socket, rounds, packets)?);
    Ok(rows)
}

/// A rule that drops datagrams to these ports before anything else looks at them.
pub fn rule(seed: &Seed, ports: &str) -> Result<()> {
    seed.node.exec(&format!(
        "iptables-legacy -w -t raw -A PREROUTING -p udp --dport {ports} -j DROP"
    ))?;
    Ok(())
}

/// Memory after ten thousand drops, then nanoseconds per drop.
fn cost(lab: &Lab, seed: &Seed, socket: &UdpSocket) -> Result<Vec<Row>> {
    let stats = bpf::Stats::on()?;
    let tracer = lab.explain(Some(&seed.node), &[])?;
    send(socket, WARM_UP)?;
    let memory = resident(tracer.pid(), "VmRSS:")?;
    let before = bpf::runs(tracer.pid())?;
    ensure!(!before.is_empty(), "the tracer holds no BPF program");
    send(socket, COSTED)?;
    let after = bpf::runs(tracer.pid())?;
    drop(stats);
    lab.finish_without_replay(tracer)?;
    let mut rows = vec![Row::new(
        "resident after 10 k drops",
        memory,
        "MiB",
        "under 20",
    )];
    let mut all = 0.0;
    for run in after {
        let was = before
            .iter()
            .find(|old| old.id == run.id)
            .cloned()
            .unwrap_or_default();
        let time = run.nanoseconds.saturating_sub(was.nanoseconds) as f64;
        let count = run.count.saturating_sub(was.count);
        all += time;
        if count > 0 {
            let name = format!("BPF {} per run", run.name);
            rows.push(Row::new(name, time / count as f64, "ns", ""));
            let name = format!("BPF {} runs per drop", run.name);
            rows.push(Row::new(name, count as f64 / COSTED as f64, "", ""));
        }
    }
    rows.push(Row::new(
        "BPF per drop, all programs",
        all / COSTED as f64,
        "ns",
        "under 80 to 250",
    ));
    Ok(rows)
}

/// The sender's rate without and with a tracer, in turn.
fn rate(
    lab: &Lab,
    seed: &Seed,
    socket: &UdpSocket,
    rounds: usize,
    packets: u64,
) -> Result<Vec<Row>> {
    let (mut without, mut with, mut seen) = (Vec::new(), Vec::new(), 0);
    for _ in 0..rounds {
        without.push(send(socket, packets)?);
        let mut command = lab.command(Some(&seed.node), &[])?;
        command.arg("--explain");
        let tracer = Tracer::start(command, lab.folder())?;
        with.push(send(socket, packets)?);
        let finished = lab.finish_without_replay(tracer)?;
        let drops = finished.summary()?["ledger"]["seen"]
            .as_u64()
            .context("no ledger.seen")?;
        seen += drops.min(packets);
    }
    let (without, with) = (quantile(&mut without, 0.5), quantile(&mut with, 0.5));
    let counted = seen as f64 / (packets * rounds as u64) as f64 * 100.0;
    Ok(vec![
        Row::new("drop flood without tracer", without / 1e3, "kpps", ""),
        Row::new("drop flood with tracer", with / 1e3, "kpps", ""),
        Row::new("drop flood, rate kept", with / without * 100.0, "%", ""),
        Row::new("drop flood, drops counted", counted, "%", "100"),
    ])
}

/// Sends that many datagrams; packets per second.
pub fn send(socket: &UdpSocket, packets: u64) -> Result<f64> {
    let begun = Instant::now();
    for _ in 0..packets {
        socket.send(b"flood")?;
    }
    Ok(packets as f64 / begun.elapsed().as_secs_f64())
}

/// Memory of a process in MiB, as a line of its status tells.
pub fn resident(pid: u32, which: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(which))
        .with_context(|| format!("no {which}"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}
