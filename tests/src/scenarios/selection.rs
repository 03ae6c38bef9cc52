//! Options that select: what is asked for is shown, what is not is left out *and counted*.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Kind, Scenario};
use crate::expect::{is_packet, packet};
use crate::lab::Lab;
use crate::topology::seed::{Config, LXC, OUTSIDE, Seed};
use crate::tracer::{Finished, Tracer};
use crate::traffic::flow::Flow;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "select_count",
        kind: Kind::Scenario,
        about: "-c 3 ends after three drops, by itself",
        run: count,
    },
    Scenario {
        name: "select_duration",
        kind: Kind::Scenario,
        about: "--duration 1 ends after a second, by itself",
        run: duration,
    },
    Scenario {
        name: "select_device",
        kind: Kind::Scenario,
        about: "--dev shows that device's drops and counts the others",
        run: |lab| {
            both(
                lab,
                |_| ("--dev", LXC.into()),
                |_| ("--dev", OUTSIDE.into()),
                "filtered",
            )
        },
    },
    Scenario {
        name: "select_netns",
        kind: Kind::Scenario,
        about: "--netns shows that namespace's drops and counts the others",
        run: |lab| {
            let ours = |seed: &Seed| ("--netns", seed.node.name().to_owned());
            let other = |seed: &Seed| ("--netns", seed.world.inum().to_string());
            both(lab, ours, other, "filtered")
        },
    },
    Scenario {
        name: "select_cause",
        kind: Kind::Scenario,
        about: "--cause shows that cause's drops and counts the others",
        run: |lab| {
            let ours = |_: &Seed| ("--cause", "rp_filter".to_owned());
            both(lab, ours, |_| ("--cause", "none".to_owned()), "deselected")
        },
    },
];

const STRICT: Config = Config {
    device: 1,
    ..Config::HEALTHY
};
const FLOW: Flow = Flow::UdpToNode;

fn start(lab: &Lab, seed: &Seed, arguments: &[&str]) -> Result<Tracer> {
    let mut command = lab.command(Some(&seed.node), &[])?;
    command.args(arguments);
    Tracer::start(command, lab.folder())
}

fn lose(seed: &Seed, times: usize) -> Result<()> {
    for _ in 0..times {
        ensure!(
            !FLOW.attempt(seed)?,
            "the network is wrong: the packet arrived"
        );
    }
    Ok(())
}

fn ours(line: &Value) -> bool {
    is_packet(packet(line), &FLOW.tuple())
}

fn ended_well(finished: &Finished) -> Result<()> {
    ensure!(
        finished.status.success(),
        "dropwatch ended with {}",
        finished.status
    );
    ensure!(
        finished.summary()?["ledger"]["balanced"] == true,
        "a ledger that does not add up"
    );
    Ok(())
}

fn count(lab: &Lab) -> Result<()> {
    let seed = Seed::build(&STRICT)?;
    // Of this device only: the machine's other drops must not use the count up.
    let mut tracer = start(lab, &seed, &["-c", "3", "--dev", LXC])?;
    lose(&seed, 5)?;
    let finished = tracer.end()?;
    ended_well(&finished)?;
    let drops = finished
        .lines
        .iter()
        .filter(|line| line["type"] == "drop")
        .count();
    ensure!(drops == 3, "{drops} drop lines, not 3");
    Ok(())
}

fn duration(lab: &Lab) -> Result<()> {
    let seed = Seed::build(&STRICT)?;
    let begun = Instant::now();
    let mut tracer = start(lab, &seed, &["--duration", "1"])?;
    lose(&seed, 1)?;
    let finished = tracer.end()?;
    ended_well(&finished)?;
    ensure!(
        finished.lines.iter().any(ours),
        "our drop is not among the lines"
    );
    let taken = begun.elapsed();
    ensure!(taken >= Duration::from_secs(1), "it ended after {taken:?}");
    Ok(())
}

/// Selected, the drop must be told of; with another selection it must not, but be counted.
fn both(
    lab: &Lab,
    own: fn(&Seed) -> (&'static str, String),
    other: fn(&Seed) -> (&'static str, String),
    counter: &str,
) -> Result<()> {
    let seed = Seed::build(&STRICT)?;
    for (selection, wanted) in [(own, true), (other, false)] {
        let (option, value) = selection(&seed);
        let tracer = start(lab, &seed, &["--explain", option, &value])?;
        lose(&seed, 2)?;
        let finished = lab.finish_without_replay(tracer)?;
        let told = finished.lines.iter().any(ours);
        ensure!(
            told == wanted,
            "with {option} {value} our drop is told of: {told}"
        );
        let counted = &finished.summary()?["ledger"][counter];
        let counted = counted
            .as_u64()
            .with_context(|| format!("ledger without {counter}"))?;
        ensure!(
            wanted || counted >= 2,
            "with {option} {value} only {counted} are {counter}"
        );
    }
    Ok(())
}
