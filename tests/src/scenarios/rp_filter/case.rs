//! A case of `rp_filter` and how it is played.
//!
//! The packet is really refused (the kernel's own counter says so), the verdict names the cause with
//! every fact, the primary fix is applied as printed, and then the same traffic arrives, no more is
//! refused, and the summary blames exactly as many drops as the kernel refused.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::CAUSE;
use super::facts::check_facts;
use crate::expect::Check;
use crate::fix;
use crate::lab::{Lab, Skip};
use crate::topology::files::FileSpec;
use crate::topology::seed::{Config, Seed};
use crate::tracer::Tracer;
use crate::traffic::flow::Flow;

/// What applies sysctl.d at boot.
const SYSTEMD_SYSCTL: &str = "/usr/lib/systemd/systemd-sysctl";

/// Which key decides: the greater of `all` and the device's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `all` is greater.
    All,
    /// The device's own is greater.
    Device,
    /// Both are the same.
    Tie,
}

/// A line of a file that must be named in `facts.set_by`.
#[derive(Clone, Copy, Debug)]
pub struct SetBy {
    /// The middle of the key: `net.ipv4.conf.CONF.rp_filter`.
    pub conf: &'static str,
    /// The value.
    pub value: &'static str,
    /// The file.
    pub file: &'static str,
    /// The line, from 1.
    pub line: u32,
    /// How the line reaches the key.
    pub via: &'static str,
}

/// A case and what must be said about it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The node's settings.
    pub config: Config,
    /// The traffic.
    pub flow: Flow,
    /// `facts.kind`.
    pub kind: &'static str,
    /// `facts.path`.
    pub path: &'static str,
    /// Which key decides.
    pub key: Key,
    /// Whether there is a reverse route (by `cilium_host`).
    pub reverse_route: bool,
    /// Files that the tracer sees.
    pub files: &'static [FileSpec],
    /// Lines of them that must be named.
    pub set_by: &'static [SetBy],
    /// The line of the udev rule that will set the value again.
    pub udev: Option<u32>,
    /// Whether the tracer runs outside of the node's namespace.
    pub outside: bool,
}

impl Case {
    /// Strict on the pod's device: the plainest case.
    pub const STRICT: Self = Self {
        config: Config {
            device: 1,
            ..Config::HEALTHY
        },
        flow: Flow::UdpToNode,
        kind: "strict_mismatch",
        path: "local",
        key: Key::Device,
        reverse_route: true,
        files: &[],
        set_by: &[],
        udev: None,
        outside: false,
    };
}

/// Plays a case.
pub fn play(lab: &Lab, case: &Case) -> Result<()> {
    let (seed, tracer, verdict) = until_verdict(lab, case)?;
    let mut check = Check::new(&verdict);
    check_facts(&mut check, &seed, case)?;
    check.done("verdict")?;
    let fix = fix::primary(&verdict)?;
    apply_and_see(fix, &seed, case.flow, &tracer)?;
    let refused = seed.refused()?;
    let finished = lab.finish(tracer)?;
    let blamed = finished.blamed(CAUSE, &seed.node)?;
    ensure!(
        blamed == refused,
        "{blamed} drops blamed, but the kernel refused {refused}"
    );
    Ok(())
}

/// Applies each of the other fixes to a network of its own: all that is printed must help.
pub fn play_alternatives(lab: &Lab, case: &Case) -> Result<()> {
    let mut missing = Vec::new();
    for index in 0.. {
        let (seed, tracer, verdict) = until_verdict(lab, case)?;
        let fixes = verdict["fixes"]
            .as_array()
            .context("a verdict without fixes")?;
        let mut others = fixes
            .iter()
            .filter(|fix| fix["primary"] != true && fix::is_command(fix));
        let Some(fix) = others.nth(index) else {
            ensure!(
                index > 0,
                "no alternative among the fixes: {}",
                verdict["fixes"]
            );
            break;
        };
        if let Some(program) = fix::missing_program(fix) {
            missing.push(program);
            continue;
        }
        apply_and_see(fix, &seed, case.flow, &tracer)?;
        lab.finish_without_replay(tracer)?;
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Skip(format!(
        "all but one kind were tried: no {} here",
        missing.join(", ")
    ))
    .into())
}

/// Writes the file of the fix that brings one, then applies all sysctl.d files as the next boot would.
pub fn play_reboot(lab: &Lab, case: &Case) -> Result<()> {
    if !Path::new(SYSTEMD_SYSCTL).exists() {
        return Err(Skip(format!("no {SYSTEMD_SYSCTL} here")).into());
    }
    let (seed, tracer, verdict) = until_verdict(lab, case)?;
    let fixes = verdict["fixes"]
        .as_array()
        .context("a verdict without fixes")?;
    let mut lasting = fixes.iter().filter(|fix| fix["file"].is_object());
    let fix = lasting
        .next()
        .context("no fix brings a file: it will all come back")?;
    fix::write_file(fix, &tracer)?;
    tracer.run_shell(&format!("{SYSTEMD_SYSCTL} --prefix=/net/ipv4/conf"))?;
    let before = seed.refused()?;
    ensure!(
        case.flow.attempt(&seed)?,
        "it came back with the next boot ({fix})"
    );
    ensure!(
        seed.refused()? == before,
        "refused again after the next boot ({fix})"
    );
    lab.finish_without_replay(tracer)?;
    Ok(())
}

/// Builds the network, loses a packet, waits for the verdict on it.
pub fn until_verdict(lab: &Lab, case: &Case) -> Result<(Seed, Tracer, Value)> {
    let seed = Seed::build(&case.config)?;
    let netns = (!case.outside).then_some(&seed.node);
    let tracer = lab.explain(netns, case.files)?;
    ensure!(
        !case.flow.attempt(&seed)?,
        "the network is wrong: the packet arrived"
    );
    ensure!(
        seed.refused()? > 0,
        "the network is wrong: the kernel refused nothing"
    );
    let verdict = lab.verdict(&tracer, &case.flow.tuple())?;
    Ok((seed, tracer, verdict))
}

/// Applies a fix and requires that the traffic arrives and nothing more is refused.
pub fn apply_and_see(fix: &Value, seed: &Seed, flow: Flow, tracer: &Tracer) -> Result<()> {
    fix::apply(fix, tracer)?;
    let before = seed.refused()?;
    for attempt in 1..=2 {
        let arrived = flow.attempt(seed)?;
        ensure!(
            arrived,
            "the fix does not help: attempt {attempt} was lost ({fix})"
        );
    }
    let more = seed.refused()? - before;
    ensure!(
        more == 0,
        "the fix does not help: {more} more packets refused ({fix})"
    );
    Ok(())
}
