//! A node between a pod and the world, whose packets a program inspects.
//!
//! ```text
//!  pod                            node                              world
//!  eth0 10.0.0.113/32 ─────────── lxc-a (no address)
//!       fd00:10::113/128          lo   10.0.0.253/32, fd00:10::253/128
//!                                 eno1 172.26.50.200/24 ─────────── eno1 172.26.50.1/24
//! ```
//! Pod and node speak IPv6 only where a scenario asks for it. What the pod sends to
//! [`SERVICE_IP`] reaches the node as well; which rules the node has is up to the scenario.
//! Link-layer addresses are static, so that no ARP or neighbour packet is dropped next to the
//! packets a scenario is about.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::exec;
use crate::lab::Skip;
use crate::netns::Netns;

/// The pod.
pub const POD_IP: &str = "10.0.0.113";
/// The pod, in IPv6.
pub const POD_IP6: &str = "fd00:10::113";
/// The node, as the pod sees it.
pub const NODE_IP: &str = "10.0.0.253";
/// The same in IPv6.
pub const NODE_IP6: &str = "fd00:10::253";
/// A machine outside.
pub const WORLD_IP: &str = "172.26.50.1";
/// An address that nobody has: the pod's default route leads packets for it to the node.
pub const SERVICE_IP: &str = "10.96.0.10";

const LXC: &str = "lxc-a";
const OUTSIDE: &str = "eno1";
const NODE_OUTSIDE_IP: &str = "172.26.50.200";
const LXC_MAC: &str = "8a:95:96:c7:1f:85";
const POD_MAC: &str = "0a:50:d2:29:32:ba";
const NODE_MAC: &str = "32:a7:e5:1c:b8:a5";
const WORLD_MAC: &str = "32:a7:e5:1c:b8:a6";

/// The three namespaces.
#[derive(Debug)]
pub struct Inspected {
    /// Who sends.
    pub pod: Netns,
    /// The router with the queue.
    pub node: Netns,
    /// Who receives what the node forwards.
    pub world: Netns,
}

impl Inspected {
    /// Builds the network and runs the node's rules, lines for a shell.
    pub fn build(rules: &[&str]) -> Result<Self> {
        let node = Netns::create("node")?;
        let pod = Netns::create("pod")?;
        let world = Netns::create("world")?;
        let (pod_name, world_name) = (pod.name(), world.name());
        node.ip(&format!(
            "link add {LXC} address {LXC_MAC} type veth peer name eth0 address {POD_MAC} netns {pod_name}
             link add {OUTSIDE} address {NODE_MAC} type veth peer name {OUTSIDE} address {WORLD_MAC} netns {world_name}
             link set {LXC} up
             link set {OUTSIDE} up
             addr add {NODE_IP}/32 dev lo
             addr add {NODE_OUTSIDE_IP}/24 dev {OUTSIDE}
             route add {POD_IP}/32 dev {LXC}
             neigh replace {POD_IP} lladdr {POD_MAC} dev {LXC} nud permanent
             neigh replace {WORLD_IP} lladdr {WORLD_MAC} dev {OUTSIDE} nud permanent
             "
        ))?;
        pod.ip(&format!(
            "link set eth0 up
             addr add {POD_IP}/32 dev eth0
             route add default via {NODE_IP} dev eth0 onlink src {POD_IP}
             neigh replace {NODE_IP} lladdr {LXC_MAC} dev eth0 nud permanent
             "
        ))?;
        world.ip(&format!(
            "link set {OUTSIDE} up
             addr add {WORLD_IP}/24 dev {OUTSIDE}
             route add {POD_IP}/32 via {NODE_OUTSIDE_IP}
             neigh replace {NODE_OUTSIDE_IP} lladdr {NODE_MAC} dev {OUTSIDE} nud permanent
             "
        ))?;
        node.sysctl("net/ipv4/ip_forward", "1")?;
        let inspected = Self { pod, node, world };
        for rule in rules {
            inspected.on_node(rule)?;
        }
        Ok(inspected)
    }

    /// Gives pod and node IPv6 addresses; no address comes by itself and none is probed for.
    pub fn enable_ipv6(&self) -> Result<()> {
        for (netns, device) in [(&self.pod, "eth0"), (&self.node, LXC)] {
            netns.ip(&format!("link set {device} addrgenmode none\n"))?;
            for (key, value) in [
                ("accept_dad", "0"),
                ("accept_ra", "0"),
                ("router_solicitations", "0"),
                ("disable_ipv6", "0"),
            ] {
                netns.sysctl(&format!("net/ipv6/conf/{device}/{key}"), value)?;
            }
        }
        self.node.sysctl("net/ipv6/conf/lo/disable_ipv6", "0")?;
        self.node.ip(&format!(
            "addr add {NODE_IP6}/128 dev lo
             route add {POD_IP6}/128 dev {LXC}
             neigh replace {POD_IP6} lladdr {POD_MAC} dev {LXC} nud permanent
             "
        ))?;
        self.pod.ip(&format!(
            "addr add {POD_IP6}/128 dev eth0 nodad
             route add default via {NODE_IP6} dev eth0 onlink src {POD_IP6}
             neigh replace {NODE_IP6} lladdr {LXC_MAC} dev eth0 nud permanent
             "
        ))
    }

    /// Runs a line for a shell on the node; skips the scenario where its program is missing.
    pub fn on_node(&self, line: &str) -> Result<String> {
        let program = line.split_whitespace().next().context("an empty line")?;
        if Command::new(program).arg("--version").output().is_err() {
            return Err(Skip(format!("no `{program}` here")).into());
        }
        exec::output(self.node.command("/bin/sh")?.args(["-c", line]))
            .with_context(|| format!("in {}", self.node.name()))
    }

    /// How many packets the last rule has counted that `list` (a line for a shell that lists rules
    /// with counters) prints and that has this word.
    pub fn counted(&self, list: &str, word: &str) -> Result<u64> {
        let listed = self.on_node(list)?;
        let rule = listed.lines().rfind(|line| line.contains(word));
        let rule = rule.with_context(|| format!("no rule with {word}: {listed}"))?;
        packets(rule).with_context(|| format!("a rule without counter: {rule}"))
    }
}

/// The packets that a listed rule has counted: `-c 1 60`, or `counter packets 1 bytes 60`.
fn packets(rule: &str) -> Option<u64> {
    let mut words = rule.split_whitespace();
    words.find(|word| ["-c", "packets"].contains(word))?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::packets;

    #[test]
    fn counters_of_both_kinds_are_read() {
        assert_eq!(
            packets("-A FW -m mark --mark 0x8000/0x8000 -c 3 180 -j DROP"),
            Some(3)
        );
        assert_eq!(
            packets("  meta mark 0x8000 counter packets 12 bytes 9 drop"),
            Some(12)
        );
        assert_eq!(packets("-A FW -j DROP"), None);
    }
}
