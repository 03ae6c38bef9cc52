//! Plain drops by firewall rules: no cause, but the rule that dropped must be named, and all that
//! can have dropped where it may have been more than one.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::rules::{WantedNetfilter, WantedRule};
use super::{Kind, Scenario};
use crate::expect::Check;
use crate::lab::Lab;
use crate::topology::queue::Inspected;
use crate::traffic::queue::Traffic;

/// A drop and the rules to name.
struct Plain {
    /// The node's rules.
    rules: &'static [&'static str],
    /// What is sent.
    traffic: Traffic,
    /// The hook.
    hook: &'static str,
    /// The rules that can have dropped.
    wanted: &'static [WantedRule],
}

const LEGACY: WantedRule = WantedRule {
    backend: "iptables-legacy",
    table: "filter",
    chain: "INPUT",
    words: &["-A INPUT", "--dport 5353", "DROP"],
};

const NFT: WantedRule = WantedRule {
    backend: "nft",
    table: "inet fw",
    chain: "guard",
    words: &["5353", "drop"],
};

const JUMP: Plain = Plain {
    rules: &[
        "iptables-legacy -w -N BLOCK",
        "iptables-legacy -w -A BLOCK -p tcp --dport 5353 -j DROP",
        "iptables-legacy -w -A BLOCK -p udp --dport 5353 -j DROP",
        "iptables-legacy -w -A INPUT -s 10.0.0.0/24 -j BLOCK",
    ],
    traffic: Traffic::Datagram,
    hook: "input",
    wanted: &[WantedRule {
        chain: "BLOCK",
        words: &["-A BLOCK", "-p udp", "--dport 5353", "DROP"],
        ..LEGACY
    }],
};

const NFT_JUMP: Plain = Plain {
    rules: &[
        "nft add table inet fw",
        "nft add chain inet fw block",
        "nft add rule inet fw block tcp dport 5353 drop",
        "nft add rule inet fw block udp dport 5353 drop",
        "nft add chain inet fw guard '{ type filter hook forward priority 0 ; }'",
        "nft add rule inet fw guard ip saddr 10.0.0.0/24 jump block",
    ],
    traffic: Traffic::Forwarded,
    hook: "forward",
    wanted: &[WantedRule {
        chain: "block",
        words: &["udp", "5353", "drop"],
        ..NFT
    }],
};

const IPTABLES_NFT: Plain = Plain {
    rules: &["iptables-nft -w -A INPUT -p udp --dport 5353 -j DROP"],
    traffic: Traffic::Datagram,
    hook: "input",
    wanted: &[WantedRule {
        backend: "iptables-nft",
        table: "ip filter",
        words: &["5353", "DROP"],
        ..LEGACY
    }],
};

const POLICY: Plain = Plain {
    rules: &[
        "nft add table inet fw",
        "nft add chain inet fw guard '{ type filter hook input priority 0 ; policy drop ; }'",
        "nft add rule inet fw guard tcp dport 80 accept",
    ],
    traffic: Traffic::Datagram,
    hook: "input",
    wanted: &[WantedRule {
        words: &["policy", "drop"],
        ..NFT
    }],
};

/// Whether the first one drops is up to chance; the second drops what it lets by.
const TWO: Plain = Plain {
    rules: &[
        "iptables-legacy -w -A INPUT -p udp -m statistic --mode random --probability 0.5 -j DROP",
        "iptables-legacy -w -A INPUT -p udp --dport 5353 -j DROP",
        "iptables-legacy -w -A INPUT -p tcp --dport 5353 -j DROP",
    ],
    traffic: Traffic::Datagram,
    hook: "input",
    wanted: &[
        WantedRule {
            words: &["-A INPUT", "statistic", "DROP"],
            ..LEGACY
        },
        WantedRule {
            words: &["-A INPUT", "-p udp", "--dport 5353", "DROP"],
            ..LEGACY
        },
    ],
};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "decoy_rule_in_chain",
        kind: Kind::Decoy,
        about: "an iptables rule drops in a chain that is jumped to",
        run: |lab| play(lab, &JUMP),
    },
    Scenario {
        name: "decoy_nft_in_chain",
        kind: Kind::Decoy,
        about: "an nft rule drops what is forwarded, in a chain that is jumped to",
        run: |lab| play(lab, &NFT_JUMP),
    },
    Scenario {
        name: "decoy_iptables_nft",
        kind: Kind::Decoy,
        about: "a rule of iptables-nft drops",
        run: |lab| play(lab, &IPTABLES_NFT),
    },
    Scenario {
        name: "decoy_nft_policy",
        kind: Kind::Decoy,
        about: "no rule, but the policy of an nft chain drops",
        run: |lab| play(lab, &POLICY),
    },
    Scenario {
        name: "decoy_two_rules",
        kind: Kind::Decoy,
        about: "one of two iptables rules drops, and nobody can tell which",
        run: |lab| play(lab, &TWO),
    },
];

fn play(lab: &Lab, plain: &Plain) -> Result<()> {
    let net = Inspected::build(plain.rules)?;
    let tracer = lab.explain(Some(&net.node), &[])?;
    ensure!(
        !plain.traffic.attempt(&net)?,
        "the network is wrong: it arrived"
    );
    let tuple = plain.traffic.tuple();
    let verdict = lab.verdict(&tracer, &tuple)?;
    let mut check = Check::new(&verdict);
    check
        .eq("/cause", Value::Null)
        .eq("/facts/kind", Value::Null)
        .eq("/drop/netns/inum", net.node.inum());
    check.reason("/drop/reason/name", &["NETFILTER_DROP"]);
    let netfilter = WantedNetfilter {
        family: "ip",
        hook: plain.hook,
        rules: plain.wanted,
    };
    netfilter.check(&mut check);
    if let [rule] = plain.wanted {
        check.mentions("/summary", &[rule.chain]);
    }
    check.done("verdict")?;
    let finished = lab.finish(tracer)?;
    for verdict in finished.verdicts() {
        let here = verdict["drop"]["netns"]["inum"] == net.node.inum();
        ensure!(
            !here || verdict["cause"].is_null(),
            "false blame: {verdict}"
        );
    }
    Ok(())
}
