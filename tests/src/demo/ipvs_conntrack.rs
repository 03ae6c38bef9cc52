//! The demo of `ipvs_conntrack`: a REDIRECT to a virtual service, and a reply from the wrong port.

use std::time::Instant;

use anyhow::{Context as _, Result};

use super::stage::Stage;
use super::{step, tell};
use crate::lab::Lab;
use crate::scenarios::ipvs_conntrack::case::{PORT, all_counted, wrong_reply};
use crate::scenarios::ipvs_conntrack::{CAUSE, INCIDENT};
use crate::topology::ipvs::{CLIENT_IP, SERVER_A, SERVER_B, SERVICE_PORT, VIP};

/// How many connections are shown after the change.
const AFTER: u16 = 3;

/// Plays it.
pub fn play(lab: &Lab) -> Result<()> {
    let case = &INCIDENT;
    let asked = case.asked;
    step("A director that balances with IPVS, two real servers, a client");
    let (ipvs, servers) = case.build()?;
    let real = [SERVER_A, SERVER_B].map(|(address, port)| format!("{address}:{port}"));
    tell(&format!(
        "director: ipvsadm -A -t {VIP}:{SERVICE_PORT} -s rr, real servers {}\n\
         \u{20}         iptables-legacy -t nat -A PREROUTING -p tcp --dport {asked} -j REDIRECT \
         --to-ports {SERVICE_PORT}\n\
         client:   {CLIENT_IP}",
        real.join(" and ")
    ));

    let stage = Stage::start(lab, CAUSE, &ipvs.director, &[])?;

    step(&format!("The client connects to {VIP}:{asked}"));
    let wrong = case.fail(&ipvs, &servers, PORT)?;
    tell(&format!(
        "no answer from there: {}:{} answered, the client has no socket for that and sent a reset",
        wrong.connection.service.0, wrong.connection.service.1
    ));
    stage.cure(&wrong_reply(&stage.tracer, PORT)?)?;

    step("New connections to the same port");
    for port in PORT + 1..=PORT + AFTER {
        let begun = Instant::now();
        let answered = case
            .succeed(&ipvs, &servers, port)
            .context("the advice does not help")?;
        tell(&format!(
            "answered by {} after {:.1} ms",
            answered.by,
            begun.elapsed().as_secs_f64() * 1e3
        ));
    }

    all_counted(&lab.finish(stage.end()?)?, &ipvs, 1)?;
    step("answered wrongly before the change: 1; after it: none; all of them explained");
    Ok(())
}
