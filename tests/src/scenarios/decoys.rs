//! Decoys: packets lost for reasons that no cause may be blamed for, explained as what they are.
//!
//! Where possible the filter is strict and the route right, so that it is there and innocent.

use std::net::TcpStream;
use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::rp_filter::CAUSE;
use super::rules::{WantedNetfilter, WantedRule};
use super::{Kind, Scenario};
use crate::expect::{Check, packet_differences};
use crate::lab::{Lab, Skip};
use crate::topology::seed::{Config, LXC, NODE_IP, POD_IP, Seed, WORLD_IP};
use crate::traffic::flow::{PATIENCE, Tuple, send_datagram};
use crate::traffic::packet::{Packet, Payload, RawSocket};

/// A decoy.
#[derive(Clone, Copy, Debug)]
pub struct Decoy {
    /// The node's settings.
    pub config: Config,
    /// What makes the node drop.
    pub prepare: fn(&Seed) -> Result<()>,
    /// Sends the packet.
    pub send: fn(&Seed, &Tuple) -> Result<()>,
    /// The packet.
    pub tuple: Tuple,
    /// `drop.reason.name` on the kernels we know, without `SKB_DROP_REASON_`.
    pub reasons: &'static [&'static str],
    /// Words of which the explanation must contain at least one.
    pub words: &'static [&'static str],
    /// `facts.martian`.
    pub martian: Option<&'static str>,
    /// `drop.packet.ttl`.
    pub ttl: u8,
    /// The firewall rule that drops, if it is one.
    pub rule: Option<WantedRule>,
}

const STRICT_AND_RIGHT: Config = Config {
    device: 1,
    endpoint_route: true,
    ..Config::HEALTHY
};

const TUPLE: Tuple = Tuple {
    proto: 17,
    src: POD_IP,
    dst: NODE_IP,
    sport: Some(40_002),
    dport: Some(7777),
};

const PLAIN: Decoy = Decoy {
    config: STRICT_AND_RIGHT,
    prepare: |_| Ok(()),
    send: |seed, tuple| send_datagram(&seed.pod, tuple),
    tuple: TUPLE,
    reasons: &["NETFILTER_DROP"],
    words: &["netfilter", "firewall", "iptables", "nftables"],
    martian: None,
    ttl: 64,
    rule: None,
};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "decoy_iptables_drop",
        kind: Kind::Decoy,
        about: "an iptables rule drops",
        run: |lab| {
            let prepare = |seed: &Seed| {
                iptables(
                    seed,
                    &format!("-A INPUT -i {LXC} -p udp --dport 7777 -j DROP"),
                )
            };
            let rule = WantedRule {
                backend: "iptables-legacy",
                table: "filter",
                chain: "INPUT",
                words: &["-A INPUT", LXC, "--dport 7777", "DROP"],
            };
            let rule = Some(rule);
            play(
                lab,
                &Decoy {
                    prepare,
                    rule,
                    ..PLAIN
                },
            )
        },
    },
    Scenario {
        name: "decoy_nft_drop",
        kind: Kind::Decoy,
        about: "an nftables rule drops",
        run: |lab| {
            let rule = WantedRule {
                backend: "nft",
                table: "ip decoy",
                chain: "input",
                words: &[LXC, "7777", "drop"],
            };
            let rule = Some(rule);
            play(
                lab,
                &Decoy {
                    prepare: nft,
                    rule,
                    ..PLAIN
                },
            )
        },
    },
    Scenario {
        name: "decoy_closed_udp",
        kind: Kind::Decoy,
        about: "nobody listens on the UDP port",
        run: |lab| {
            let words = &["socket", "port", "listen"];
            play(
                lab,
                &Decoy {
                    reasons: &["NO_SOCKET"],
                    words,
                    ..PLAIN
                },
            )
        },
    },
    Scenario {
        name: "decoy_closed_tcp",
        kind: Kind::Decoy,
        about: "nobody listens on the TCP port",
        run: |lab| {
            let tuple = Tuple {
                proto: 6,
                sport: None,
                ..TUPLE
            };
            let words = &["socket", "port", "listen"];
            play(
                lab,
                &Decoy {
                    send: connect,
                    tuple,
                    reasons: &["NO_SOCKET"],
                    words,
                    ..PLAIN
                },
            )
        },
    },
    Scenario {
        name: "decoy_ttl",
        kind: Kind::Decoy,
        about: "a packet to be forwarded has no hops left",
        run: |lab| {
            let tuple = Tuple {
                dst: WORLD_IP,
                ..TUPLE
            };
            let send = |seed: &Seed, tuple: &Tuple| raw(seed, tuple, 1);
            let words = &["ttl", "time to live", "hop"];
            play(
                lab,
                &Decoy {
                    send,
                    tuple,
                    reasons: &["IP_INHDR"],
                    words,
                    ttl: 1,
                    ..PLAIN
                },
            )
        },
    },
    Scenario {
        name: "decoy_no_route",
        kind: Kind::Decoy,
        about: "a packet to be forwarded to where no route leads",
        run: |lab| {
            let tuple = Tuple {
                dst: "198.51.100.9",
                ..TUPLE
            };
            let config = Config {
                default_route: false,
                ..STRICT_AND_RIGHT
            };
            let reasons = &["IP_INNOROUTES", "IP_INADDRERRORS", "NOT_SPECIFIED"];
            play(
                lab,
                &Decoy {
                    config,
                    tuple,
                    reasons,
                    words: &["route"],
                    ..PLAIN
                },
            )
        },
    },
    Scenario {
        name: "decoy_ipt_rpfilter",
        kind: Kind::Decoy,
        about: "the sysctl is 0; an iptables rule with -m rpfilter drops",
        run: |lab| {
            let prepare =
                |seed: &Seed| iptables(seed, "-t raw -A PREROUTING -m rpfilter --invert -j DROP");
            play(
                lab,
                &Decoy {
                    config: Config::HEALTHY,
                    prepare,
                    ..PLAIN
                },
            )
        },
    },
];

/// Plays a decoy.
pub fn play(lab: &Lab, decoy: &Decoy) -> Result<()> {
    let seed = Seed::build(&decoy.config)?;
    (decoy.prepare)(&seed)?;
    let tracer = lab.explain(Some(&seed.node), &[])?;
    (decoy.send)(&seed, &decoy.tuple)?;
    let verdict = lab.verdict(&tracer, &decoy.tuple)?;
    let mut check = Check::new(&verdict);
    check.eq("/cause", Value::Null);
    check.is("/drop/packet", "the packet sent", |packet| {
        packet_differences(packet, &decoy.tuple).is_empty()
    });
    check
        .eq("/drop/netns/inum", seed.node.inum())
        .eq("/drop/packet/ttl", decoy.ttl);
    check
        .reason("/drop/reason/name", decoy.reasons)
        .reason("/facts/reason", decoy.reasons);
    check.eq("/facts/martian", decoy.martian);
    check.is("/facts/class", "a text", Value::is_string);
    check.mentions("", decoy.words);
    check.mentions("/summary", decoy.words);
    if let Some(rule) = decoy.rule {
        let netfilter = WantedNetfilter {
            family: "ip",
            hook: "input",
            rules: &[rule],
        };
        netfilter.check(&mut check);
    }
    check.is("/fixes", "no advice about the sysctl", |fixes| {
        !fixes.to_string().contains("rp_filter")
    });
    check.done("verdict")?;
    let finished = lab.finish(tracer)?;
    finished.must_not_blame(CAUSE, &seed.node)?;
    ensure!(
        seed.refused()? == 0,
        "the network is wrong: the filter refused something"
    );
    Ok(())
}

/// Sends a hand-made datagram from the pod.
pub fn raw(seed: &Seed, tuple: &Tuple, ttl: u8) -> Result<()> {
    let (sport, dport) = (tuple.sport.unwrap_or(1), tuple.dport.unwrap_or(1));
    let packet = Packet {
        src: tuple.src.parse()?,
        dst: tuple.dst.parse()?,
        ttl,
        payload: Payload::Udp(sport, dport, b"dropwatch"),
    };
    RawSocket::open(&seed.pod, "eth0")?.send(&packet)?;
    Ok(())
}

/// Adds an iptables rule on the node, by the legacy back end.
fn iptables(seed: &Seed, rule: &str) -> Result<()> {
    needs("iptables-legacy")?;
    seed.node.exec(&format!("iptables-legacy -w {rule}"))?;
    Ok(())
}

fn nft(seed: &Seed) -> Result<()> {
    needs("nft")?;
    seed.node.exec("nft add table ip decoy")?;
    seed.node
        .exec("nft add chain ip decoy input { type filter hook input priority 0 ; }")?;
    seed.node.exec(&format!(
        "nft add rule ip decoy input iifname {LXC} udp dport 7777 drop"
    ))?;
    Ok(())
}

fn connect(seed: &Seed, tuple: &Tuple) -> Result<()> {
    let address = std::net::SocketAddrV4::new(tuple.dst.parse()?, tuple.dport.unwrap_or(1));
    let open = seed
        .pod
        .run(|| Ok(TcpStream::connect_timeout(&address.into(), PATIENCE).is_ok()))?;
    ensure!(!open, "the network is wrong: somebody listens");
    Ok(())
}

fn needs(program: &str) -> Result<()> {
    match Command::new(program).arg("--version").output() {
        Ok(_) => Ok(()),
        Err(_) => Err(Skip(format!("no `{program}` here")).into()),
    }
}
