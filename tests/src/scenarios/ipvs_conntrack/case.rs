//! A case of `ipvs_conntrack` and how it is played.
//!
//! The client really gets no answer that it can take, and its kernel counts a packet without a
//! socket; the verdict names the cause with every fact; the primary fix is applied as printed; a new
//! connection then works; and the summary counts the connections answered wrongly, and no others.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::CAUSE;
use super::facts::{WantedRule, Wrong, check_facts, check_fixes, known};
use crate::expect::Check;
use crate::fix;
use crate::lab::Lab;
use crate::topology::ipvs::{Config, Ipvs, SERVER_A, SERVER_B, SERVICE_PORT, VIP};
use crate::topology::nat::Rule;
use crate::tracer::{Finished, SLOW, Tracer};
use crate::traffic::ipvs::{Answered, Outcome, Place, Servers};
use crate::traffic::nat::Proto;

/// The first port of the client.
pub const PORT: u16 = 41_001;

/// Where the tracer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// In the director's network namespace.
    Director,
    /// In this program's own.
    Host,
}

/// A case and what must be said about it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What is spoken.
    pub proto: Proto,
    /// The port that the client asks.
    pub asked: u16,
    /// The director's rules.
    pub rules: &'static [Rule],
    /// The one to name.
    pub rule: WantedRule,
    /// The director's virtual services.
    pub services: &'static [&'static str],
    /// Whether the real servers are the director's own processes.
    pub on_director: bool,
    /// Where the tracer runs.
    pub seat: Seat,
}

impl Case {
    /// Builds the network and starts the real servers.
    pub fn build(&self) -> Result<(Ipvs, Servers)> {
        let ipvs = Ipvs::build(&Config {
            rules: self.rules,
            services: self.services,
            conntrack: false,
        })?;
        let servers = if self.on_director {
            let places = [SERVER_A, SERVER_B].map(|(_, port)| (&ipvs.director, VIP, port));
            Servers::start(&places, self.proto)?
        } else {
            Servers::start(&real_servers(&ipvs), self.proto)?
        };
        Ok((ipvs, servers))
    }

    /// Starts the tracer where it belongs.
    pub fn trace(&self, lab: &Lab, ipvs: &Ipvs) -> Result<Tracer> {
        match self.seat {
            Seat::Director => lab.explain(Some(&ipvs.director), &[]),
            Seat::Host => lab.explain(None, &[]),
        }
    }

    /// The hook that the reply leaves by.
    pub fn hook(&self) -> &'static str {
        if self.on_director {
            "output"
        } else {
            "forward"
        }
    }

    /// One attempt, which must be answered wrongly; what IPVS knows of it.
    pub fn fail(&self, ipvs: &Ipvs, servers: &Servers, port: u16) -> Result<Wrong> {
        let before = ipvs.strays()?;
        let outcome = servers.attempt(&ipvs.client, port, self.asked)?;
        ensure!(
            matches!(outcome, Outcome::Silence),
            "the network is wrong: {outcome:?}"
        );
        let strays = ipvs.strays()? - before;
        ensure!(
            strays == 1,
            "the network is wrong: {strays} packets came to the client for which it has no socket"
        );
        let connection = known(ipvs, port)?;
        ensure!(
            connection.service == (VIP.to_owned(), SERVICE_PORT),
            "the network is wrong: IPVS has {connection:?}"
        );
        Ok(Wrong {
            director: ipvs.director.inum(),
            client: ipvs.client.inum(),
            port,
            connection,
            conntrack: ipvs.conntrack()?,
            older: false,
            client_seen: true,
        })
    }

    /// One attempt, which must be answered.
    pub fn succeed(&self, ipvs: &Ipvs, servers: &Servers, port: u16) -> Result<Answered> {
        answered(servers, ipvs, port, self.asked)
    }
}

/// The real servers on machines of their own.
pub fn real_servers(ipvs: &Ipvs) -> [Place<'_>; 2] {
    [
        (&ipvs.server_a, SERVER_A.0, SERVER_A.1),
        (&ipvs.server_b, SERVER_B.0, SERVER_B.1),
    ]
}

/// One attempt, which must be answered.
pub fn answered(servers: &Servers, ipvs: &Ipvs, from: u16, to: u16) -> Result<Answered> {
    match servers.attempt(&ipvs.client, from, to)? {
        Outcome::Answered(answered) => Ok(answered),
        outcome => bail!("the network is wrong: port {to} gives {outcome:?}"),
    }
}

/// Plays a case from the wrong answer to the right one.
pub fn play(lab: &Lab, case: &Case) -> Result<()> {
    let (ipvs, servers) = case.build()?;
    let tracer = case.trace(lab, &ipvs)?;
    play_with(lab, case, &ipvs, &servers, tracer)
}

/// The same with a tracer that runs already.
pub fn play_with(
    lab: &Lab,
    case: &Case,
    ipvs: &Ipvs,
    servers: &Servers,
    tracer: Tracer,
) -> Result<()> {
    let wrong = case.fail(ipvs, servers, PORT)?;
    let verdict = wrong_reply(&tracer, PORT)?;
    let mut check = Check::new(&verdict);
    check_facts(&mut check, case, &wrong);
    check_fixes(&mut check, ipvs.director.name(), case.seat);
    check.done("verdict")?;

    let fix = fix::primary(&verdict)?;
    fix::apply(fix, &tracer)?;
    ensure!(
        ipvs.conntrack()?,
        "the fix does not set net.ipv4.vs.conntrack: {fix}"
    );
    let answered = case.succeed(ipvs, servers, PORT + 1);
    let answered = answered.with_context(|| format!("the fix does not help ({fix})"))?;
    drop(answered);
    let finished = lab.finish(tracer)?;
    all_counted(&finished, ipvs, 1)
}

/// The verdict on the connection with this client port.
pub fn wrong_reply(tracer: &Tracer, port: u16) -> Result<Value> {
    let ours =
        |line: &Value| line["type"] == "verdict" && line["anomaly"]["client"]["port"] == port;
    if let Some(line) = tracer.wait(SLOW / 3, ours) {
        return Ok(line.value);
    }
    let lines = tracer.lines().into_iter().map(|line| line.value);
    let verdicts: Vec<String> = lines
        .filter(|line| line["type"] == "verdict")
        .map(|line| format!("\n  {}: {}", line["cause"], line["summary"]))
        .collect();
    bail!(
        "no verdict on the reply to port {port}; verdicts: {}{}",
        verdicts.len(),
        verdicts.concat()
    )
}

/// So many connections must be blamed, in one case; and what the client dropped must belong to it.
pub fn all_counted(finished: &Finished, ipvs: &Ipvs, wrong: u64) -> Result<()> {
    let blamed = finished.blamed(CAUSE, &ipvs.director)?;
    ensure!(
        blamed == wrong,
        "{blamed} connections blamed, but {wrong} were answered wrongly"
    );
    // Each client drops one reply; the reset that it answers with may be dropped by a real server.
    let linked = linked_drops(finished, ipvs)?;
    ensure!(
        (wrong..=2 * wrong).contains(&linked),
        "the clients dropped {wrong} replies, but {linked} drops are linked"
    );
    let own = finished.verdicts().into_iter().find(|verdict| {
        let packet = &verdict["drop"]["packet"];
        verdict["drop"]["netns"]["inum"] == ipvs.client.inum()
            && packet["src"] == VIP
            && packet["sport"] == SERVICE_PORT
    });
    match own {
        Some(own) => bail!("the client's drop has a verdict of its own: {own}"),
        None => Ok(()),
    }
}

/// How many drops the summary links to wrong answers of the director; there must be one case.
pub fn linked_drops(finished: &Finished, ipvs: &Ipvs) -> Result<u64> {
    let verdicts = finished.verdicts();
    let mut ours = verdicts.iter().filter(|verdict| {
        verdict["cause"] == CAUSE && verdict["anomaly"]["netns"]["inum"] == ipvs.director.inum()
    });
    let (Some(verdict), None) = (ours.next(), ours.next()) else {
        bail!("not one verdict on the director among {}", verdicts.len());
    };
    let cases = finished.summary()?["cases"].as_array();
    let case = cases
        .into_iter()
        .flatten()
        .find(|case| case["case"] == verdict["case"])
        .context("a verdict without a case in the summary")?;
    case["drops"]
        .as_u64()
        .with_context(|| format!("a case without drops: {case}"))
}
