//! The network of the incident: a node, a pod behind an `lxc…` device, and the world outside.
//!
//! ```text
//!  pod                          node                             world
//!  eth0 10.0.0.113/32 ───────── lxc3c160d6c7aa0 (no address)
//!  cilium_net (no address) ──── cilium_host 10.0.0.253/32
//!                               eno1 172.26.50.200/24 ────────── eno1 172.26.50.1/24
//! ```
//! The node's route to the pods is `10.0.0.0/24 via 10.0.0.253 dev cilium_host`. That gateway is the
//! node's own address, so the kernel does not use it as one. Cilium's BPF
//! programs would redirect what leaves there into the pod; here the far end of `cilium_host` lies
//! in the pod's namespace, which has the same effect: packets to the pod leave by `cilium_host`,
//! packets from it come in on `lxc…`. Link-layer addresses are static, so that no ARP packet is
//! dropped next to the packets a scenario is about.

use anyhow::Result;

use crate::helper::Helper;
use crate::netns::Netns;

/// The node's end of the pod's veth, as long as a name may be.
pub const LXC: &str = "lxc3c160d6c7aa0";
/// The node's end of the pair that carries traffic to pods.
pub const CILIUM_HOST: &str = "cilium_host";
/// The node's outside device.
pub const OUTSIDE: &str = "eno1";
/// The pod.
pub const POD_IP: &str = "10.0.0.113";
/// The node, as pods see it.
pub const NODE_IP: &str = "10.0.0.253";
/// The node, as the world sees it.
pub const NODE_OUTSIDE_IP: &str = "172.26.50.200";
/// A machine outside.
pub const WORLD_IP: &str = "172.26.50.1";
/// An address of the pod that the node has no route to (when there is no default route).
pub const LOST_IP: &str = "203.0.113.7";
/// The address given to the `lxc…` device by scenarios that want one.
pub const LXC_IP: &str = "169.254.77.1";
/// The pod's process.
pub const POD_COMM: &str = "coredns";
/// Where it answers health probes.
pub const POD_PORT: u16 = 8181;

const LXC_MAC: &str = "8a:95:96:c7:1f:85";
const POD_MAC: &str = "0a:50:d2:29:32:ba";
const HOST_MAC: &str = "32:a7:e5:1c:b8:a5";
const NET_MAC: &str = "32:a7:e5:1c:b8:a6";

/// What differs between scenarios. The default is a healthy node: 0 everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// `net.ipv4.conf.all.rp_filter`
    pub all: u8,
    /// `net.ipv4.conf.lxc….rp_filter`
    pub device: u8,
    /// `net.ipv4.conf.eno1.rp_filter`
    pub outside: u8,
    /// Whether the `lxc…` device has [`LXC_IP`].
    pub lxc_address: bool,
    /// Whether the node has a default route (by [`OUTSIDE`]).
    pub default_route: bool,
    /// Whether the node has a route to the pod by its own device.
    pub endpoint_route: bool,
}

impl Config {
    /// A healthy node.
    pub const HEALTHY: Self = Self {
        all: 0,
        device: 0,
        outside: 0,
        lxc_address: false,
        default_route: true,
        endpoint_route: false,
    };
}

/// The three namespaces and the pod's process.
#[derive(Debug)]
pub struct Seed {
    // Declared before the namespaces: processes end first.
    /// The process in the pod.
    pub coredns: Helper,
    /// The namespace that plays the host.
    pub node: Netns,
    /// The pod.
    pub pod: Netns,
    /// A machine outside.
    pub world: Netns,
}

impl Seed {
    /// Builds the network.
    pub fn build(config: &Config) -> Result<Self> {
        let node = Netns::create("node")?;
        let pod = Netns::create("pod")?;
        let world = Netns::create("world")?;
        let (pod_name, world_name) = (pod.name(), world.name());
        node.ip(&format!(
            "link add {LXC} address {LXC_MAC} type veth peer name eth0 address {POD_MAC} netns {pod_name}
             link add {CILIUM_HOST} address {HOST_MAC} type veth peer name cilium_net address {NET_MAC} netns {pod_name}
             link add {OUTSIDE} type veth peer name {OUTSIDE} netns {world_name}
             link set {LXC} up
             link set {CILIUM_HOST} up
             link set {OUTSIDE} up
             addr add {NODE_IP}/32 dev {CILIUM_HOST} scope link
             addr add {NODE_OUTSIDE_IP}/24 dev {OUTSIDE}
             route add {NODE_IP}/32 dev {CILIUM_HOST} scope link
             route add 10.0.0.0/24 via {NODE_IP} dev {CILIUM_HOST} src {NODE_IP}
             neigh replace {POD_IP} lladdr {NET_MAC} dev {CILIUM_HOST} nud permanent
             neigh replace {POD_IP} lladdr {POD_MAC} dev {LXC} nud permanent
             neigh replace {LOST_IP} lladdr {POD_MAC} dev {LXC} nud permanent
             "
        ))?;
        pod.ip(&format!(
            "link set eth0 up
             link set cilium_net up
             addr add {POD_IP}/32 dev eth0
             addr add {LOST_IP}/32 dev lo
             route add default via {NODE_IP} dev eth0 onlink src {POD_IP}
             neigh replace {NODE_IP} lladdr {LXC_MAC} dev eth0 nud permanent
             "
        ))?;
        world.ip(&format!(
            "link set {OUTSIDE} up
             addr add {WORLD_IP}/24 dev {OUTSIDE}
             route add 10.0.0.0/24 via {NODE_OUTSIDE_IP}
             "
        ))?;
        if config.lxc_address {
            node.ip(&format!("addr add {LXC_IP}/32 dev {LXC}\n"))?;
        }
        if config.default_route {
            node.ip(&format!("route add default via {WORLD_IP} dev {OUTSIDE}\n"))?;
        }
        if config.endpoint_route {
            node.ip(&format!("route add {POD_IP}/32 dev {LXC}\n"))?;
        }
        node.sysctl("net/ipv4/ip_forward", "1")?;
        let coredns = Helper::pod(&pod, POD_COMM, POD_PORT)?;
        let seed = Self {
            coredns,
            node,
            pod,
            world,
        };
        seed.set_rp_filter("all", config.all)?;
        // What a distribution's file sets for `all` it sets for `default` too.
        seed.set_rp_filter("default", config.all)?;
        seed.set_rp_filter(LXC, config.device)?;
        seed.set_rp_filter(OUTSIDE, config.outside)?;
        Ok(seed)
    }

    /// Sets `net.ipv4.conf.CONF.rp_filter` on the node.
    pub fn set_rp_filter(&self, conf: &str, value: u8) -> Result<()> {
        self.node.sysctl(
            &format!("net/ipv4/conf/{conf}/rp_filter"),
            &value.to_string(),
        )
    }

    /// How many packets the node's kernel says its reverse-path filter refused.
    pub fn refused(&self) -> Result<u64> {
        self.node.netstat("TcpExt", "IPReversePathFilter")
    }
}
