//! What needs more than one connection: entries older than the setting, both real servers, a filter
//! that hides the client, IPVS that is loaded while the tracer runs.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::case::{Case, PORT, Seat, all_counted, linked_drops, play_with, wrong_reply};
use super::facts::{Wrong, check_facts, check_fixes, known};
use super::{CAUSE, HOOK, INCIDENT};
use crate::expect::Check;
use crate::lab::Lab;
use crate::scenarios::{Kind, Scenario};
use crate::topology::ipvs;
use crate::tracer::Tracer;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "ipvs_older_entry",
        kind: Kind::Scenario,
        about: "vs.conntrack is 1, but IPVS's entry for the same client port is older",
        run: older_entry,
    },
    Scenario {
        name: "ipvs_two_servers",
        kind: Kind::Scenario,
        about: "replies of both real servers are one case with two connections",
        run: two_servers,
    },
    Scenario {
        name: "ipvs_client_drop",
        kind: Kind::Scenario,
        about: "all namespaces traced: the client's drop is linked, not judged by itself",
        run: client_drop,
    },
    Scenario {
        name: "ipvs_netns_filter",
        kind: Kind::Scenario,
        about: "--netns of the director: the cause is named without the client's drop",
        run: netns_filter,
    },
    Scenario {
        name: "ipvs_loaded_late",
        kind: Kind::Scenario,
        about: "IPVS is loaded while the tracer runs: the hook follows, the cause is named",
        run: loaded_late,
    },
    Scenario {
        name: "ipvs_unloaded",
        kind: Kind::Scenario,
        about: "hooked by kprobes, IPVS is unloaded and loaded again: the hook follows",
        run: unloaded,
    },
];

/// How soon the tracer must notice that IPVS was loaded.
const NOTICED: Duration = Duration::from_secs(5);

const FROM_HOST: Case = Case {
    seat: Seat::Host,
    ..INCIDENT
};

fn older_entry(lab: &Lab) -> Result<()> {
    let case = &INCIDENT;
    let (ipvs, servers) = case.build()?;
    case.fail(&ipvs, &servers, PORT)?;
    // Somebody has read of the setting, sets it, and finds that it does not help.
    ipvs.set_conntrack(true)?;
    let tracer = case.trace(lab, &ipvs)?;
    let wrong = case.fail(&ipvs, &servers, PORT)?;
    let verdict = wrong_reply(&tracer, PORT)?;
    let mut check = Check::new(&verdict);
    let wrong = Wrong {
        older: true,
        connection: known(&ipvs, PORT)?, // not before the verdict: time goes by
        ..wrong
    };
    check_facts(&mut check, case, &wrong);
    check
        .mentions("", &["older", "before", "earlier"])
        .mentions("", &["expire", "forget", "forgotten"])
        .is("/fixes", "no advice to set what is set", |fixes| {
            !fixes.to_string().contains("conntrack=1")
        });
    check.done("verdict")?;
    let helped = case.succeed(&ipvs, &servers, PORT + 1);
    helped.context("a new connection with vs.conntrack = 1")?;
    all_counted(&lab.finish(tracer)?, &ipvs, 1)
}

fn two_servers(lab: &Lab) -> Result<()> {
    let case = &INCIDENT;
    let (ipvs, servers) = case.build()?;
    let tracer = case.trace(lab, &ipvs)?;
    let first = case.fail(&ipvs, &servers, PORT)?;
    let second = case.fail(&ipvs, &servers, PORT + 1)?;
    ensure!(
        first.connection.server != second.connection.server,
        "the network is wrong: both connections went to {:?}",
        first.connection.server
    );
    let verdict = wrong_reply(&tracer, PORT)?;
    let mut check = Check::new(&verdict);
    check_facts(&mut check, case, &first);
    check.done("verdict")?;
    all_counted(&lab.finish(tracer)?, &ipvs, 2)
}

fn client_drop(lab: &Lab) -> Result<()> {
    let case = &FROM_HOST;
    let (ipvs, servers) = case.build()?;
    let tracer = case.trace(lab, &ipvs)?;
    let wrong = case.fail(&ipvs, &servers, PORT)?;
    let verdict = wrong_reply(&tracer, PORT)?;
    // After the verdict was told as well: those only count.
    for port in PORT + 1..PORT + 4 {
        case.fail(&ipvs, &servers, port)?;
    }
    let mut check = Check::new(&verdict);
    check_facts(&mut check, case, &wrong);
    check.done("verdict")?;
    all_counted(&lab.finish(tracer)?, &ipvs, 4)
}

fn netns_filter(lab: &Lab) -> Result<()> {
    let case = &FROM_HOST;
    let (ipvs, servers) = case.build()?;
    let mut command = lab.command(None, &[])?;
    command.args(["--explain", "--netns", ipvs.director.name()]);
    let tracer = Tracer::start(command, lab.folder())?;
    let wrong = Wrong {
        client_seen: false,
        ..case.fail(&ipvs, &servers, PORT)?
    };
    let verdict = wrong_reply(&tracer, PORT)?;
    let mut check = Check::new(&verdict);
    check_facts(&mut check, case, &wrong);
    check_fixes(&mut check, ipvs.director.name(), case.seat);
    check.done("verdict")?;
    let finished = lab.finish_without_replay(tracer)?;
    let blamed = finished.blamed(CAUSE, &ipvs.director)?;
    ensure!(blamed == 1, "{blamed} connections blamed, not 1");
    let linked = linked_drops(&finished, &ipvs)?;
    ensure!(
        linked == 0,
        "{linked} drops are linked, but the client's namespace is not traced"
    );
    Ok(())
}

/// Waits for the news that the hook is attached, or is not any more.
fn noticed(tracer: &Tracer, times: usize, attached: bool) -> Result<()> {
    let news = |line: &Value| {
        line["type"] == "hook" && line["probe"] == "ipvs_xmit" && line["attached"] == attached
    };
    tracer
        .wait_for(NOTICED, times, news)
        .with_context(|| format!("no line with attached = {attached} within {NOTICED:?}"))?;
    Ok(())
}

fn unloaded(lab: &Lab) -> Result<()> {
    ipvs::load()?;
    ipvs::unload()?;
    let lab = lab.forced("ipvs_xmit=kprobe,ipvs_xmit6=kprobe,ipvs_response=kprobe");
    let tracer = lab.explain(None, &[])?;
    for times in 1..3 {
        ipvs::load()?;
        noticed(&tracer, times, true)?;
        // With the tracer running: kprobes hold no module.
        ipvs::unload()?;
        noticed(&tracer, times, false)?;
    }
    ipvs::load()?;
    noticed(&tracer, 3, true)?;
    let (ipvs, servers) = FROM_HOST.build()?;
    play_with(&lab, &FROM_HOST, &ipvs, &servers, tracer)
}

fn loaded_late(lab: &Lab) -> Result<()> {
    // A kernel that has it at all, and is not using it.
    ipvs::load()?;
    ipvs::unload()?;
    let tracer = lab.explain(None, &[])?;
    ensure!(
        !tracer.attached(HOOK),
        "the hook is attached although there is nothing to attach it to"
    );
    ipvs::load()?;
    let attached = tracer.wait(NOTICED, |line| {
        line["type"] == "hook" && line["hook"] == HOOK && line["attached"] == true
    });
    attached.with_context(|| format!("no line of an attached hook within {NOTICED:?}"))?;
    let (ipvs, servers) = FROM_HOST.build()?;
    play_with(lab, &FROM_HOST, &ipvs, &servers, tracer)
}
