//! Decoys of `ipvs_conntrack`: connections that are reset or refused, behind IPVS or a REDIRECT, for
//! another reason.

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::REDIRECT;
use super::case::{PORT, answered, real_servers};
use super::twins::{control, nobody_blamed};
use crate::expect::Check;
use crate::lab::Lab;
use crate::scenarios::{Kind, Scenario};
use crate::topology::ipvs::{CLIENT_IP, Config, Ipvs, SERVER_A, SERVICE_PORT, SERVICES, VIP};
use crate::tracer::Tracer;
use crate::traffic::flow::{PATIENCE, Tuple};
use crate::traffic::ipvs::{Outcome, Servers};
use crate::traffic::nat::Proto;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "decoy_ipvs_refused",
        kind: Kind::Decoy,
        about: "nobody listens on the real server: its refusal comes from the right port",
        run: |lab| refused(lab, &ONE_SERVER, SERVICE_PORT, Some(SERVER_A)),
    },
    Scenario {
        name: "decoy_ipvs_refused_redirect",
        kind: Kind::Decoy,
        about: "the same through a REDIRECT, with vs.conntrack = 1",
        run: |lab| refused(lab, &ONE_SERVER_REDIRECT, 1010, Some(SERVER_A)),
    },
    Scenario {
        name: "decoy_redirect_closed",
        kind: Kind::Decoy,
        about: "a REDIRECT to a closed port of the director, and no virtual service",
        run: |lab| refused(lab, &NO_SERVICE, 1010, None),
    },
    Scenario {
        name: "decoy_ipvs_client_close",
        kind: Kind::Decoy,
        about: "the client closes early and resets what a real server still sends",
        run: client_close,
    },
];

const ONE_SERVER: Config = Config {
    rules: &[],
    services: &[
        "-A -t 172.16.1.8:1000 -s rr",
        "-a -t 172.16.1.8:1000 -r 10.8.0.1:1001 -m",
    ],
    conntrack: false,
};

const ONE_SERVER_REDIRECT: Config = Config {
    rules: &[REDIRECT],
    conntrack: true,
    ..ONE_SERVER
};

const NO_SERVICE: Config = Config {
    rules: &[REDIRECT],
    services: &[],
    conntrack: false,
};

const HEALTHY: Config = Config {
    rules: &[REDIRECT],
    services: SERVICES,
    conntrack: false,
};

/// The client is refused; the SYN that found no listener is explained, at a real server or, without
/// one, at the director.
fn refused(lab: &Lab, config: &Config, port: u16, at: Option<(&'static str, u16)>) -> Result<()> {
    let ipvs = Ipvs::build(config)?;
    let tracer = lab.explain(Some(&ipvs.director), &[])?;
    let servers = Servers::start(&[], Proto::Tcp)?; // nobody listens anywhere
    let outcome = servers.attempt(&ipvs.client, PORT, port)?;
    ensure!(
        matches!(outcome, Outcome::Refused),
        "the network is wrong: {outcome:?}"
    );
    let (dst, dport) = at.unwrap_or((VIP, SERVICE_PORT));
    let syn = Tuple {
        proto: 6,
        src: CLIENT_IP,
        dst,
        sport: Some(PORT),
        dport: Some(dport),
    };
    no_cause(lab, &tracer, &syn)?;
    nobody_blamed(lab, &ipvs, tracer)
}

fn client_close(lab: &Lab) -> Result<()> {
    let ipvs = Ipvs::build(&HEALTHY)?;
    let tracer = lab.explain(Some(&ipvs.director), &[])?;
    let servers = Servers::start(&real_servers(&ipvs), Proto::Tcp)?;
    let answered = answered(&servers, &ipvs, PORT, SERVICE_PORT)?;
    let (client, mut server) = answered.streams.context("no connection")?;
    drop(client);
    let before = ipvs.strays()?;
    server.write_all(b"what the client does not want any more")?;
    server.set_read_timeout(Some(PATIENCE))?;
    // Reads the client's end of stream or already the reset; the second read is the reset.
    let _ = server.read(&mut [0; 8]);
    let resets = ipvs.strays()? - before;
    ensure!(
        resets == 1,
        "the network is wrong: the client sent {resets} resets"
    );
    let data = Tuple {
        proto: 6,
        src: VIP,
        dst: CLIENT_IP,
        sport: Some(SERVICE_PORT),
        dport: Some(PORT),
    };
    no_cause(lab, &tracer, &data)?;
    control(lab, &ipvs, &tracer)?;
    nobody_blamed(lab, &ipvs, tracer)
}

fn no_cause(lab: &Lab, tracer: &Tracer, tuple: &Tuple) -> Result<()> {
    let verdict = lab.verdict(tracer, tuple)?;
    let mut check = Check::new(&verdict);
    check
        .eq("/cause", Value::Null)
        .is("/facts/class", "a text", Value::is_string);
    check.done("verdict")
}
