//! From the packet's loss to the line that tells of it.
//!
//! The clock starts just before the packet is sent and stops when the line has been read, so the
//! numbers include sending and our own reading: they are upper bounds.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Row, quantile};
use crate::expect::packet;
use crate::lab::Lab;
use crate::topology::seed::{Config, NODE_IP, POD_IP, Seed};
use crate::tracer::Tracer;
use crate::traffic::packet::{Packet, Payload, RawSocket};

const DROPS: u16 = 200;
const CASES: u16 = 20;
const PATIENCE: Duration = Duration::from_secs(2);

/// Plain lines, then explanations.
pub fn measure(lab: &Lab) -> Result<Vec<Row>> {
    let mut rows = lines(lab)?;
    rows.extend(explanations(lab)?);
    Ok(rows)
}

/// One drop at a time on one device, without explanations.
fn lines(lab: &Lab) -> Result<Vec<Row>> {
    let seed = Seed::build(&Config {
        device: 1,
        ..Config::HEALTHY
    })?;
    let tracer = Tracer::start(lab.command(Some(&seed.node), &[])?, lab.folder())?;
    let socket = RawSocket::open(&seed.pod, "eth0")?;
    let mut times = Vec::new();
    for number in 0..DROPS {
        times.extend(one(&tracer, &socket, 20_000 + number, "drop")?);
        // Below any budget of lines per second that a tracer may sensibly have for one kind.
        std::thread::sleep(Duration::from_millis(12));
    }
    lab.finish_without_replay(tracer)?;
    Ok(report("drop to line", times, DROPS))
}

/// One drop on each of many devices: every one is a new case with facts to be read.
fn explanations(lab: &Lab) -> Result<Vec<Row>> {
    let seed = Seed::build(&Config::HEALTHY)?;
    seed.node.sysctl("net/ipv4/conf/default/rp_filter", "1")?;
    for number in 0..CASES {
        let (near, far) = (format!("lxcbench{number}"), format!("eth{}", number + 1));
        let mac = format!("02:00:00:00:01:{number:02x}");
        seed.node.ip(&format!(
            "link add {near} address {mac} type veth peer name {far} netns {}\nlink set {near} up\n",
            seed.pod.name()
        ))?;
        seed.pod.ip(&format!(
            "link set {far} up\nneigh replace {NODE_IP} lladdr {mac} dev {far} nud permanent\n"
        ))?;
    }
    let tracer = lab.explain(Some(&seed.node), &[])?;
    let mut times = Vec::new();
    for number in 0..CASES {
        let socket = RawSocket::open(&seed.pod, &format!("eth{}", number + 1))?;
        times.extend(one(&tracer, &socket, 21_000 + number, "verdict")?);
        std::thread::sleep(Duration::from_millis(12));
    }
    lab.finish_without_replay(tracer)?;
    Ok(report("drop to explanation", times, CASES))
}

/// Sends one packet; milliseconds until its line, `None` when none comes.
fn one(tracer: &Tracer, socket: &RawSocket, dport: u16, kind: &str) -> Result<Option<f64>> {
    let dst = NODE_IP.parse()?;
    let payload = Payload::Udp(40_005, dport, b"latency");
    let bytes = Packet {
        src: POD_IP.parse()?,
        dst,
        ttl: 64,
        payload,
    }
    .bytes();
    let sent = SystemTime::now();
    socket.send_bytes(&bytes, dst)?;
    let ours = |line: &Value| line["type"] == kind && packet(line)["dport"] == dport;
    let Some(line) = tracer.wait(PATIENCE, ours) else {
        return Ok(None);
    };
    let taken = line
        .read
        .duration_since(sent)
        .context("the clock was set back")?;
    Ok(Some(taken.as_secs_f64() * 1e3))
}

fn report(what: &str, mut times: Vec<f64>, sent: u16) -> Vec<Row> {
    let told = times.len() as f64 / f64::from(sent) * 100.0;
    vec![
        Row::new(format!("{what}, p50"), quantile(&mut times, 0.5), "ms", ""),
        Row::new(
            format!("{what}, p99"),
            quantile(&mut times, 0.99),
            "ms",
            "under 10",
        ),
        Row::new(format!("{what}, told"), told, "%", "100"),
    ]
}
