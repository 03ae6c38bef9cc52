//! Decoys of `nfqueue_mark`: packets lost near a queue or by the firewall's mark, for another reason.
//!
//! The rule's own counter, or the queue's, proves that the packet died where the decoy says.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::case::{SETTLE, nobody_blamed, verdict_at};
use super::cases::{
    FIREWALL, FIREWALL_DROP, FIREWALL_LIST, FIREWALL_WEB, LEGACY_DROP, Place, QUEUE_WEB,
};
use super::{CAUSE, COMM, MARK, QUEUE};
use crate::expect::Check;
use crate::helper::queue::{Answer, Inspector, Mark, Program};
use crate::lab::Lab;
use crate::scenarios::rules::{WantedNetfilter, WantedRule};
use crate::scenarios::{Kind, Scenario};
use crate::topology::queue::Inspected;
use crate::traffic::queue::Traffic;

/// A decoy.
#[derive(Clone, Copy, Debug)]
struct Decoy {
    /// The node's rules.
    rules: &'static [&'static str],
    /// The queue program, if one runs.
    program: Option<Program>,
    /// What is sent.
    traffic: Traffic,
    /// The functions in which the packet may be freed.
    place: Place,
    /// Who drops.
    by: By,
}

/// Who drops the packet of a decoy.
#[derive(Clone, Copy, Debug)]
enum By {
    /// A rule: the one to be named, and what lists it with its counter.
    Rule(WantedRule, &'static str),
    /// The queue: `facts.kind`, and words of which the summary must have at least one.
    Queue(&'static str, &'static [&'static str]),
}

/// A packet gets its mark before it is queued.
const MARK_BEFORE: &str = "iptables-legacy -w -t mangle -A PREROUTING -p tcp --dport 80 \
    -j MARK --set-xmark 0x8000/0x8000";

/// The program has the packet, and the rule drops it: but not for what the program said.
const RULE: Decoy = Decoy {
    rules: &[QUEUE_WEB, FIREWALL, FIREWALL_DROP, FIREWALL_WEB],
    program: None,
    traffic: Traffic::Connect,
    place: Place::SameHook,
    by: By::Rule(LEGACY_DROP, FIREWALL_LIST),
};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "decoy_mark_rule",
        kind: Kind::Decoy,
        about: "a MARK rule sets what KUBE-FIREWALL drops; there is no queue",
        run: |lab| {
            let decoy = Decoy {
                rules: &[MARK_BEFORE, FIREWALL, FIREWALL_DROP, FIREWALL_WEB],
                place: Place::LaterHook,
                ..RULE
            };
            play(lab, &decoy)
        },
    },
    Scenario {
        name: "decoy_mark_before_queue",
        kind: Kind::Decoy,
        about: "a MARK rule sets it before the queue; the program says nothing about marks",
        run: |lab| marked_before(lab, Mark::Keep),
    },
    Scenario {
        name: "decoy_mark_confirmed",
        kind: Kind::Decoy,
        about: "a MARK rule sets it before the queue; the program sets the same mark again",
        run: |lab| marked_before(lab, Mark::Set(MARK)),
    },
    Scenario {
        name: "decoy_mark_after_queue",
        kind: Kind::Decoy,
        about: "the program sets another bit; a rule after it sets what KUBE-FIREWALL drops",
        run: mark_after_queue,
    },
    Scenario {
        name: "decoy_queue_other_rule",
        kind: Kind::Decoy,
        about: "the program sets another bit; a rule drops that looks at the port only",
        run: other_rule,
    },
    Scenario {
        name: "decoy_queue_drop",
        kind: Kind::Decoy,
        about: "the program's verdict is to drop",
        run: |lab| dropped(lab, Mark::Keep),
    },
    Scenario {
        name: "decoy_queue_drop_marked",
        kind: Kind::Decoy,
        about: "the program's verdict is to drop, and it sets what KUBE-FIREWALL would drop",
        run: |lab| dropped(lab, Mark::Set(MARK)),
    },
    Scenario {
        name: "decoy_queue_no_listener",
        kind: Kind::Decoy,
        about: "a rule queues, but no program has bound the queue",
        run: no_listener,
    },
    Scenario {
        name: "decoy_queue_next_no_listener",
        kind: Kind::Decoy,
        about: "the program sets the mark and accepts; the next queue has no program",
        run: next_no_listener,
    },
    Scenario {
        name: "decoy_queue_full",
        kind: Kind::Decoy,
        about: "a program that never answers, and room for one packet",
        run: full,
    },
];

fn marked_before(lab: &Lab, mark: Mark) -> Result<()> {
    let decoy = Decoy {
        rules: &[
            MARK_BEFORE,
            QUEUE_WEB,
            FIREWALL,
            FIREWALL_DROP,
            FIREWALL_WEB,
        ],
        program: Some(Program::accept(mark)),
        ..RULE
    };
    play(lab, &decoy)
}

fn mark_after_queue(lab: &Lab) -> Result<()> {
    let decoy = Decoy {
        rules: &[
            QUEUE_WEB,
            "nft add table ip late",
            "nft add chain ip late input '{ type filter hook input priority -10 ; }'",
            "nft add rule ip late input meta mark set 'meta mark | 0x8000'",
            FIREWALL,
            FIREWALL_DROP,
            FIREWALL_WEB,
        ],
        program: Some(Program::accept(Mark::Set(0x10))),
        ..RULE
    };
    play(lab, &decoy)
}

fn other_rule(lab: &Lab) -> Result<()> {
    let rule = WantedRule {
        chain: "INPUT",
        words: &["-A INPUT", "--dport 5353", "DROP"],
        ..LEGACY_DROP
    };
    let decoy = Decoy {
        rules: &[
            "iptables-legacy -w -t mangle -A INPUT -p udp -j NFQUEUE --queue-num 80",
            FIREWALL,
            FIREWALL_DROP,
            "iptables-legacy -w -A INPUT -j KUBE-FIREWALL",
            "iptables-legacy -w -A INPUT -p udp --dport 5353 -j DROP",
        ],
        program: Some(Program::accept(Mark::Set(0x10))),
        traffic: Traffic::Datagram,
        by: By::Rule(rule, "iptables-legacy -w -v -S INPUT"),
        ..RULE
    };
    play(lab, &decoy)
}

fn dropped(lab: &Lab, mark: Mark) -> Result<()> {
    let program = Program {
        answer: Answer::Drop,
        ..Program::accept(mark)
    };
    let words = &["verdict", "program", COMM];
    let decoy = Decoy {
        program: Some(program),
        by: By::Queue("queue_drop", words),
        ..RULE
    };
    play(lab, &decoy)
}

/// Nobody takes what the rule queues.
pub fn no_listener(lab: &Lab) -> Result<()> {
    let words = &["listen", "no program", "nobody", "bound"];
    let decoy = Decoy {
        place: Place::NotQueued,
        by: By::Queue("queue_no_listener", words),
        ..RULE
    };
    play(lab, &decoy)
}

fn next_no_listener(lab: &Lab) -> Result<()> {
    let decoy = Decoy {
        rules: &[
            QUEUE_WEB,
            FIREWALL,
            FIREWALL_DROP,
            "iptables-legacy -w -A INPUT -p tcp --dport 80 -j NFQUEUE --queue-num 81",
            FIREWALL_WEB,
        ],
        program: Some(Program::accept(Mark::Set(MARK))),
        place: Place::NotQueued,
        by: By::Queue("queue_no_listener", &["queue 81"]),
        ..RULE
    };
    play(lab, &decoy)
}

fn full(lab: &Lab) -> Result<()> {
    let net = Inspected::build(&[
        "iptables-legacy -w -t mangle -A INPUT -p tcp --dport 80 -j NFQUEUE --queue-num 80",
        "iptables-legacy -w -t mangle -A INPUT -p udp -j NFQUEUE --queue-num 80",
    ])?;
    let program = Program {
        answer: Answer::Hold,
        max_len: Some(1),
        ..Program::accept(Mark::Keep)
    };
    let program = Inspector::start(&net.node, COMM, QUEUE, &program)?;
    let tracer = lab.explain(Some(&net.node), &[])?;
    lost(&net, Traffic::Connect)?;
    program.wait(1, SETTLE).context("the network is wrong")?;
    lost(&net, Traffic::Datagram)?;
    let queue = net.on_node("cat /proc/net/netfilter/nfnetlink_queue")?;
    // Its number, the socket's, packets that wait, copy mode, copy range, packets dropped.
    let counts: Vec<&str> = queue.split_whitespace().collect();
    ensure!(
        counts.get(2) == Some(&"1") && counts.get(5) == Some(&"1"),
        "the network is wrong: the queue is not full: {queue}"
    );
    let verdict = verdict_at(&net, &tracer, &Traffic::Datagram.tuple(), Place::NotQueued)?;
    let judged = tracer.judges(CAUSE)?;
    check_queue(&verdict, judged, "queue_full", &["full"])?;
    // Before the program ends: then the kernel drops what it holds.
    nobody_blamed(lab, &net, tracer)
}

fn play(lab: &Lab, decoy: &Decoy) -> Result<()> {
    let net = Inspected::build(decoy.rules)?;
    let program = decoy.program.as_ref();
    let program = program.map(|program| Inspector::start(&net.node, COMM, QUEUE, program));
    let program = program.transpose()?;
    let tracer = lab.explain(Some(&net.node), &[])?;
    lost(&net, decoy.traffic)?;
    if let Some(program) = &program {
        program.wait(1, SETTLE).context("the network is wrong")?;
    }
    let (list, wanted) = match decoy.by {
        By::Rule(_, list) => (list, 1),
        By::Queue(..) => (FIREWALL_LIST, 0),
    };
    let counted = net.counted(list, "DROP")?;
    ensure!(
        counted == wanted,
        "the network is wrong: the rule dropped {counted}, not {wanted}"
    );
    let verdict = verdict_at(&net, &tracer, &decoy.traffic.tuple(), decoy.place)?;
    let judged = tracer.judges(CAUSE)?;
    match decoy.by {
        By::Rule(rule, _) => {
            // Only a packet that was queued may be dropped where no hook is to be seen.
            let seen = judged || program.is_none();
            check_rule(&verdict, seen, &rule)?;
        }
        By::Queue(kind, words) => check_queue(&verdict, judged, kind, words)?,
    }
    nobody_blamed(lab, &net, tracer)
}

fn lost(net: &Inspected, traffic: Traffic) -> Result<()> {
    ensure!(!traffic.attempt(net)?, "the network is wrong: it arrived");
    Ok(())
}

fn check_rule(verdict: &Value, seen: bool, rule: &WantedRule) -> Result<()> {
    let mut check = Check::new(verdict);
    check
        .eq("/cause", Value::Null)
        .eq("/facts/kind", Value::Null);
    let netfilter = WantedNetfilter {
        family: "ip",
        hook: "input",
        rules: &[*rule],
    };
    if seen {
        netfilter.check(&mut check);
        check.mentions("/summary", &[rule.chain]);
    } else {
        netfilter.check_unseen(&mut check);
    }
    check.is("/facts/class", "a text", Value::is_string);
    check.done("verdict")
}

fn check_queue(verdict: &Value, judged: bool, kind: &str, words: &[&str]) -> Result<()> {
    let mut check = Check::new(verdict);
    check
        .eq("/cause", Value::Null)
        .mentions("/summary", &["queue"]);
    if judged {
        check.eq("/facts/kind", kind).mentions("/summary", words);
    } else {
        // A rule that drops such packets has not done so: the verdict came first, and was not seen.
        check
            .any("/facts/kind", &[kind.into(), Value::Null])
            .eq("/facts/netfilter/certain", false);
    }
    check.is("/facts/class", "a text", Value::is_string);
    check.done("verdict")
}
