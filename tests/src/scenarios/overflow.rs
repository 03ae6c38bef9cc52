//! The ledger: a ring that is too small, a tracer that does not read, and every drop accounted for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{Kind, Scenario};
use crate::expect::Check;
use crate::lab::Lab;
use crate::topology::seed::{Config, NODE_IP, POD_IP, Seed};
use crate::tracer::Tracer;
use crate::traffic::flow::udp;
use crate::traffic::packet::{Packet, Payload, RawSocket};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "ledger_overflow",
        kind: Kind::Scenario,
        about: "a burst into a full ring: seen = shown + suppressed + lost",
        run: ledger_overflow,
    },
    Scenario {
        name: "flood_hides_nobody",
        kind: Kind::Scenario,
        about: "in a flood, a single drop of the same kind by another rule is explained, and counts say what they are",
        run: flood_hides_nobody,
    },
];

const BURST: u64 = 20_000;

fn ledger_overflow(lab: &Lab) -> Result<()> {
    let seed = Seed::build(&Config {
        device: 1,
        ..Config::HEALTHY
    })?;
    let mut command = lab.command(Some(&seed.node), &[])?;
    command.args(["--explain", "--ring-size", "4096", "--budget", "0"]);
    let tracer = Tracer::start(command, lab.folder())?;
    tracer.signal(Signal::SIGSTOP)?;
    burst(&seed)?;
    let refused = seed.refused()?;
    tracer.signal(Signal::SIGCONT)?;
    ensure!(
        refused == BURST,
        "the network is wrong: {refused} of {BURST} refused"
    );
    let finished = lab.finish_without_replay(tracer)?;
    let summary = finished.summary()?;
    let ledger = &summary["ledger"];
    let get = |name: &str| {
        ledger[name]
            .as_u64()
            .with_context(|| format!("ledger without {name}"))
    };
    let (seen, received, lost) = (get("seen")?, get("received")?, get("lost_ring_full")?);
    let kernel = get("filtered")? + get("not_packet")? + get("suppressed")? + lost + received;
    let user = get("route_queries")? + get("undecodable")? + get("deselected")? + get("shown")?;
    let mut check = Check::new(ledger);
    check.is(
        "/seen",
        &format!("at least the {BURST} drops sent"),
        |seen| seen.as_u64() >= Some(BURST),
    );
    check.is(
        "/seen",
        &format!("the kernel's parts together, {kernel}"),
        |found| *found == kernel,
    );
    check.is(
        "/received",
        &format!("the reader's parts together, {user}"),
        |found| *found == user,
    );
    check.is(
        "/lost_ring_full",
        "more than 0: the ring must overflow",
        |lost| *lost != 0,
    );
    check.eq("/undecodable", 0);
    check.done("ledger")?;
    ensure!(
        lost <= seen && received <= seen,
        "parts greater than the whole: {ledger}"
    );
    Ok(())
}

fn burst(seed: &Seed) -> Result<()> {
    let socket = RawSocket::open(&seed.pod, "eth0")?;
    let dst = NODE_IP.parse()?;
    let payload = Payload::Udp(40_004, 7777, b"burst");
    let packet = Packet {
        src: POD_IP.parse()?,
        dst,
        ttl: 64,
        payload,
    };
    let bytes = packet.bytes();
    for number in 0..BURST {
        socket.send_bytes(&bytes, dst)?;
        if number % 256 == 255 {
            // The queue between the two ends of a veth is short; let the softirq empty it.
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while seed.refused()? < BURST && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Ports of the flood and of the single packets.
const FLOOD: u16 = 7777;
const SINGLE: u16 = 7800;
const SINGLES: u16 = 20;

/// Two rules of one chain: the same reason, place and device.
fn flood_hides_nobody(lab: &Lab) -> Result<()> {
    let seed = Seed::build(&Config::HEALTHY)?;
    let last = SINGLE + SINGLES;
    for ports in [FLOOD.to_string(), format!("{SINGLE}:{last}")] {
        seed.node.exec(&format!(
            "iptables-legacy -w -A INPUT -p udp -m udp --dport {ports} -j DROP"
        ))?;
    }
    let tracer = lab.explain(Some(&seed.node), &[])?;
    let stop = AtomicBool::new(false);
    let told = std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(&seed, &stop));
        let told = singles(&seed, &tracer);
        stop.store(true, Ordering::Relaxed);
        let sent = flood
            .join()
            .map_err(|_| anyhow::anyhow!("the flood panicked"))?;
        told.and_then(|told| Ok((told, sent?)))
    });
    let (told, sent) = told?;
    let finished = lab.finish(tracer)?;
    // One may have met the flood's own budget.
    ensure!(
        told + 1 >= SINGLES,
        "only {told} of {SINGLES} single packets were told of in a flood of {sent}"
    );
    let cases = finished.summary()?["cases"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let port = |case: &&Value, port: u16| case["flows"][0]["dport"] == port;
    let flooded = cases
        .iter()
        .find(|case| port(case, FLOOD))
        .context("no case of the flood")?;
    let mut check = Check::new(flooded);
    check.is("/total", "less than all that were sent", |total| {
        total.as_u64() < Some(sent)
    });
    check.eq("/exact", Value::Null);
    check.is("/of_kind", &format!("at least the {sent} sent"), |all| {
        all.as_u64() >= Some(sent)
    });
    check.done("the flood's case")
}

/// Sends until it is told to stop; returns how many.
fn flood(seed: &Seed, stop: &AtomicBool) -> Result<u64> {
    let socket = udp(&seed.pod, POD_IP, 0)?;
    socket.connect((NODE_IP, FLOOD))?;
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        // Full queues are no errors here.
        sent += u64::from(socket.send(b"flood").is_ok());
    }
    Ok(sent)
}

/// Sends single packets, each to another port; returns how many were told of.
fn singles(seed: &Seed, tracer: &Tracer) -> Result<u16> {
    std::thread::sleep(Duration::from_millis(500));
    for port in SINGLE..SINGLE + SINGLES {
        let socket = udp(&seed.pod, POD_IP, 0)?;
        socket.send_to(b"one", (NODE_IP, port))?;
        std::thread::sleep(Duration::from_millis(50));
    }
    // All of them are of one rule, so one case: its count tells.
    let ours = |line: &Value| {
        line["type"] == "verdict"
            && line["drop"]["packet"]["dport"]
                .as_u64()
                .is_some_and(|port| port >= SINGLE.into())
    };
    let verdict = tracer
        .wait(Duration::from_secs(5), ours)
        .context("no verdict on any of the single packets")?;
    let case = verdict.value["case"].clone();
    let mut total = 1;
    let more = |line: &Value| line["type"] == "repeat" && line["case"] == case;
    while let Some(line) = tracer.wait(Duration::from_secs(3), |line| {
        more(line) && line["total"].as_u64() > Some(total)
    }) {
        total = line.value["total"].as_u64().unwrap_or(total);
        if total >= SINGLES.into() {
            break;
        }
    }
    Ok(u16::try_from(total).unwrap_or(u16::MAX))
}
