//! The ledger: a ring that is too small, a tracer that does not read, and every drop accounted for.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::{Kind, Scenario};
use crate::expect::Check;
use crate::lab::Lab;
use crate::topology::seed::{Config, NODE_IP, POD_IP, Seed};
use crate::tracer::Tracer;
use crate::traffic::packet::{Packet, Payload, RawSocket};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "ledger_overflow",
    kind: Kind::Scenario,
    about: "a burst into a full ring: seen = shown + suppressed + lost",
    run: ledger_overflow,
}];

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
