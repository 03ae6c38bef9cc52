//! A case of `nfqueue_mark` and how it is played.
//!
//! The packets really do not arrive, and the rule's own counter says how many it dropped; the
//! verdict names the cause with every fact; the primary fix is applied as printed, and then the same
//! traffic arrives; and the summary blames exactly as many drops as the rule counted.
//!
//! Where the running kernel cannot show what is queued, the cause must not be named; the
//! explanation must say that it could not be judged, and still that a queue program had the packet.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::cases::{Place, QUEUE_BY_NFT};
use super::facts::check_facts;
use super::{CAUSE, COMM, QUEUE};
use crate::expect::{Check, is_packet, nearest_miss, packet};
use crate::fix;
use crate::helper::queue::{Inspector, Program, Seen};
use crate::lab::{Lab, Skip};
use crate::scenarios::rules::{WantedNetfilter, WantedRule};
use crate::topology::queue::Inspected;
use crate::tracer::{SLOW, Tracer};
use crate::traffic::flow::Tuple;
use crate::traffic::queue::Traffic;

/// How long the last of what was sent may take to reach the rule.
pub const SETTLE: Duration = Duration::from_secs(5);

/// A case and what must be said about it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The node's rules.
    pub rules: &'static [&'static str],
    /// The queue program.
    pub program: Program,
    /// What is sent.
    pub traffic: Traffic,
    /// The hook of the queue.
    pub hook: &'static str,
    /// `ip` or `ip6`.
    pub family: &'static str,
    /// The mark with which packets are queued.
    pub queued: u32,
    /// The mark with which they come back, and die.
    pub reinjected: u32,
    /// The rule that drops.
    pub rule: WantedRule,
    /// The bits of the mark that decide on the drop; all of them are set.
    pub mask: u32,
    /// The jumps that lead to it, and what the text of each must contain.
    pub path: &'static [&'static [&'static str]],
    /// The rule that queues.
    pub queue_rule: WantedRule,
    /// The bits that rules of this network look at or set.
    pub used_mask: u32,
    /// Where the packet is freed.
    pub place: Place,
    /// Lists the rule that drops, with its counter, as the last with `DROP` or `drop`.
    pub drop_list: &'static str,
    /// The hook of the rule that drops.
    pub drop_hook: &'static str,
    /// Looks at what the program was given.
    pub look: fn(&Inspected, &[Seen]) -> Result<()>,
}

impl Case {
    /// How many packets the rule that drops has counted.
    pub fn dropped(&self, net: &Inspected) -> Result<u64> {
        let word = if self.rule.backend == "nft" {
            "drop"
        } else {
            "DROP"
        };
        net.counted(self.drop_list, word)
    }

    /// The network with its rules.
    pub fn build(&self) -> Result<Inspected> {
        let net = Inspected::build(&[])?;
        if self.traffic == Traffic::Connect6 {
            net.enable_ipv6()?;
        }
        for rule in self.rules {
            if let Err(error) = net.on_node(rule) {
                if *rule == QUEUE_BY_NFT && error.downcast_ref::<Skip>().is_none() {
                    let why = format!("this kernel has no queue statement for nft: {error:#}");
                    return Err(Skip(why).into());
                }
                return Err(error);
            }
        }
        Ok(net)
    }
}

/// Plays a case.
pub fn play(lab: &Lab, case: &Case) -> Result<()> {
    let net = case.build()?;
    let program = Inspector::start(&net.node, COMM, QUEUE, &case.program)?;
    let tracer = lab.explain(Some(&net.node), &[])?;
    let seen = lose(case, &net, &program)?;
    (case.look)(&net, &seen)?;
    let verdict = verdict_at(&net, &tracer, &case.traffic.tuple(), case.place)?;
    if !tracer.judges(CAUSE)? {
        check_unseen(case, &verdict)?;
        return nobody_blamed(lab, &net, tracer);
    }
    let mut check = Check::new(&verdict);
    check_facts(&mut check, case, net.node.inum(), program.pid());
    check.done("verdict")?;

    let fix = fix::primary(&verdict)?;
    fix::apply(fix, &tracer)?;
    let before = case.dropped(&net)?;
    ensure!(case.traffic.attempt(&net)?, "the fix does not help ({fix})");
    let after = case.dropped(&net)?;
    ensure!(
        after == before,
        "the fix does not help: the rule dropped {} more ({fix})",
        after - before
    );
    all_blamed(lab, case, &net, tracer)
}

/// Sends what must be lost, and waits until the rule has dropped it; what the program was given.
pub fn lose(case: &Case, net: &Inspected, program: &Inspector) -> Result<Vec<Seen>> {
    ensure!(
        !case.traffic.attempt(net)?,
        "the network is wrong: it arrived"
    );
    let seen = program.wait(1, SETTLE).context("the network is wrong")?;
    let deadline = Instant::now() + SETTLE;
    while case.dropped(net)? == 0 {
        ensure!(
            Instant::now() < deadline,
            "the network is wrong: the rule dropped nothing"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let dropped = case.dropped(net)?;
    ensure!(
        case.traffic == Traffic::Bulk || dropped == 1,
        "the network is wrong: the rule dropped {dropped} of one packet"
    );
    Ok(seen)
}

/// For [`Case::look`]: the program was given more packets than were queued, none of them large.
pub fn segments(net: &Inspected, seen: &[Seen]) -> Result<()> {
    let queued = net.counted("iptables-legacy -w -t mangle -v -S INPUT", "NFQUEUE")?;
    ensure!(
        seen.len() as u64 > queued && seen.iter().all(|packet| !packet.whole),
        "the network is wrong: nothing was segmented: {queued} queued, {seen:?}"
    );
    Ok(())
}

/// For [`Case::look`]: the program was given a packet that is larger than a link carries.
pub fn whole(_: &Inspected, seen: &[Seen]) -> Result<()> {
    ensure!(
        seen.iter()
            .any(|packet| packet.whole && packet.length > 1500),
        "the network is wrong: no large packet: {seen:?}"
    );
    Ok(())
}

/// Waits for the verdict on a packet with this tuple that the node freed there;
/// the kernel may free copies of the same packet elsewhere.
pub fn verdict_at(net: &Inspected, tracer: &Tracer, tuple: &Tuple, place: Place) -> Result<Value> {
    let functions = place.functions();
    let ours = |line: &Value| {
        let found = &line["drop"]["location"]["symbol"];
        line["type"] == "verdict"
            && line["drop"]["netns"]["inum"] == net.node.inum()
            && is_packet(packet(line), tuple)
            && functions.iter().any(|wanted| found == wanted)
    };
    if let Some(line) = tracer.wait(SLOW / 3, ours) {
        return Ok(line.value);
    }
    let lines: Vec<Value> = tracer.lines().into_iter().map(|line| line.value).collect();
    bail!(
        "no verdict for {tuple:?}, freed in {}\n  {}",
        functions.join(" or "),
        nearest_miss(&lines, "verdict", tuple)
    )
}

/// What must be said where nobody can see packets being queued.
fn check_unseen(case: &Case, verdict: &Value) -> Result<()> {
    let mut check = Check::new(verdict);
    check
        .eq("/cause", Value::Null)
        .eq("/facts/kind", Value::Null)
        .eq("/drop/mark", case.reinjected);
    check.has("/blind", &format!("{CAUSE}: why"), |blind| {
        let blind = blind.as_str().and_then(|text| text.split_once(": "));
        blind.is_some_and(|(cause, why)| cause == CAUSE && !why.is_empty())
    });
    check.is(
        "",
        "a word of the queue in summary or evidence",
        |verdict| {
            let told = [&verdict["summary"], &verdict["evidence"]];
            told.iter()
                .any(|told| told.to_string().to_lowercase().contains("queue"))
        },
    );
    let netfilter = WantedNetfilter {
        family: case.family,
        hook: case.drop_hook,
        rules: &[case.rule],
    };
    netfilter.check_unseen(&mut check);
    check.done("verdict without a sight of the queue")
}

/// Ends the tracer; it must blame as many drops as the rule counted.
pub fn all_blamed(lab: &Lab, case: &Case, net: &Inspected, tracer: Tracer) -> Result<()> {
    let finished = lab.finish(tracer)?;
    let blamed = finished.blamed(CAUSE, &net.node)?;
    let dropped = case.dropped(net)?;
    ensure!(
        blamed == dropped,
        "{blamed} drops blamed, but the rule dropped {dropped}"
    );
    Ok(())
}

/// Ends the tracer; it must have blamed nobody.
pub fn nobody_blamed(lab: &Lab, net: &Inspected, tracer: Tracer) -> Result<()> {
    lab.finish(tracer)?.must_not_blame(CAUSE, &net.node)
}
