//! Several causes at work in one network, under one tracer: each loss gets its own, right verdict.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::nfqueue_mark::cases::{FIREWALL, FIREWALL_DROP, FIREWALL_WEB, QUEUE_WEB, SEED};
use super::nfqueue_mark::{COMM, QUEUE};
use super::{Kind, Scenario, nfqueue_mark, rp_filter, snat_race};
use crate::expect::Check;
use crate::helper::queue::Inspector;
use crate::lab::Lab;
use crate::topology::queue::{Inspected, NODE_IP, POD_IP, WORLD_IP};
use crate::traffic::flow::{Tuple, send_datagram, udp};
use crate::traffic::packet::{Packet, Payload, RawSocket};
use crate::traffic::queue::Traffic;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "causes_together",
    kind: Kind::Scenario,
    about: "a refused source, a taken port and a deadly mark in one network",
    run: together,
}];

/// Leaves one port for what goes to the server outside.
const ONE_PORT: &str = "iptables-legacy -w -t nat -A POSTROUTING -o eno1 -p udp -j SNAT \
    --to-source 172.26.50.200:40000";

/// A source that the node has no route to.
const STRANGER: &str = "198.51.100.7";

const REFUSED: Tuple = Tuple {
    proto: 17,
    src: STRANGER,
    dst: NODE_IP,
    sport: Some(40_001),
    dport: Some(9),
};

/// What becomes of both datagrams to the server.
const CLASHED: Tuple = Tuple {
    proto: 17,
    src: "172.26.50.200",
    dst: WORLD_IP,
    sport: Some(40_000),
    dport: Some(5353),
};

fn together(lab: &Lab) -> Result<()> {
    let net = Inspected::build(&[QUEUE_WEB, FIREWALL, FIREWALL_DROP, FIREWALL_WEB, ONE_PORT])?;
    net.node.sysctl("net/ipv4/conf/lxc-a/rp_filter", "1")?;
    let program = Inspector::start(&net.node, COMM, QUEUE, &SEED.program)?;
    // Somebody to send to: what arrives is not dropped there.
    let _server = udp(&net.world, WORLD_IP, 5353)?;
    let tracer = lab.explain(Some(&net.node), &[])?;

    let stranger = Packet {
        src: STRANGER.parse()?,
        dst: NODE_IP.parse()?,
        ttl: 64,
        payload: Payload::Udp(40_001, 9, b"dropwatch"),
    };
    RawSocket::open(&net.pod, "eth0")?.send(&stranger)?;
    for port in [41_001, 41_002] {
        let sent = Tuple {
            src: POD_IP,
            sport: Some(port),
            ..CLASHED
        };
        send_datagram(&net.pod, &sent)?;
    }
    ensure!(
        !Traffic::Connect.attempt(&net)?,
        "the network is wrong: the marked connection is open"
    );
    let given = program.wait(1, nfqueue_mark::case::SETTLE)?;
    ensure!(
        given.len() == 1,
        "the network is wrong: queued {}",
        given.len()
    );

    let marked = tracer.judges(nfqueue_mark::CAUSE)?;
    for (tuple, cause) in [
        (REFUSED, Some(rp_filter::CAUSE)),
        (CLASHED, Some(snat_race::CAUSE)),
        (
            Traffic::Connect.tuple(),
            marked.then_some(nfqueue_mark::CAUSE),
        ),
    ] {
        let verdict = lab.verdict(&tracer, &tuple)?;
        let mut check = Check::new(&verdict);
        check.eq("/cause", cause.map_or(Value::Null, Value::from));
        check.eq("/drop/netns/inum", net.node.inum());
        check.done(cause.unwrap_or("no cause"))?;
    }

    let finished = lab.finish(tracer)?;
    for (cause, wanted) in [
        (rp_filter::CAUSE, 1),
        (snat_race::CAUSE, 1),
        (nfqueue_mark::CAUSE, u64::from(marked)),
    ] {
        let found = finished.blamed(cause, &net.node).context(cause)?;
        ensure!(found == wanted, "{found} blamed on {cause}, not {wanted}");
    }
    Ok(())
}
