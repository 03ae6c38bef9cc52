//! New connections through MASQUERADE, without and with a tracer.
//!
//! Each makes a conntrack entry and is given a translation, where hooks of connections would sit.
//! Every measurement has a network of its own, so that all begin with empty tables.

use anyhow::Result;

use super::Row;
use super::connections::Line;
use super::pairs::{Pairs, traced};
use crate::lab::Lab;
use crate::scenarios::snat_race::MASQUERADE;
use crate::topology::nat::{Nat, POD_A_IP, WORLD_IP};
use crate::traffic::nat::Proto;
use crate::traffic::volley::DPORT;

/// Measures.
pub fn measure(lab: &Lab, rounds: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (proto, names) in [
        (
            Proto::Udp,
            [
                "new UDP connections, NAT, without tracer",
                "new UDP connections, NAT, with tracer",
                "new UDP connections, NAT",
            ],
        ),
        (
            Proto::Tcp,
            [
                "new TCP connections, NAT, without tracer",
                "new TCP connections, NAT, with tracer",
                "new TCP connections, NAT",
            ],
        ),
    ] {
        round(proto)?; // caches and clocks warm up
        let pairs = Pairs::measure(rounds, |on| traced(lab, None, on, || round(proto)))?;
        rows.extend(pairs.rows(names, "k/s", "over 99"));
    }
    Ok(rows)
}

fn round(proto: Proto) -> Result<f64> {
    let nat = Nat::build(&[MASQUERADE])?;
    let line = Line {
        client: &nat.pod_a,
        device: "eth0",
        source: POD_A_IP,
        target: (WORLD_IP, DPORT),
        servers: vec![(&nat.world, WORLD_IP, DPORT)],
        room: nat.table_size()? / 2,
    };
    Ok(line.measure(proto)?.rate)
}
