//! What becomes of the connections that lost their first packet: the delay that their users feel, or
//! that nothing gets through. And that many of them at once are told apart.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::CAUSE;
use super::case::{
    FIRST_PORT, FIXED_PORT, VOLLEYS, all_blamed, grows_calm, original, race_facts, translated,
    until_lost, verdict_on_one,
};
use super::many_rules::explain_unread;
use super::{FIXED_UDP, MASQUERADE, RACE};
use crate::expect::{Check, is_packet};
use crate::fix;
use crate::helper::queue::{Inspector, Mark, Program};
use crate::lab::{Lab, Skip};
use crate::scenarios::{Kind, Scenario};
use crate::topology::nat::{Nat, POD_A_IP, POD_B_IP, Rule, WORLD_IP};
use crate::tracer::{Finished, SLOW, Tracer};
use crate::traffic::flow::{Tuple, udp};
use crate::traffic::nat::{Proto, Server};
use crate::traffic::volley::{self, CONNECTIONS, Sent};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "snat_race_tcp",
        kind: Kind::Scenario,
        about: "a SYN is lost in the race; the next one gets through after a second",
        run: race_tcp,
    },
    Scenario {
        name: "snat_race_dns",
        kind: Kind::Scenario,
        about: "a resolver's datagram is lost in the race; it asks again and gets through",
        run: race_dns,
    },
    Scenario {
        name: "snat_never",
        kind: Kind::Scenario,
        about: "one translated port, taken, and a client that does not try again",
        run: never,
    },
    Scenario {
        name: "snat_held",
        kind: Kind::Scenario,
        about: "a queue program holds both packets back past their translation: one must lose",
        run: |lab| held(lab, |lab, nat| lab.explain(Some(&nat.node), &[])),
    },
    Scenario {
        name: "snat_held_unread",
        kind: Kind::Scenario,
        about: "the same where the rules cannot be read: the winner is answered by then, and was new all the same",
        run: |lab| held(lab, explain_unread),
    },
    Scenario {
        name: "snat_thousand",
        kind: Kind::Scenario,
        about: "a thousand connections lost at once, to five destinations",
        run: thousand,
    },
];

/// How long a resolver of these scenarios waits before it asks again.
const RESOLVER: Duration = Duration::from_millis(1500);
/// What reading clocks and asking conntrack may add to a delay, on an emulated machine too.
const SLACK: Duration = Duration::from_millis(1500);
/// How long dropwatch follows a connection, and some time to tell of it.
const FOLLOWED: Duration = Duration::from_secs(16);

fn race_tcp(lab: &Lab) -> Result<()> {
    let nat = Nat::build(RACE.rules)?;
    let server = listener(&nat)?;
    let tracer = lab.explain(Some(&nat.node), &[])?;
    let mut first = FIRST_PORT;
    let (late, open) = loop {
        let (late, open) = volley::connections(&nat, &server, first, CONNECTIONS)?;
        first += CONNECTIONS;
        if !late.is_empty() {
            break (late, open);
        }
        ensure!(
            first < FIRST_PORT + VOLLEYS * CONNECTIONS,
            "the network is wrong: no SYN was lost in {VOLLEYS} volleys"
        );
    };
    let refused = nat.insert_failed()?;
    ensure!(
        refused == late.len() as u64,
        "the network is wrong: {refused} entries refused, late are {late:?}"
    );
    let lost: BTreeSet<Sent> = late.keys().copied().collect();
    let (verdict, sent) = verdict_on_one(&tracer, Proto::Tcp, &lost)?;
    race_facts(&nat, &RACE, &verdict, Proto::Tcp, sent)?;
    // The first retransmission comes a second after the first packet (RFC 6298).
    let delay = late.get(&sent).context("what was its delay?")?;
    gets_through(&tracer, &verdict, Proto::Tcp, sent, *delay)?;
    drop(open);

    fix::apply(fix::primary(&verdict)?, &tracer)?;
    grows_calm(|number| {
        let first = first + number * CONNECTIONS;
        let (late, _) = volley::connections(&nat, &server, first, CONNECTIONS)?;
        Ok(late.len())
    })
    .context("the fix does not help")?;
    all_blamed(lab, &nat, tracer)
}

fn race_dns(lab: &Lab) -> Result<()> {
    let nat = Nat::build(RACE.rules)?;
    let tracer = lab.explain(Some(&nat.node), &[])?;
    let (lost, _) = until_lost(&nat, FIRST_PORT)?;
    let begun = Instant::now();
    let (verdict, sent) = verdict_on_one(&tracer, Proto::Udp, &lost)?;
    race_facts(&nat, &RACE, &verdict, Proto::Udp, sent)?;
    std::thread::sleep(RESOLVER.saturating_sub(begun.elapsed()));
    let delay = begun.elapsed();
    for sent in &lost {
        let through = volley::again(&nat, *sent)?;
        ensure!(through, "the network is wrong: {sent:?} is lost again");
    }
    gets_through(&tracer, &verdict, Proto::Udp, sent, delay)?;
    let refused = nat.insert_failed()?;
    let finished = lab.finish(tracer)?;
    let outcomes = outcomes(&finished, &verdict["case"])?;
    let mut check = Check::new(outcomes);
    check
        .eq("/followed", lost.len())
        .eq("/never", 0)
        .eq("/not_followed", 0)
        .is("/through", "1 or more", |found| found.as_u64() >= Some(1));
    check.done("outcomes")?;
    let blamed = finished.blamed(CAUSE, &nat.node)?;
    ensure!(
        blamed == refused,
        "{blamed} drops blamed, but conntrack refused {refused} entries"
    );
    Ok(())
}

fn never(lab: &Lab) -> Result<()> {
    let nat = Nat::build(FIXED_UDP.rules)?;
    let server = Server::start(&nat, Proto::Udp)?;
    let tracer = lab.explain(Some(&nat.node), &[])?;
    let first = server.attempt(&nat.pod_a, POD_A_IP, 41_001)?;
    ensure!(first.is_some(), "the network is wrong: nothing came");
    let second = server.attempt(&nat.pod_b, POD_B_IP, 41_002)?;
    ensure!(second.is_none(), "the network is wrong: it got through");
    let verdict = lab.verdict(&tracer, &translated(Proto::Udp, FIXED_PORT))?;
    let update = update(&tracer, &verdict, FOLLOWED)?;
    let mut check = Check::new(&update);
    check
        .eq("/cause", CAUSE)
        .mentions("/text", &["no packet of"])
        .eq("/facts/followed/through", false)
        .eq("/facts/followed/answered", false)
        .eq("/facts/followed/state", Value::Null)
        .is("/facts/followed/after_ms", "10 s", |found| {
            found
                .as_u64()
                .is_some_and(|ms| (10_000..14_000).contains(&ms))
        });
    check_flow(&mut check, &original(Proto::Udp, POD_B_IP, 41_002));
    check.done("update")?;
    let finished = lab.finish(tracer)?;
    let mut check = Check::new(outcomes(&finished, &verdict["case"])?);
    check.eq("/followed", 1).eq("/never", 1).eq("/open", 0);
    check.done("outcomes")
}

/// Both packets are past their translation and not entered yet when the queue program has them. It is a
/// statement of nft, for iptables has no table behind the translation of sources.
fn held(lab: &Lab, explain: fn(&Lab, &Nat) -> Result<Tracer>) -> Result<()> {
    const QUEUE: Rule = Rule::Nft(&[
        "add table ip late",
        "add chain ip late out { type filter hook postrouting priority 200 ; }",
        "add rule ip late out oifname eno1 ct state new queue num 7",
    ]);
    let nat = queued(&QUEUE)?;
    let _inspector = slow_inspector(&nat, 300)?;
    let server = listener(&nat)?;
    let tracer = explain(lab, &nat)?;
    let (late, _open) = volley::connections(&nat, &server, 41_001, 1)?;
    let lost: BTreeSet<Sent> = late.keys().copied().collect();
    ensure!(
        nat.insert_failed()? == 1,
        "the network is wrong: conntrack refused {} entries",
        nat.insert_failed()?
    );
    let (verdict, sent) = verdict_on_one(&tracer, Proto::Tcp, &lost)?;
    let mut check = Check::new(&verdict);
    check
        .eq("/cause", CAUSE)
        .eq("/facts/kind", "snat_clash")
        .eq("/facts/fixed_port", false)
        .eq("/facts/winner/original/src", other(sent.0))
        .any(
            "/drop/location/symbol",
            &["nfqnl_reinject".into(), "nf_reinject".into()],
        );
    if tracer.attached_probe("clash") {
        check.eq("/facts/winner/from", "kernel");
    }
    if verdict["facts"]["rule"].is_null() {
        check
            .eq("/facts/proof", "kept_port")
            .mentions("/unknown", &["which rule translated it"]);
    } else {
        check.eq("/facts/proof", "free_port");
    }
    check.done("verdict")?;
    let update = update(&tracer, &verdict, FOLLOWED)?;
    let mut check = Check::new(&update);
    check.eq("/facts/followed/through", true);
    check_flow(&mut check, &original(Proto::Tcp, sent.0, sent.1));
    check.done("update")?;
    all_blamed(lab, &nat, tracer)
}

/// The network with a rule that queues packets.
pub fn queued(rule: &Rule) -> Result<Nat> {
    let nat = Nat::build(&[MASQUERADE])?;
    if let Err(error) = nat.add(rule) {
        if error.downcast_ref::<Skip>().is_some() {
            return Err(error);
        }
        return Err(Skip(format!("nft cannot queue packets here: {error:#}")).into());
    }
    Ok(nat)
}

/// A program that holds each packet of queue 7 back for a while and lets it pass.
pub fn slow_inspector(nat: &Nat, delay_ms: u64) -> Result<Inspector> {
    let slow = Program {
        delay_ms,
        ..Program::accept(Mark::Keep)
    };
    Inspector::start(&nat.node, "inspector", 7, &slow)
}

fn thousand(lab: &Lab) -> Result<()> {
    const SERVERS: [u16; 5] = [5351, 5352, 5353, 5354, 5355];
    const LOSERS: u16 = 200;
    let nat = Nat::build(FIXED_UDP.rules)?;
    let servers: Vec<_> = SERVERS
        .iter()
        .map(|port| udp(&nat.world, WORLD_IP, *port))
        .collect::<Result<_>>()?;
    // Every drop in detail: what is only counted has no case.
    let options = ["--budget", "0", "--ring-size", "8388608"];
    let tracer = lab.explain_with(Some(&nat.node), &[], &options)?;
    let winner = udp(&nat.pod_a, POD_A_IP, 41_000)?;
    for (server, port) in servers.iter().zip(SERVERS) {
        winner.send_to(b"first", (WORLD_IP, port))?;
        server
            .recv(&mut [0; 64])
            .context("the network is wrong: the first client does not get through")?;
    }
    let losers: Vec<_> = (FIRST_PORT..FIRST_PORT + LOSERS)
        .map(|port| udp(&nat.pod_b, POD_B_IP, port))
        .collect::<Result<_>>()?;
    for loser in &losers {
        for port in SERVERS {
            loser.send_to(b"second", (WORLD_IP, port))?;
        }
    }
    let all = SERVERS.len() as u64 * u64::from(LOSERS);
    let refused = nat.insert_failed()?;
    ensure!(
        refused == all,
        "the network is wrong: conntrack refused {refused} entries"
    );
    for port in SERVERS {
        let ours = |line: &Value| {
            line["type"] == "verdict" && line["cause"] == CAUSE && {
                let tuple = Tuple {
                    dport: Some(port),
                    ..original(Proto::Udp, POD_A_IP, 41_000)
                };
                is_packet(&line["facts"]["winner"]["original"], &tuple)
            }
        };
        tracer
            .wait(SLOW, ours)
            .with_context(|| format!("no verdict for port {port}"))?;
    }
    let finished = lab.finish(tracer)?;
    let mut followed = 0;
    for port in SERVERS {
        let verdicts = finished.verdicts();
        let of_port: Vec<_> = verdicts
            .iter()
            .filter(|v| {
                v["drop"]["netns"]["inum"] == nat.node.inum()
                    && v["drop"]["packet"]["dport"] == port
                    && v["cause"] == CAUSE
            })
            .collect();
        let [verdict] = of_port[..] else {
            bail!("{} cases for port {port}, not one", of_port.len());
        };
        let case = tally(&finished, &verdict["case"])?;
        ensure!(case["total"] == LOSERS, "port {port}: {case}");
        let outcomes = &case["outcomes"];
        let count = |name: &str| outcomes[name].as_u64().unwrap_or(0);
        ensure!(
            count("followed") + count("not_followed") == u64::from(LOSERS) && count("through") == 0,
            "port {port}: {outcomes}"
        );
        followed += count("followed");
    }
    ensure!((1..=64).contains(&followed), "{followed} are followed");
    let mut check = Check::new(finished.summary()?);
    check
        .eq("/ledger/suppressed", 0)
        .eq("/ledger/lost_ring_full", 0);
    check.done("ledger")?;
    let blamed = finished.blamed(CAUSE, &nat.node)?;
    ensure!(blamed == all, "{blamed} drops blamed, not {all}");
    Ok(())
}

/// The server, for connections.
pub fn listener(nat: &Nat) -> Result<TcpListener> {
    match Server::start(nat, Proto::Tcp)? {
        Server::Tcp(listener) => Ok(listener),
        Server::Udp(_) => bail!("no listener"),
    }
}

fn other(client: &str) -> &'static str {
    if client == POD_A_IP {
        POD_B_IP
    } else {
        POD_A_IP
    }
}

/// The update must say when the connection of this verdict got through.
fn gets_through(
    tracer: &Tracer,
    verdict: &Value,
    proto: Proto,
    (client, port): Sent,
    delay: Duration,
) -> Result<()> {
    let update = update(tracer, verdict, FOLLOWED)?;
    let near = delay.saturating_sub(SLACK / 3)..delay + SLACK;
    let mut check = Check::new(&update);
    check
        .eq("/cause", CAUSE)
        .mentions("/text", &["got through"])
        .mentions("/text", &[client])
        .eq("/facts/followed/through", true)
        .eq("/facts/followed/answered", proto == Proto::Tcp)
        .is("/facts/followed/after_ms", &format!("{near:?}"), |found| {
            let after = found.as_u64().map(Duration::from_millis);
            after.is_some_and(|after| near.contains(&after))
        })
        .is(
            "/facts/followed/resolution_ms",
            "100 ms or a little more",
            |found| found.as_u64().is_some_and(|ms| (100..1000).contains(&ms)),
        );
    match proto {
        Proto::Tcp => check.eq("/facts/followed/state", "ESTABLISHED"),
        Proto::Udp => check.eq("/facts/followed/state", Value::Null),
    };
    check_flow(&mut check, &original(proto, client, port));
    check.done("update")
}

/// Waits for the word on the case's first connection.
fn update(tracer: &Tracer, verdict: &Value, patience: Duration) -> Result<Value> {
    let ours = |line: &Value| line["type"] == "update" && line["case"] == verdict["case"];
    let line = tracer.wait(patience, ours);
    Ok(line
        .context("no word on what became of the connection")?
        .value)
}

fn check_flow(check: &mut Check<'_>, tuple: &Tuple) {
    check.is("/facts/followed/tuple", &format!("{tuple:?}"), |found| {
        is_packet(found, tuple)
    });
}

/// The case in the summary.
fn tally<'a>(finished: &'a Finished, case: &Value) -> Result<&'a Value> {
    let cases = finished.summary()?["cases"].as_array();
    let mut cases = cases.context("a summary without cases")?.iter();
    cases
        .find(|line| line["case"] == *case)
        .context("the case is not in the summary")
}

fn outcomes<'a>(finished: &'a Finished, case: &Value) -> Result<&'a Value> {
    Ok(&tally(finished, case)?["outcomes"])
}
