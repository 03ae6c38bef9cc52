//! Every fact that an `nfqueue_mark` verdict must show.

use clap::ValueEnum as _;
use serde_json::Value;

use super::case::Case;
use super::{CAUSE, COMM, QUEUE};
use crate::expect::{Check, packet_differences};

/// How much longer than it means to a program may hold a packet: an emulated VM is slow.
const SLACK_MS: f64 = 5000.0;

/// Every fact that `docs/events.md` lists for this cause.
///
/// `netns` is the node's inode number, `pid` the queue program's process.
pub fn check_facts(check: &mut Check<'_>, case: &Case, netns: u64, pid: u32) {
    check.eq("/cause", CAUSE);
    for pointer in ["/title", "/summary"] {
        check.is(pointer, "a text", |text| {
            text.as_str().is_some_and(|text| !text.is_empty())
        });
    }
    let changed = case.queued ^ case.reinjected;
    let number = QUEUE.to_string();
    for word in [COMM, number.as_str(), case.rule.chain] {
        check.mentions("/summary", &[word]);
    }
    for word in [COMM, number.as_str(), &format!("{:#x}", case.reinjected)] {
        check.mentions("/evidence", &[word]);
    }

    let tuple = case.traffic.tuple();
    check.is("/drop/packet", &format!("{tuple:?}"), |found| {
        packet_differences(found, &tuple).is_empty()
    });
    check
        .eq("/drop/netns/inum", netns)
        .eq("/drop/mark", case.reinjected);

    check
        .eq("/facts/kind", "mark_set_by_queue")
        .eq("/facts/queue", QUEUE)
        .eq("/facts/hook", case.hook)
        .eq("/facts/family", case.family)
        .eq("/facts/mark/queued", case.queued)
        .eq("/facts/mark/reinjected", case.reinjected)
        .eq("/facts/mark/at_drop", case.reinjected)
        .eq("/facts/mark/changed", changed);
    let answer = case.program.answer.to_possible_value();
    check.eq(
        "/facts/verdict",
        answer.as_ref().map(|answer| answer.get_name()),
    );
    check
        .eq("/facts/holder/pid", pid)
        .eq("/facts/holder/comm", COMM)
        .eq("/facts/holder/from", "kernel");
    let meant = case.program.delay_ms as f64;
    check.is(
        "/facts/held_ms",
        &format!("{meant} ms or little more"),
        |held| {
            held.as_f64()
                .is_some_and(|held| held > 0.0 && held >= meant && held < meant + SLACK_MS)
        },
    );
    check_rules(check, case);
    check_advice(check, case);
}

fn check_rules(check: &mut Check<'_>, case: &Case) {
    case.rule.check(check, "/facts/rule");
    check
        .eq("/facts/rule/value", case.mask)
        .eq("/facts/rule/mask", case.mask);
    let path = check.at("/facts/rule/path").as_array().map(Vec::len);
    let steps = format!("{} jumps", case.path.len());
    check.is("/facts/rule/path", &steps, |_| {
        path == Some(case.path.len())
    });
    for (step, words) in case.path.iter().enumerate() {
        for word in *words {
            check.mentions(&format!("/facts/rule/path/{step}"), &[word]);
        }
    }
    case.queue_rule.check(check, "/facts/queue_rule");
}

fn check_advice(check: &mut Check<'_>, case: &Case) {
    check.eq("/facts/used_mask", case.used_mask);
    check.is(
        "/facts/free_mask",
        &format!("bits beside {:#x}", case.used_mask),
        |free| {
            free.as_u64()
                .and_then(|free| u32::try_from(free).ok())
                .is_some_and(|free| free != 0 && free & case.used_mask == 0)
        },
    );
    let free = check.at("/facts/free_mask").as_u64().unwrap_or(0);
    let free = format!("{free:#x}");
    check.has("/fixes", &format!("advice to use {free}"), |fix| {
        fix["primary"] == false && fix.to_string().contains(&free)
    });
    // The network may have other chains: what is cleared must be these bits and no others.
    let mask = format!("{:x}", case.mask);
    let kept = format!("{:x}", !case.mask);
    check.has("/fixes", "commands that clear the bits", |fix| {
        let commands = fix["commands"].to_string().to_lowercase();
        fix["primary"] == true && (commands.contains(&mask) || commands.contains(&kept))
    });
    check.is("/unknown", "a list", Value::is_array);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cases::SEED;
    use super::*;

    /// What is to be said of the incident.
    fn verdict() -> Value {
        json!({
            "cause": "nfqueue_mark",
            "title": "inspector set a mark that KUBE-FIREWALL drops",
            "summary": "The verdict of inspector for queue 80 set 0x8000, which KUBE-FIREWALL drops.",
            "drop": {
                "netns": {"inum": 7, "name": "node"},
                "mark": 32768,
                "packet": {"l3": 4, "proto": "TCP", "src": "10.0.0.113", "dst": "10.0.0.253",
                    "sport": 40000, "dport": 80},
            },
            "facts": {
                "kind": "mark_set_by_queue",
                "queue": 80,
                "hook": "input",
                "family": "ip",
                "mark": {"queued": 0, "reinjected": 32768, "at_drop": 32768, "changed": 32768},
                "verdict": "accept",
                "holder": {"pid": 123, "comm": "inspector", "from": "kernel"},
                "held_ms": 0.4,
                "rule": {
                    "backend": "iptables-legacy",
                    "table": "filter",
                    "chain": "KUBE-FIREWALL",
                    "text": "-A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP",
                    "handle": null,
                    "value": 32768,
                    "mask": 32768,
                    "path": ["-A INPUT -p tcp -m tcp --dport 80 -j KUBE-FIREWALL"],
                },
                "queue_rule": {
                    "backend": "iptables-legacy",
                    "table": "mangle",
                    "chain": "INPUT",
                    "text": "-A INPUT -p tcp -m tcp --dport 80 -j NFQUEUE --queue-num 80",
                    "handle": null,
                },
                "used_mask": 32768,
                "free_mask": 1,
            },
            "evidence": [{"label": "mark", "source": "kernel",
                "text": "0x0 when queued (80), 0x8000 from inspector[123]"}],
            "fixes": [
                {"title": "Clear the bits", "commands": ["iptables-legacy -I INPUT -j MARK \
                    --set-xmark 0x0/0x8000"], "file": null, "cost": "", "primary": true},
                {"title": "Let inspector use the mask 0x1", "commands": [], "file": null,
                    "cost": "", "primary": false},
            ],
            "unknown": [],
        })
    }

    fn checked(verdict: &Value) -> anyhow::Result<()> {
        let mut check = Check::new(verdict);
        check_facts(&mut check, &SEED, 7, 123);
        check.done("verdict")
    }

    #[test]
    fn what_is_documented_is_accepted() {
        checked(&verdict()).expect("the documented facts");
    }

    #[test]
    fn every_fact_counts() {
        for (pointer, wrong) in [
            ("/cause", Value::Null),
            ("/drop/mark", json!(0)),
            ("/facts/queue", json!(81)),
            ("/facts/hook", json!("forward")),
            ("/facts/mark/queued", Value::Null),
            ("/facts/mark/changed", json!(1)),
            ("/facts/verdict", json!("repeat")),
            ("/facts/holder/pid", json!(1)),
            ("/facts/held_ms", Value::Null),
            ("/facts/rule/chain", json!("INPUT")),
            ("/facts/rule/mask", json!(u32::MAX)),
            ("/facts/rule/path", json!([])),
            ("/facts/queue_rule", Value::Null),
            ("/facts/used_mask", json!(0)),
            ("/facts/free_mask", json!(0x8000)),
            ("/fixes/1/title", json!("Use another mask")),
        ] {
            let mut verdict = verdict();
            *verdict.pointer_mut(pointer).expect("a field") = wrong;
            assert!(checked(&verdict).is_err(), "{pointer}");
        }
    }
}
