//! A case of `snat_race` and how it is played.
//!
//! The server really misses a packet and the node's conntrack counts a refused entry for each; the
//! verdict names the cause with every fact; the primary fix is applied as printed, if it has
//! commands, and then nothing is lost but for what random ports leave to chance; and the summary
//! blames exactly as many drops as conntrack refused entries.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::CAUSE;
use super::facts::{Clash, check_facts};
use crate::expect::{Check, is_packet, nearest_miss, packet};
use crate::fix;
use crate::lab::Lab;
use crate::topology::nat::{NODE_OUTSIDE_IP, Nat, POD_A_IP, POD_B_IP, Rule, WORLD_IP};
use crate::tracer::{SLOW, Tracer};
use crate::traffic::flow::Tuple;
use crate::traffic::nat::{Proto, Server};
use crate::traffic::volley::{self, DPORT, PAIRS, Sent};

/// The one port of the rules that have just one.
pub const FIXED_PORT: u16 = 40_000;
/// The first source port of volleys.
pub const FIRST_PORT: u16 = 20_000;
/// How many volleys are tried until something is lost.
pub const VOLLEYS: u16 = 60;
/// How many volleys must get through unharmed where ports are fully random. Where they are not, one in eight to fifty
/// packets was lost.
const CALM: u16 = 5;
/// How many packets may be lost until then: random ports make the race rare, not impossible (one pair in some 60 000).
const RARE: usize = 2;

/// The rule that must be named.
#[derive(Clone, Copy, Debug)]
pub struct WantedRule {
    /// `iptables-legacy`, `iptables-nft` or `nft`.
    pub backend: &'static str,
    /// The table, in the ways it may be written.
    pub tables: &'static [&'static str],
    /// The chain.
    pub chain: &'static str,
    /// What the rule's text must contain, all of it.
    pub words: &'static [&'static str],
    /// What lists such rules.
    pub list: &'static str,
    /// Whether rules of this back end have handles.
    pub handle: bool,
}

/// A case and what must be said about it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The node's rules.
    pub rules: &'static [Rule],
    /// The one to blame.
    pub rule: WantedRule,
}

/// What a client sends.
pub fn original(proto: Proto, client: &'static str, sport: u16) -> Tuple {
    Tuple {
        proto: proto.number(),
        src: client,
        dst: WORLD_IP,
        sport: Some(sport),
        dport: Some(DPORT),
    }
}

/// What becomes of it.
pub fn translated(proto: Proto, sport: u16) -> Tuple {
    original(proto, NODE_OUTSIDE_IP, sport)
}

/// Two clients one after the other, behind a rule with one port.
pub fn play_fixed(lab: &Lab, case: &Case, proto: Proto) -> Result<()> {
    let nat = Nat::build(case.rules)?;
    let server = Server::start(&nat, proto)?;
    let tracer = lab.explain(Some(&nat.node), &[])?;
    let (first, second) = (41_001, 41_002);
    let winner = server
        .attempt(&nat.pod_a, POD_A_IP, first)?
        .context("the network is wrong: the first client does not get through")?;
    ensure!(
        winner.seen_port == FIXED_PORT,
        "the network is wrong: translated to port {}",
        winner.seen_port
    );
    let lost = server.attempt(&nat.pod_b, POD_B_IP, second)?.is_none();
    ensure!(
        lost,
        "the network is wrong: the second client got through too"
    );
    let refused = nat.insert_failed()?;
    ensure!(
        refused == 1,
        "the network is wrong: {refused} entries refused"
    );

    let clash = Clash {
        proto,
        loser: original(proto, POD_B_IP, second),
        winner: original(proto, POD_A_IP, first),
        translated: translated(proto, FIXED_PORT),
    };
    let verdict = lab.verdict(&tracer, &clash.translated)?;
    let mut check = Check::new(&verdict);
    check_facts(&mut check, &nat, &clash, &case.rule)?;
    check.done("verdict")?;
    drop(winner);

    let fix = fix::primary(&verdict)?;
    if fix::is_command(fix) {
        fix::apply(fix, &tracer)?;
        let clients = [(&nat.pod_a, POD_A_IP), (&nat.pod_b, POD_B_IP)];
        let mut open = Vec::new();
        for (client, address) in clients {
            let through = server.attempt(client, address, 41_003)?;
            open.push(through.with_context(|| format!("the fix does not help {address} ({fix})"))?);
        }
    } else {
        // Random ports cannot help where there is one port.
        let mut check = Check::new(fix);
        check.mentions("", &["port"]).mentions("", &["address"]);
        check.done("advice for a single port")?;
    }
    all_blamed(lab, &nat, tracer)
}

/// Two clients at once, until something is lost.
pub fn play_race(lab: &Lab, case: &Case) -> Result<()> {
    let nat = Nat::build(case.rules)?;
    let tracer = lab.explain(Some(&nat.node), &[])?;
    let (lost, next) = until_lost(&nat, FIRST_PORT)?;
    let refused = nat.insert_failed()?;
    ensure!(
        refused == lost.len() as u64,
        "the network is wrong: {refused} entries refused, {} datagrams lost",
        lost.len()
    );
    let (verdict, sent) = verdict_on_one(&tracer, Proto::Udp, &lost)?;
    race_facts(&nat, case, &verdict, Proto::Udp, sent)?;

    let fix = fix::primary(&verdict)?;
    fix::apply(fix, &tracer)?;
    let rules = nat.node.exec(case.rule.list)?;
    ensure!(
        rules.contains("random"),
        "the fix does not change the rule ({fix}): {rules}"
    );
    grows_calm(|number| volley::two_clients(&nat, next + number * PAIRS).map(|lost| lost.len()))
        .with_context(|| format!("the fix does not help ({fix})"))?;
    all_blamed(lab, &nat, tracer)
}

/// Plays volleys, by number, where ports are fully random; each returns how many packets it lost, and so does this.
pub fn grows_calm(mut volley: impl FnMut(u16) -> Result<usize>) -> Result<usize> {
    let (mut calm, mut lost) = (0, 0);
    for number in 0..3 * CALM {
        let now = volley(number)?;
        lost += now;
        calm += u16::from(now == 0);
        if calm == CALM {
            break;
        }
    }
    ensure!(
        calm == CALM && lost <= RARE,
        "{lost} packets lost, {calm} of {CALM} volleys without loss"
    );
    Ok(lost)
}

/// Requires every fact of a race that this client lost against the other one.
pub fn race_facts(
    nat: &Nat,
    case: &Case,
    verdict: &Value,
    proto: Proto,
    (loser, port): Sent,
) -> Result<()> {
    let winner = if loser == POD_A_IP {
        POD_B_IP
    } else {
        POD_A_IP
    };
    let clash = Clash {
        proto,
        loser: original(proto, loser, port),
        winner: original(proto, winner, port),
        translated: translated(proto, port),
    };
    let mut check = Check::new(verdict);
    check_facts(&mut check, nat, &clash, &case.rule)?;
    check.mentions("/fixes", &["random"]);
    check.done("verdict")
}

/// Volleys from this source port up until something is lost; what, and the next free port.
pub fn until_lost(nat: &Nat, first: u16) -> Result<(BTreeSet<Sent>, u16)> {
    for volley in 0..VOLLEYS {
        let first = first + volley * PAIRS;
        let lost = volley::two_clients(nat, first)?;
        if !lost.is_empty() {
            return Ok((lost, first + PAIRS));
        }
    }
    bail!("the network is wrong: {VOLLEYS} volleys and nothing was lost")
}

/// The verdict on any of the lost: all may be one case, and which was first nobody knows.
pub fn verdict_on_one(
    tracer: &Tracer,
    proto: Proto,
    lost: &BTreeSet<Sent>,
) -> Result<(Value, Sent)> {
    let which = |line: &Value| {
        let ours = |(_, port): &&Sent| is_packet(packet(line), &translated(proto, *port));
        lost.iter().find(ours).copied()
    };
    let ours = |line: &Value| line["type"] == "verdict" && which(line).is_some();
    if let Some(line) = tracer.wait(SLOW / 3, ours) {
        let sent = which(&line.value).context("which packet was it?")?;
        return Ok((line.value, sent));
    }
    let lines: Vec<Value> = tracer.lines().into_iter().map(|line| line.value).collect();
    let (_, port) = lost.first().context("nothing was lost")?;
    bail!(
        "no verdict for any of {lost:?}\n  {}",
        nearest_miss(&lines, "verdict", &translated(proto, *port))
    )
}

/// Ends the tracer; it must blame as many drops as conntrack refused entries.
pub fn all_blamed(lab: &Lab, nat: &Nat, tracer: Tracer) -> Result<()> {
    let refused = nat.insert_failed()?;
    let finished = lab.finish(tracer)?;
    let blamed = finished.blamed(CAUSE, &nat.node)?;
    ensure!(
        blamed == refused,
        "{blamed} drops blamed, but conntrack refused {refused} entries"
    );
    Ok(())
}
