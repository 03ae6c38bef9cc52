//! Decoys of `snat_race`: packets lost in the same places, with a hand of conntrack or after
//! translation, for another reason.
//!
//! A full conntrack table is among them only in a virtual machine: `nf_conntrack_max` is one number for
//! the whole machine.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::case::{FIRST_PORT, FIXED_PORT, VOLLEYS, original, translated};
use super::{CAUSE, MASQUERADE};
use crate::expect::{Check, is_packet, nearest_miss, packet, packet_differences};
use crate::lab::{Lab, Skip};
use crate::scenarios::{Kind, Scenario};
use crate::topology::nat::{Nat, POD_A_IP, POD_B_IP, Rule, WORLD_IP};
use crate::tracer::{SLOW, Tracer};
use crate::traffic::flow::Tuple;
use crate::traffic::nat::{Proto, Server, Through};
use crate::traffic::packet::{ACK, Packet, Payload, RawSocket, SYN};
use crate::traffic::volley::{self, DPORT, PAIRS};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "decoy_ct_invalid",
        kind: Kind::Decoy,
        about: "a rule drops what conntrack finds invalid",
        run: ct_invalid,
    },
    Scenario {
        name: "decoy_nat_exhausted",
        kind: Kind::Decoy,
        about: "two ports, both in use for a while: the third client has none",
        run: |lab| nat_exhausted(lab, &TWO_PORTS, WHILE),
    },
    Scenario {
        name: "decoy_nat_exhausted_fast",
        kind: Kind::Decoy,
        about: "two ports, both just taken: that is no race either",
        run: |lab| nat_exhausted(lab, &TWO_PORTS, Duration::ZERO),
    },
    Scenario {
        name: "decoy_nat_one_port",
        kind: Kind::Decoy,
        about: "one port, held by an open connection: the second client has none",
        run: |lab| nat_exhausted(lab, &ONE_PORT, Duration::ZERO),
    },
    Scenario {
        name: "decoy_drop_after_snat",
        kind: Kind::Decoy,
        about: "a rule drops a new connection after its translation",
        run: |lab| drop_after_snat(lab, MASQUERADE, 41_001),
    },
    Scenario {
        name: "decoy_drop_before_clash",
        kind: Kind::Decoy,
        about: "a rule drops a packet that would have clashed a moment later",
        run: |lab| {
            let fixed = Rule::Iptables(
                "iptables-legacy",
                "-t nat -A POSTROUTING -o eno1 -p udp -j SNAT --to-source 172.26.50.200:40000",
            );
            drop_after_snat(lab, fixed, FIXED_PORT)
        },
    },
    Scenario {
        name: "decoy_same_syn_twice",
        kind: Kind::Decoy,
        about: "no translation; the same SYN twice at once, and conntrack refuses one",
        run: same_syn_twice,
    },
    Scenario {
        name: "decoy_dnat_clash",
        kind: Kind::Decoy,
        about: "two services with one server, asked at once from one socket: one datagram is lost",
        run: dnat_clash,
    },
    Scenario {
        name: "decoy_table_full",
        kind: Kind::Decoy,
        about: "a new connection when conntrack's table is full",
        run: table_full,
    },
];

const NETFILTER: &[&str] = &["netfilter", "firewall", "iptables", "nftables", "conntrack"];

/// After this a connection is no newcomer: conntrack counts whole seconds.
const WHILE: Duration = Duration::from_secs(4);

/// Drops what has been translated already: 200 comes after 100, where translation happens, and
/// before the new connection is confirmed.
const LATE_DROP: Rule = Rule::Nft(&[
    "add table ip late",
    "add chain ip late out { type filter hook postrouting priority 200 ; }",
    "add rule ip late out oifname eno1 udp dport 5353 drop",
]);

fn ct_invalid(lab: &Lab) -> Result<()> {
    let nat = Nat::build(&[
        MASQUERADE,
        Rule::Iptables(
            "iptables-legacy",
            "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
        ),
    ])?;
    nat.node
        .sysctl("net/netfilter/nf_conntrack_tcp_loose", "0")?;
    let tracer = lab.explain(Some(&nat.node), &[])?;
    let tuple = original(Proto::Tcp, POD_A_IP, 41_001);
    RawSocket::open(&nat.pod_a, "eth0")?.send(&tcp(41_001, ACK)?)?;
    plain(&nat, &tracer, &tuple, NETFILTER)?;
    nobody_blamed(lab, &nat, tracer, 0)
}

/// A range of ports.
pub struct Range {
    /// The rule that has it.
    pub rule: Rule,
    proto: Proto,
    ports: &'static [u16],
}

impl Range {
    /// What leaves by it: as which of its ports is up to the kernel.
    pub fn translated(&self) -> Tuple {
        Tuple {
            sport: None,
            ..translated(self.proto, 0)
        }
    }
}

/// Two ports for all.
pub const TWO_PORTS: Range = Range {
    rule: Rule::Iptables(
        "iptables-legacy",
        "-t nat -A POSTROUTING -o eno1 -p udp -j SNAT --to-source 172.26.50.200:40000-40001",
    ),
    proto: Proto::Udp,
    ports: &[FIXED_PORT, FIXED_PORT + 1],
};

const ONE_PORT: Range = Range {
    rule: Rule::Iptables(
        "iptables-legacy",
        "-t nat -A POSTROUTING -o eno1 -p tcp -j SNAT --to-source 172.26.50.200:40000",
    ),
    proto: Proto::Tcp,
    ports: &[FIXED_PORT],
};

/// Connections of the first client that hold every port, and the server that they are with.
pub fn hold_all(nat: &Nat, range: &Range) -> Result<(Server, Vec<Through>)> {
    let server = Server::start(nat, range.proto)?;
    let mut held = Vec::new();
    for port in (41_001..).take(range.ports.len()) {
        let through = server.attempt(&nat.pod_a, POD_A_IP, port)?;
        held.push(through.context("the network is wrong: a port is free, but nothing came")?);
    }
    let mut ports: Vec<u16> = held.iter().map(|through| through.seen_port).collect();
    ports.sort_unstable();
    ensure!(
        ports == range.ports,
        "the network is wrong: ports {ports:?}"
    );
    Ok((server, held))
}

fn nat_exhausted(lab: &Lab, range: &Range, pause: Duration) -> Result<()> {
    let nat = Nat::build(&[range.rule])?;
    let tracer = lab.explain(Some(&nat.node), &[])?;
    let (server, _held) = hold_all(&nat, range)?;
    std::thread::sleep(pause);
    let late = server.attempt(&nat.pod_b, POD_B_IP, 41_003)?;
    ensure!(late.is_none(), "the network is wrong: it got through");
    let words = &["exhausted", "used up", "in use", "no free port"];
    let verdict = plain(&nat, &tracer, &range.translated(), words)?;
    let mut check = Check::new(&verdict);
    check.eq("/facts/kind", "exhausted");
    check.done("verdict")?;
    nobody_blamed(lab, &nat, tracer, 1)
}

fn drop_after_snat(lab: &Lab, rule: Rule, port: u16) -> Result<()> {
    let nat = Nat::build(&[rule])?;
    let server = Server::start(&nat, Proto::Udp)?;
    let tracer = lab.explain(Some(&nat.node), &[])?;
    let first = server.attempt(&nat.pod_a, POD_A_IP, 41_000)?;
    ensure!(first.is_some(), "the network is wrong: nothing came");
    nat.add(&LATE_DROP)?;
    let second = server.attempt(&nat.pod_b, POD_B_IP, 41_001)?;
    ensure!(second.is_none(), "the network is wrong: it got through");
    plain(&nat, &tracer, &translated(Proto::Udp, port), NETFILTER)?;
    nobody_blamed(lab, &nat, tracer, 0)
}

fn same_syn_twice(lab: &Lab) -> Result<()> {
    // A rule that asks for the state: without one there is no conntrack in this namespace.
    let nat = Nat::build(&[Rule::Iptables(
        "iptables-legacy",
        "-A FORWARD -m conntrack --ctstate NEW -j ACCEPT",
    )])?;
    let tracer = lab.explain(Some(&nat.node), &[])?;
    let sockets = [
        RawSocket::open(&nat.pod_a, "eth0")?,
        RawSocket::open(&nat.pod_a, "eth0")?,
    ];
    let server = WORLD_IP.parse()?;
    for volley in 0.. {
        let first = FIRST_PORT + volley * PAIRS;
        let packets: Vec<Vec<u8>> = (first..first + PAIRS)
            .map(|port| Ok(tcp(port, SYN)?.bytes()))
            .collect::<Result<_>>()?;
        volley::at_once(packets.len(), |side, pair| {
            sockets[side].send_bytes(&packets[pair], server)
        })?;
        if nat.insert_failed()? > 0 {
            break;
        }
        ensure!(
            volley < 60,
            "the network is wrong: conntrack refused nothing in {volley} volleys"
        );
    }
    let refused = nat.insert_failed()?;
    let tuple = Tuple {
        sport: None,
        ..original(Proto::Tcp, POD_A_IP, 0)
    };
    let verdict = plain(&nat, &tracer, &tuple, NETFILTER)?;
    let mut check = Check::new(&verdict);
    check
        .eq("/facts/kind", "duplicate")
        .mentions("/summary", &["twice"]);
    check.done("verdict")?;
    nobody_blamed(lab, &nat, tracer, refused)
}

fn dnat_clash(lab: &Lab) -> Result<()> {
    const SERVICES: [&str; 2] = ["10.96.0.10", "10.96.0.11"];
    let nat = Nat::build(&[Rule::Iptables(
        "iptables-legacy",
        "-t nat -A PREROUTING -i lxc+ -d 10.96.0.0/16 -p udp -j DNAT --to-destination 172.26.50.1",
    )])?;
    let tracer = lab.explain(Some(&nat.node), &[])?;
    let mut lost = 0;
    for volley in 0..VOLLEYS {
        lost += volley::two_services(&nat, FIRST_PORT + volley * PAIRS, SERVICES)? as u64;
        if lost > 0 {
            break;
        }
    }
    let refused = nat.insert_failed()?;
    ensure!(
        lost > 0 && refused == lost,
        "the network is wrong: {lost} lost, {refused} entries refused"
    );
    let tuple = Tuple {
        sport: None,
        ..original(Proto::Udp, POD_A_IP, 0)
    };
    let verdict = plain(&nat, &tracer, &tuple, &["dnat"])?;
    let mut check = Check::new(&verdict);
    check
        .eq("/facts/kind", "dnat_clash")
        .mentions("/summary", &[SERVICES[0]])
        .mentions("/summary", &[SERVICES[1]])
        .mentions("/evidence", &["single-request-reopen"]);
    check.done("verdict")?;
    nobody_blamed(lab, &nat, tracer, refused)
}

fn table_full(lab: &Lab) -> Result<()> {
    let table = Table::of_virtual_machine()?;
    let nat = Nat::build(&[MASQUERADE])?;
    let server = Server::start(&nat, Proto::Tcp)?;
    let tracer = lab.explain(Some(&nat.node), &[])?;
    // Established ones: others would be thrown out for a new one.
    let mut open = Vec::new();
    for port in 41_000..41_012 {
        let through = server.attempt(&nat.pod_a, POD_A_IP, port)?;
        open.push(through.context("the network is wrong: nothing came")?);
    }
    table.resize(8)?;
    let last = server.attempt(&nat.pod_b, POD_B_IP, 41_012)?;
    ensure!(last.is_none(), "the network is wrong: it got through");
    let tuple = original(Proto::Tcp, POD_B_IP, 41_012);
    let verdict = plain(&nat, &tracer, &tuple, &["table was full"])?;
    let mut check = Check::new(&verdict);
    check
        .eq("/facts/kind", "table_full")
        .mentions("/summary", &["of 8 entries"])
        .mentions("/evidence", &["nf_conntrack_max"]);
    check.done("verdict")?;
    drop(table);
    nobody_blamed(lab, &nat, tracer, 0)
}

/// The size of conntrack's table: one number for a whole machine, put back when dropped.
struct Table {
    before: String,
}

impl Table {
    const SIZE: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
    /// What only the virtual machines of `xtask vm` have.
    const MARK: &str = "/vm/run";

    fn of_virtual_machine() -> Result<Self> {
        if !Path::new(Self::MARK).exists() {
            return Err(Skip("the machine's own conntrack table is left alone".to_owned()).into());
        }
        // Without conntrack there is no such number yet.
        let _ = Command::new("modprobe").arg("nf_conntrack").status();
        let before = fs::read_to_string(Self::SIZE).context("reading the table's size")?;
        Ok(Self { before })
    }

    fn resize(&self, entries: u32) -> Result<()> {
        fs::write(Self::SIZE, entries.to_string()).context("changing the table's size")
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let _ = fs::write(Self::SIZE, self.before.trim());
    }
}

fn tcp(sport: u16, flags: u8) -> Result<Packet<'static>> {
    Ok(Packet {
        src: POD_A_IP.parse()?,
        dst: WORLD_IP.parse()?,
        ttl: 64,
        payload: Payload::Tcp(sport, DPORT, flags),
    })
}

/// Requires that the node's drop is explained without a cause; returns the verdict.
fn plain(nat: &Nat, tracer: &Tracer, tuple: &Tuple, words: &[&str]) -> Result<Value> {
    // The same packet may be dropped elsewhere as well: the server has no route back.
    let ours = |line: &Value| {
        line["type"] == "verdict"
            && line["drop"]["netns"]["inum"] == nat.node.inum()
            && is_packet(packet(line), tuple)
    };
    let Some(line) = tracer.wait(SLOW / 3, ours) else {
        let lines: Vec<Value> = tracer.lines().into_iter().map(|line| line.value).collect();
        bail!(
            "no verdict for {tuple:?}\n  {}",
            nearest_miss(&lines, "verdict", tuple)
        )
    };
    let verdict = line.value;
    let mut check = Check::new(&verdict);
    check.eq("/cause", Value::Null);
    check.is("/drop/packet", "the packet sent", |packet| {
        packet_differences(packet, tuple).is_empty()
    });
    check.reason("/drop/reason/name", &["NETFILTER_DROP"]);
    check.is("/facts/class", "a text", Value::is_string);
    check.mentions("/summary", words);
    check.is("/fixes", "no advice about random ports", |fixes| {
        !fixes.to_string().contains("random")
    });
    check.done("verdict")?;
    Ok(verdict)
}

fn nobody_blamed(lab: &Lab, nat: &Nat, tracer: Tracer, refused: u64) -> Result<()> {
    let finished = lab.finish(tracer)?;
    finished.must_not_blame(CAUSE, &nat.node)?;
    let found = nat.insert_failed()?;
    ensure!(
        found == refused,
        "the network is wrong: conntrack refused {found} entries, not {refused}"
    );
    Ok(())
}
