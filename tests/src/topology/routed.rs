//! A router between two machines, for what routing and the check of sources decide.
//!
//! ```text
//!  client                  router                    world
//!  c0 10.91.1.2/24 ─────── r0 10.91.1.1/24
//!                          r1 10.92.1.1/24 ───────── w0 10.92.1.2/24
//! ```
//! Link-layer addresses are static, so that no ARP packet is dropped next to the packets a scenario is about (a
//! router that refuses a source does not answer its ARP requests either).

use anyhow::Result;

use crate::netns::Netns;

/// The router, as the client sees it.
pub const ROUTER_IP: &str = "10.91.1.1";
/// The client.
pub const CLIENT_IP: &str = "10.91.1.2";
/// The machine behind the router.
pub const WORLD_IP: &str = "10.92.1.2";

const ROUTER_MAC: &str = "0a:91:00:00:00:01";
const CLIENT_MAC: &str = "0a:91:00:00:00:02";

/// The three namespaces.
#[derive(Debug)]
pub struct Routed {
    /// A machine at `r0`.
    pub client: Netns,
    /// Where packets are dropped.
    pub router: Netns,
    /// Keeps the machine at `r1`.
    _world: Netns,
}

impl Routed {
    /// Builds the network; the lines are for `ip`, on the router and on the client.
    pub fn build(router_lines: &str, client_lines: &str) -> Result<Self> {
        let router = Netns::create("router")?;
        let client = Netns::create("client")?;
        let world = Netns::create("world")?;
        let (client_name, world_name) = (client.name(), world.name());
        router.sysctl("net/ipv4/ip_forward", "1")?;
        router.ip(&format!(
            "link add r0 address {ROUTER_MAC} type veth peer name c0 address {CLIENT_MAC} netns {client_name}
             link add r1 type veth peer name w0 netns {world_name}
             addr add {ROUTER_IP}/24 dev r0
             addr add 10.92.1.1/24 dev r1
             link set r0 up
             link set r1 up
             "
        ))?;
        client.ip(&format!(
            "addr add {CLIENT_IP}/24 dev c0
             link set c0 up
             route add default via {ROUTER_IP}
             neigh replace {ROUTER_IP} lladdr {ROUTER_MAC} dev c0 nud permanent
             {client_lines}
             "
        ))?;
        world.ip(&format!(
            "addr add {WORLD_IP}/24 dev w0
             link set w0 up
             route add default via 10.92.1.1
             "
        ))?;
        router.ip(router_lines)?;
        Ok(Self {
            client,
            router,
            _world: world,
        })
    }
}
