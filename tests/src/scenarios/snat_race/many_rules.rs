//! Races and a used-up range where the rules cannot be read, or not in time: nothing may be said that only a rule
//! could prove, least of all the advice that is the opposite of the cure.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::case::{FIRST_PORT, until_lost, verdict_on_one};
use super::decoys::{TWO_PORTS, hold_all};
use super::{CAUSE, MASQUERADE};
use crate::expect::{Check, is_packet, packet};
use crate::lab::Lab;
use crate::say;
use crate::scenarios::{Kind, Scenario};
use crate::topology::files;
use crate::topology::nat::{Nat, POD_B_IP, needs};
use crate::tracer::{SLOW, Tracer};
use crate::traffic::nat::Proto;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "snat_natural_many_rules",
        kind: Kind::Scenario,
        about: "ten races behind MASQUERADE, with 5000 unrelated rules loaded",
        run: natural_many_rules,
    },
    Scenario {
        name: "snat_race_unread",
        kind: Kind::Scenario,
        about: "a race behind MASQUERADE, and no program that lists the rules",
        run: race_unread,
    },
    Scenario {
        name: "decoy_nat_exhausted_unread",
        kind: Kind::Decoy,
        about: "two ports, both in use, and no program that lists the rules: nobody can tell it from a race",
        run: exhausted_unread,
    },
];

/// Rules that have nothing to do with the traffic, and take long to read.
const UNRELATED: usize = 5000;
/// How often the race is played, each time with a new tracer.
const ROUNDS: u16 = 10;
/// The programs that rules are read with.
const READERS: [&str; 7] = [
    "nft",
    "iptables-save",
    "iptables-legacy-save",
    "iptables-nft-save",
    "ip6tables-save",
    "ip6tables-legacy-save",
    "ip6tables-nft-save",
];
/// What is the opposite of a race's cure.
const NO_RANDOM: &str = "random ports do not";

fn natural_many_rules(lab: &Lab) -> Result<()> {
    needs("nft")?;
    let nat = Nat::build(&[MASQUERADE])?;
    unrelated(lab, &nat)?;
    let (mut first, mut races) = (FIRST_PORT, 0);
    for number in 1..=ROUNDS {
        let tracer = lab.explain(Some(&nat.node), &[])?;
        let (next, race) =
            round(lab, &nat, tracer, first).with_context(|| format!("round {number}"))?;
        first = next;
        races += u16::from(race);
    }
    say::line(format_args!(
        "  {ROUNDS} rounds: {races} times {CAUSE}, {} times not known, never a used-up range",
        ROUNDS - races
    ));
    Ok(())
}

fn race_unread(lab: &Lab) -> Result<()> {
    let nat = Nat::build(&[MASQUERADE])?;
    let tracer = explain_unread(lab, &nat)?;
    round(lab, &nat, tracer, FIRST_PORT).map(|_| ())
}

/// One race, and what must be said of it; the next free port, and whether the race was named.
fn round(lab: &Lab, nat: &Nat, tracer: Tracer, first: u16) -> Result<(u16, bool)> {
    let before = nat.insert_failed()?;
    let sees_clashes = tracer.attached_probe("clash");
    let (lost, next) = until_lost(nat, first)?;
    let (verdict, _) = verdict_on_one(&tracer, Proto::Udp, &lost)?;
    let race = verdict["cause"] == CAUSE;
    ensure!(
        race || !sees_clashes,
        "the kernel showed the winner, and the race is not named: {verdict}"
    );
    if !race {
        unclear_facts(&verdict)?;
    }
    nothing_used_up(lab, nat, tracer, lost.len() as u64, before, race)?;
    say::line(format_args!(
        "  {} lost, {}, unknown: {}",
        lost.len(),
        verdict["facts"]["kind"],
        verdict["unknown"]
    ));
    Ok((next, race))
}

/// Loads rules that the node's traffic never comes to.
fn unrelated(lab: &Lab, nat: &Nat) -> Result<()> {
    let mut text = String::from("table ip unrelated {\n chain services {\n");
    for n in 0..UNRELATED {
        let (high, low) = (n / 250, n % 250);
        writeln!(
            text,
            "  ip saddr 198.18.{high}.{low} tcp dport {} counter drop comment \"service {n}\"",
            1000 + n
        )?;
    }
    text += " }\n chain forward {\n  type filter hook forward priority 0 ;\n  \
             ip saddr 198.18.0.0/15 jump services\n }\n}\n";
    let path = lab.folder().join("unrelated.nft");
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    nat.node.exec(&format!("nft -f {}", path.display()))?;
    Ok(())
}

/// Ends the tracer: in all that it said, no range is used up, and what it blamed was lost in the race.
fn nothing_used_up(
    lab: &Lab,
    nat: &Nat,
    tracer: Tracer,
    lost: u64,
    before: u64,
    race: bool,
) -> Result<()> {
    let refused = nat.insert_failed()? - before;
    ensure!(
        refused == lost,
        "the network is wrong: {refused} entries refused, {lost} datagrams lost"
    );
    let finished = lab.finish(tracer)?;
    for verdict in finished.verdicts() {
        if verdict["drop"]["netns"]["inum"] != nat.node.inum() {
            continue;
        }
        ensure!(
            verdict["facts"]["kind"] != "exhausted" && !verdict.to_string().contains(NO_RANDOM),
            "a used-up range: {verdict}"
        );
    }
    let blamed = finished.blamed(CAUSE, &nat.node)?;
    ensure!(
        !race || blamed == refused,
        "{blamed} drops blamed, but conntrack refused {refused} entries"
    );
    Ok(())
}

/// What must be said where it is not known which of the two it was.
fn unclear_facts(verdict: &Value) -> Result<()> {
    let mut check = Check::new(verdict);
    check
        .eq("/cause", Value::Null)
        .eq("/facts/kind", "nat_clash")
        .mentions("/summary", &["not known"])
        .mentions("/unknown", &["race"])
        .mentions("/evidence", &["conntrack -L"]);
    check.is("/summary", "no advice for one of them", |summary| {
        !summary.to_string().contains(NO_RANDOM)
    });
    check.done("verdict on what is not known")
}

/// A tracer that finds no program to read rules with.
pub fn explain_unread(lab: &Lab, nat: &Nat) -> Result<Tracer> {
    let mut command = lab.command(Some(&nat.node), &[])?;
    command.args(["--explain", "--record"]).arg(lab.capture());
    files::hide(&mut command, &READERS)?;
    Tracer::start(command, lab.folder())
}

fn exhausted_unread(lab: &Lab) -> Result<()> {
    let nat = Nat::build(&[TWO_PORTS.rule])?;
    let tracer = explain_unread(lab, &nat)?;
    let (server, _held) = hold_all(&nat, &TWO_PORTS)?;
    let late = server.attempt(&nat.pod_b, POD_B_IP, 41_003)?;
    ensure!(late.is_none(), "the network is wrong: it got through");
    let ours = |line: &Value| {
        line["type"] == "verdict"
            && line["drop"]["netns"]["inum"] == nat.node.inum()
            && is_packet(packet(line), &TWO_PORTS.translated())
    };
    let line = tracer.wait(SLOW / 3, ours).context("no verdict")?;
    let verdict = line.value;
    // Where the rules can be read without programs, it is known after all.
    if verdict["facts"]["kind"] != "exhausted" {
        unclear_facts(&verdict)?;
        let mut check = Check::new(&verdict);
        check.mentions("/unknown", &["which rule translated it"]);
        check.done("verdict without rules")?;
    }
    lab.finish(tracer)?.must_not_blame(CAUSE, &nat.node)
}
