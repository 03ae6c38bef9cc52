//! New connections through IPVS: what `net.ipv4.vs.conntrack` = 1 costs, and what a tracer costs.
//!
//! The director has the rule of the incident, so conntrack looks at every packet anyway; clients ask
//! the virtual service itself, which works with both values. Every measurement has a network of its
//! own, so that all begin with empty tables.

use std::cell::Cell;

use anyhow::Result;

use super::Row;
use super::connections::{Carried, Line};
use super::pairs::{Pairs, traced};
use crate::lab::Lab;
use crate::scenarios::ipvs_conntrack::REDIRECT;
use crate::scenarios::ipvs_conntrack::case::real_servers;
use crate::topology::ipvs::{CLIENT_DEVICE, CLIENT_IP, Config, Ipvs, SERVICE_PORT, SERVICES, VIP};
use crate::traffic::nat::Proto;

/// Measures.
pub fn measure(lab: &Lab, rounds: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (proto, what) in [
        (Proto::Udp, "new UDP connections, IPVS"),
        (Proto::Tcp, "new TCP connections, IPVS"),
    ] {
        round(proto, false)?; // caches, clocks and modules warm up
        let entries = [Cell::new(0.0), Cell::new(0.0)];
        let pairs = Pairs::measure(rounds, |keeping| {
            let (carried, per_connection) = round(proto, keeping)?;
            entries[usize::from(keeping)].set(per_connection);
            Ok(carried.rate)
        })?;
        let values = [0, 1].map(|value| format!("{what}, vs.conntrack = {value}"));
        let names = [&values[0], &values[1], &format!("{what}, vs.conntrack")];
        rows.extend(pairs.rows(names.map(String::as_str), "k/s", ""));
        for (value, entries) in values.iter().zip(entries) {
            let name = format!("{value}, entries each");
            rows.push(Row::new(name, entries.get(), "", ""));
        }
        let pairs = Pairs::measure(rounds, |on| {
            traced(lab, None, on, || Ok(round(proto, false)?.0.rate))
        })?;
        let names = ["without", "with"].map(|how| format!("{what}, {how} tracer"));
        let names = [names[0].as_str(), names[1].as_str(), what];
        rows.extend(pairs.rows(names, "k/s", "over 99"));
    }
    Ok(rows)
}

/// What was carried, and how many conntrack entries there are for each connection.
fn round(proto: Proto, conntrack: bool) -> Result<(Carried, f64)> {
    let ipvs = Ipvs::build(&Config {
        rules: &[REDIRECT],
        services: SERVICES,
        conntrack,
    })?;
    let line = Line {
        client: &ipvs.client,
        device: CLIENT_DEVICE,
        source: CLIENT_IP,
        target: (VIP, SERVICE_PORT),
        servers: real_servers(&ipvs).to_vec(),
        room: ipvs.conntrack_limit()? / 2,
    };
    let carried = line.measure(proto)?;
    let entries = ipvs.conntrack_entries()?;
    Ok((carried, entries as f64 / carried.count as f64))
}
