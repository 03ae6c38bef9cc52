//! Two clients behind a node that translates their addresses, and a server outside.
//!
//! ```text
//!  pod-a                       node                             world
//!  eth0 10.0.0.113/32 ──────── lxc-a (no address)
//!  pod-b                       eno1 172.26.50.200/24 ────────── eno1 172.26.50.1/24
//!  eth0 10.0.0.114/32 ──────── lxc-b (no address)
//! ```
//! The world has no route to the pods: what is not translated gets no answer. Which rules the node
//! has is up to the scenario. Link-layer addresses are static, so that no ARP packet is dropped next
//! to the packets a scenario is about.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::lab::Skip;
use crate::netns::Netns;

/// The node's outside device.
pub const OUTSIDE: &str = "eno1";
/// The first client.
pub const POD_A_IP: &str = "10.0.0.113";
/// The second client.
pub const POD_B_IP: &str = "10.0.0.114";
/// The node, as pods see it.
pub const NODE_IP: &str = "10.0.0.253";
/// The node, as the world sees it: the address that clients are given.
pub const NODE_OUTSIDE_IP: &str = "172.26.50.200";
/// The server.
pub const WORLD_IP: &str = "172.26.50.1";

const LXC_A: &str = "lxc-a";
const LXC_B: &str = "lxc-b";
const LXC_A_MAC: &str = "8a:95:96:c7:1f:85";
const LXC_B_MAC: &str = "8a:95:96:c7:1f:86";
const POD_A_MAC: &str = "0a:50:d2:29:32:ba";
const POD_B_MAC: &str = "0a:50:d2:29:32:bb";
const NODE_MAC: &str = "32:a7:e5:1c:b8:a5";
const WORLD_MAC: &str = "32:a7:e5:1c:b8:a6";

/// The four namespaces.
#[derive(Debug)]
pub struct Nat {
    /// The first client.
    pub pod_a: Netns,
    /// The second client.
    pub pod_b: Netns,
    /// The router that translates.
    pub node: Netns,
    /// The server.
    pub world: Netns,
}

/// Counters of a namespace's conntrack, summed over all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Entries refused at insertion.
    pub insert_failed: u64,
    /// Clashes that were settled without loss.
    pub clash_resolve: u64,
}

impl Nat {
    /// Builds the network and applies the node's rules.
    pub fn build(rules: &[Rule]) -> Result<Self> {
        for rule in rules {
            rule.require()?;
        }
        let node = Netns::create("node")?;
        let pod_a = Netns::create("pod-a")?;
        let pod_b = Netns::create("pod-b")?;
        let world = Netns::create("world")?;
        let (a, b, w) = (pod_a.name(), pod_b.name(), world.name());
        node.ip(&format!(
            "link add {LXC_A} address {LXC_A_MAC} type veth peer name eth0 address {POD_A_MAC} netns {a}
             link add {LXC_B} address {LXC_B_MAC} type veth peer name eth0 address {POD_B_MAC} netns {b}
             link add {OUTSIDE} address {NODE_MAC} type veth peer name {OUTSIDE} address {WORLD_MAC} netns {w}
             link set {LXC_A} up
             link set {LXC_B} up
             link set {OUTSIDE} up
             addr add {NODE_IP}/32 dev lo
             addr add {NODE_OUTSIDE_IP}/24 dev {OUTSIDE}
             route add {POD_A_IP}/32 dev {LXC_A}
             route add {POD_B_IP}/32 dev {LXC_B}
             neigh replace {POD_A_IP} lladdr {POD_A_MAC} dev {LXC_A} nud permanent
             neigh replace {POD_B_IP} lladdr {POD_B_MAC} dev {LXC_B} nud permanent
             neigh replace {WORLD_IP} lladdr {WORLD_MAC} dev {OUTSIDE} nud permanent
             "
        ))?;
        for (pod, address, mac) in [(&pod_a, POD_A_IP, LXC_A_MAC), (&pod_b, POD_B_IP, LXC_B_MAC)] {
            pod.ip(&format!(
                "link set eth0 up
                 addr add {address}/32 dev eth0
                 route add default via {NODE_IP} dev eth0 onlink src {address}
                 neigh replace {NODE_IP} lladdr {mac} dev eth0 nud permanent
                 "
            ))?;
        }
        world.ip(&format!(
            "link set {OUTSIDE} up
             addr add {WORLD_IP}/24 dev {OUTSIDE}
             neigh replace {NODE_OUTSIDE_IP} lladdr {NODE_MAC} dev {OUTSIDE} nud permanent
             "
        ))?;
        node.sysctl("net/ipv4/ip_forward", "1")?;
        let nat = Self {
            pod_a,
            pod_b,
            node,
            world,
        };
        for rule in rules {
            nat.add(rule)?;
        }
        Ok(nat)
    }

    /// Adds a rule on the node.
    pub fn add(&self, rule: &Rule) -> Result<()> {
        rule.add_to(&self.node)
    }

    /// The node's conntrack counters; all 0 as long as no conntrack is loaded.
    pub fn counters(&self) -> Result<Counters> {
        let path = "/proc/thread-self/net/stat/nf_conntrack";
        let Ok(text) = self.node.run(|| Ok(fs::read_to_string(path)?)) else {
            return Ok(Counters::default());
        };
        let mut lines = text.lines();
        let names = lines.next().context("no names of conntrack counters")?;
        let place = |wanted: &str| names.split_whitespace().position(|name| name == wanted);
        // 5.8 gave the column of `searched` to clashes that were settled.
        let (failed, resolved) = (place("insert_failed"), place("clashres"));
        let failed = failed.context("no insert_failed")?;
        let mut counters = Counters::default();
        for line in lines {
            let values: Vec<&str> = line.split_whitespace().collect();
            let value = |at: usize| -> Result<u64> {
                let value = values.get(at).context("a short line of counters")?;
                Ok(u64::from_str_radix(value, 16)?)
            };
            counters.insert_failed += value(failed)?;
            counters.clash_resolve += resolved.map_or(Ok(0), value)?;
        }
        Ok(counters)
    }

    /// How many entries the node's conntrack refused.
    pub fn insert_failed(&self) -> Result<u64> {
        Ok(self.counters()?.insert_failed)
    }

    /// `net.netfilter.nf_conntrack_max`.
    pub fn table_size(&self) -> Result<u64> {
        let path = "/proc/sys/net/netfilter/nf_conntrack_max";
        let text = self.node.run(|| Ok(fs::read_to_string(path)?))?;
        Ok(text.trim().parse()?)
    }
}

/// Something the node is told to do with packets.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Arguments for a program of iptables (`iptables-legacy`, `iptables-nft`).
    Iptables(&'static str, &'static str),
    /// Commands for nft.
    Nft(&'static [&'static str]),
}

impl Rule {
    /// Skips the scenario where the program for it is missing.
    pub fn require(&self) -> Result<()> {
        needs(match self {
            Self::Iptables(program, _) => program,
            Self::Nft(_) => "nft",
        })
    }

    /// Adds it in a namespace.
    pub fn add_to(&self, netns: &Netns) -> Result<()> {
        let lines = match self {
            Self::Iptables(program, rule) => vec![format!("{program} -w {rule}")],
            Self::Nft(lines) => lines.iter().map(|line| format!("nft {line}")).collect(),
        };
        for line in lines {
            netns.exec(&line)?;
        }
        Ok(())
    }
}

/// Skips the scenario where a program is missing.
pub fn needs(program: &str) -> Result<()> {
    match Command::new(program).arg("--version").output() {
        Ok(_) => Ok(()),
        Err(_) => Err(Skip(format!("no `{program}` here")).into()),
    }
}
