//! Two builds of dropwatch in turn: what one costs more or less than the other.
//!
//! Each pair starts both, and which of them comes first changes from pair to pair, so that the machine's mood meets both
//! alike. Compared are medians of all pairs; the ratio is the median of the pairs' ratios, with the extremes beside it.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::flood::{resident, rule, send};
use super::{Row, bpf, quantile};
use crate::lab::{Lab, Skip};
use crate::topology::seed::{Config, NODE_IP, POD_IP, Seed};
use crate::tracer::Tracer;
use crate::traffic::flow::udp;
use crate::traffic::packet::{Packet, Payload, RawSocket};

/// One flow's port, and the first of many.
const PORT: u16 = 7777;
const MANY: u16 = 10_000;
const FLOWS: u64 = 10_000;

const WARM_UP: u64 = 10_000;

/// Drops whose detail is sent, in batches that the reader keeps up with.
const BATCH: u64 = 100;
const BATCHES: u64 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// When a started tracer has given its memory back, and one that was flooded has read what it was sent.
const SETTLED: Duration = Duration::from_secs(1);

/// What is measured of each build in each turn, in this order.
const WHAT: [(&str, &str); 8] = [
    ("start to ready", "ms"),
    ("resident after start", "MiB"),
    ("peak of the start", "MiB"),
    ("resident after 10 k drops", "MiB"),
    ("BPF per drop, one flow", "ns"),
    ("BPF per drop, 10 k flows", "ns"),
    ("BPF per drop, detail with call chain", "ns"),
    ("BPF per drop, detail", "ns"),
];

/// What is dropped.
struct Traffic {
    seed: Seed,
    one: UdpSocket,
    many: UdpSocket,
    wrong: RawSocket,
}

/// Measures `lab`'s build against the one at `base`.
pub fn measure(lab: &Lab, base: Option<&PathBuf>, rounds: usize, packets: u64) -> Result<Vec<Row>> {
    let Some(base) = base else {
        return Err(Skip("no other build is named by --base".into()).into());
    };
    let labs = [&Lab::new(base, &lab.folder().join("base"))?, lab];
    let traffic = Traffic::build()?;
    let _stats = bpf::Stats::on()?;
    let mut values = [(); WHAT.len()].map(|()| [Vec::new(), Vec::new()]);
    for round in 0..rounds {
        for turn in [round % 2, 1 - round % 2] {
            let measured = traffic.turn(labs[turn], packets)?;
            for (of, value) in values.iter_mut().zip(measured) {
                of[turn].push(value);
            }
        }
    }
    let sizes = [base, lab.dropwatch()].map(|path| std::fs::metadata(path).map(|m| m.len()));
    let [was, is] = sizes;
    let mut rows = compared(
        "binary",
        "MiB",
        [was?, is?].map(|bytes| vec![bytes as f64 / f64::from(1 << 20)]),
    );
    for ((what, unit), values) in WHAT.into_iter().zip(values) {
        rows.extend(compared(what, unit, values));
    }
    Ok(rows)
}

/// Medians of both, and of the pairs' ratios.
fn compared(what: &str, unit: &'static str, [mut base, mut now]: [Vec<f64>; 2]) -> Vec<Row> {
    let mut ratios: Vec<f64> = base.iter().zip(&now).map(|(b, n)| n / b * 100.0).collect();
    let ratio = |how: &str, value| Row::new(format!("{what}, ratio ({how})"), value, "%", "");
    vec![
        Row::new(format!("{what}, base"), quantile(&mut base, 0.5), unit, ""),
        Row::new(format!("{what}, now"), quantile(&mut now, 0.5), unit, ""),
        ratio("median of pairs", quantile(&mut ratios, 0.5)),
        ratio("lowest", quantile(&mut ratios, 0.0)),
        ratio("highest", quantile(&mut ratios, 1.0)),
    ]
}

impl Traffic {
    fn build() -> Result<Self> {
        let seed = Seed::build(&Config::HEALTHY)?;
        rule(&seed, &PORT.to_string())?;
        rule(&seed, &format!("{MANY}:{}", u64::from(MANY) + FLOWS))?;
        let one = udp(&seed.pod, POD_IP, 0)?;
        one.connect((NODE_IP, PORT))?;
        Ok(Self {
            one,
            many: udp(&seed.pod, POD_IP, 0)?,
            wrong: RawSocket::open(&seed.pod, "eth0")?,
            seed,
        })
    }

    /// One turn of one build.
    fn turn(&self, lab: &Lab, packets: u64) -> Result<[f64; WHAT.len()]> {
        let tracer = lab.explain(Some(&self.seed.node), &[])?;
        let start = tracer.ready_after.as_secs_f64() * 1e3;
        std::thread::sleep(SETTLED);
        let (fresh, peak) = (
            resident(tracer.pid(), "VmRSS:")?,
            resident(tracer.pid(), "VmHWM:")?,
        );
        send(&self.one, WARM_UP)?;
        std::thread::sleep(SETTLED);
        let used = resident(tracer.pid(), "VmRSS:")?;
        let one = per_drop(&tracer, packets, || send(&self.one, packets).map(drop))?;
        let many = per_drop(&tracer, packets, || self.send_many(packets))?;
        lab.finish_without_replay(tracer)?;

        // A session of its own: without a budget every drop has its detail sent.
        let tracer = lab.explain_with(Some(&self.seed.node), &[], &["--budget", "0"])?;
        std::thread::sleep(SETTLED);
        let chain = per_drop(&tracer, BATCH * BATCHES, || {
            in_batches(|| send(&self.one, BATCH).map(drop))
        })?;
        let plain = per_drop(&tracer, BATCH * BATCHES, || {
            in_batches(|| self.send_wrong())
        })?;
        lab.finish_without_replay(tracer)?;
        Ok([start, fresh, peak, used, one, many, chain, plain])
    }

    /// Datagrams of many flows.
    fn send_many(&self, packets: u64) -> Result<()> {
        for number in 0..packets {
            let port = MANY + (number % FLOWS) as u16;
            self.many.send_to(b"flood", (NODE_IP, port))?;
        }
        Ok(())
    }

    /// A batch of datagrams with a wrong checksum: dropped by the protocol, not by a rule.
    fn send_wrong(&self) -> Result<()> {
        let dst = NODE_IP.parse()?;
        let packet = Packet {
            src: POD_IP.parse()?,
            dst,
            ttl: 64,
            payload: Payload::Udp(40_006, PORT + 1, b"wrong"),
        };
        let mut bytes = packet.bytes();
        // The checksum lies behind the IPv4 header, the ports and the length.
        let checksum = bytes.get_mut(26).context("a datagram without a header")?;
        *checksum ^= 0x55;
        for _ in 0..BATCH {
            self.wrong.send_bytes(&bytes, dst)?;
        }
        Ok(())
    }
}

fn in_batches(batch: impl Fn() -> Result<()>) -> Result<()> {
    for _ in 0..BATCHES {
        batch()?;
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// Time in all programs for each of `drops`.
fn per_drop(tracer: &Tracer, drops: u64, cause: impl FnOnce() -> Result<()>) -> Result<f64> {
    let total = || -> Result<(u64, u64)> {
        let runs = bpf::runs(tracer.pid())?;
        Ok(runs.iter().fold((0, 0), |(time, count), run| {
            (time + run.nanoseconds, count + run.count)
        }))
    };
    let before = total()?;
    cause()?;
    let after = total()?;
    ensure!(
        after.1 - before.1 >= drops,
        "{drops} packets were sent, but programs ran only {} times",
        after.1 - before.1
    );
    Ok((after.0 - before.0) as f64 / drops as f64)
}
