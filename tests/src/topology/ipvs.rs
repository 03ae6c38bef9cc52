//! A director that balances connections with IPVS, two real servers behind it, a client before it.
//!
//! ```text
//!  client                       director                      server-a
//!  eno1 172.16.1.2/24 ───────── eno1 172.16.1.8/24 (VIP)
//!                               srv-a (no address) ────────── eth0 10.8.0.1/32, port 1001
//!                               srv-b (no address) ────────── eth0 10.8.0.2/32, port 1002
//!                                                             server-b
//! ```
//! IPVS masquerades: the real servers answer through the director, which is their default route.
//! Ports and addresses are those of the incident. Which rules and virtual services the director has
//! is up to the scenario. Link-layer addresses are static, so that no ARP packet is dropped next to
//! the packets a scenario is about.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::nat::{Rule, needs};
use crate::exec;
use crate::lab::Skip;
use crate::netns::Netns;

/// The client.
pub const CLIENT_IP: &str = "172.16.1.2";
/// The client's device.
pub const CLIENT_DEVICE: &str = "eno1";
/// The director, and the address of its virtual services.
pub const VIP: &str = "172.16.1.8";
/// The first real server.
pub const SERVER_A: (&str, u16) = ("10.8.0.1", 1001);
/// The second real server.
pub const SERVER_B: (&str, u16) = ("10.8.0.2", 1002);
/// The virtual service's port.
pub const SERVICE_PORT: u16 = 1000;
/// The sysctl that all this is about, below `/proc/sys`.
pub const CONNTRACK: &str = "net/ipv4/vs/conntrack";

/// Virtual services with both real servers: arguments for `ipvsadm`, one line each.
pub const SERVICES: &[&str] = &[
    "-A -t 172.16.1.8:1000 -s rr",
    "-a -t 172.16.1.8:1000 -r 10.8.0.1:1001 -m",
    "-a -t 172.16.1.8:1000 -r 10.8.0.2:1002 -m",
    "-A -u 172.16.1.8:1000 -s rr",
    "-a -u 172.16.1.8:1000 -r 10.8.0.1:1001 -m",
    "-a -u 172.16.1.8:1000 -r 10.8.0.2:1002 -m",
];

const DIRECTOR_IP: &str = "10.8.0.254";
const CLIENT_MAC: &str = "5a:16:01:00:00:02";
const DIRECTOR_MAC: &str = "5a:16:01:00:00:08";
const TABLE: &str = "/proc/net/ip_vs";
/// Those that `ipvsadm` loads for [`SERVICES`], dependent ones first.
const MODULES: &[&str] = &["ip_vs_rr", "ip_vs"];
/// How long a namespace that was just removed may hold them: the kernel takes it down later.
const UNUSED: Duration = Duration::from_secs(5);

/// The four namespaces.
#[derive(Debug)]
pub struct Ipvs {
    /// Who connects.
    pub client: Netns,
    /// Who balances.
    pub director: Netns,
    /// Who listens on [`SERVER_A`].
    pub server_a: Netns,
    /// Who listens on [`SERVER_B`].
    pub server_b: Netns,
}

/// What the director is told.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Its firewall rules.
    pub rules: &'static [Rule],
    /// Its virtual services, for `ipvsadm`.
    pub services: &'static [&'static str],
    /// `net.ipv4.vs.conntrack`.
    pub conntrack: bool,
}

/// A connection in the director's IPVS, as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Where the client's packets go: the service's address and port.
    pub service: (String, u16),
    /// Who got the connection.
    pub server: (String, u16),
    /// In how many seconds it is forgotten.
    pub expires: u64,
}

/// Makes sure that IPVS is there; a kernel without it is a skip.
pub fn load() -> Result<()> {
    needs("ipvsadm")?;
    if !is_loaded() {
        // Fails where there is no such module, which the next line finds out.
        let _ = exec::output(Command::new("modprobe").args(["-q", "ip_vs"]));
    }
    if is_loaded() {
        return Ok(());
    }
    Err(Skip("this kernel has no IPVS".to_owned()).into())
}

/// Whether IPVS is loaded.
pub fn is_loaded() -> bool {
    Path::new(TABLE).exists()
}

/// Unloads IPVS, so that it can be loaded while somebody watches; a skip where it is in use.
pub fn unload() -> Result<()> {
    let deadline = Instant::now() + UNUSED;
    for module in MODULES {
        while Path::new("/sys/module").join(module).exists() {
            match exec::output(Command::new("rmmod").arg(module)) {
                Err(error) if Instant::now() > deadline => {
                    return Err(Skip(format!("{module} cannot be unloaded: {error:#}")).into());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
                Ok(_) => {}
            }
        }
    }
    if is_loaded() {
        return Err(Skip("IPVS is built into this kernel".to_owned()).into());
    }
    Ok(())
}

impl Ipvs {
    /// Builds the network.
    pub fn build(config: &Config) -> Result<Self> {
        load()?;
        for rule in config.rules {
            rule.require()?;
        }
        let director = Netns::create("director")?;
        let client = Netns::create("client")?;
        let server_a = Netns::create("server-a")?;
        let server_b = Netns::create("server-b")?;
        let c = client.name();
        director.ip(&format!(
            "link add eno1 address {DIRECTOR_MAC} type veth peer name {CLIENT_DEVICE} address {CLIENT_MAC} netns {c}
             link set eno1 up
             addr add {VIP}/24 dev eno1
             addr add {DIRECTOR_IP}/32 dev lo
             neigh replace {CLIENT_IP} lladdr {CLIENT_MAC} dev eno1 nud permanent
             "
        ))?;
        client.ip(&format!(
            "link set {CLIENT_DEVICE} up
             addr add {CLIENT_IP}/24 dev {CLIENT_DEVICE}
             neigh replace {VIP} lladdr {DIRECTOR_MAC} dev {CLIENT_DEVICE} nud permanent
             "
        ))?;
        for (server, (address, _), device, number) in [
            (&server_a, SERVER_A, "srv-a", 1),
            (&server_b, SERVER_B, "srv-b", 2),
        ] {
            let near = format!("5a:0a:08:00:fe:{number:02x}");
            let far = format!("5a:0a:08:00:00:{number:02x}");
            let name = server.name();
            director.ip(&format!(
                "link add {device} address {near} type veth peer name eth0 address {far} netns {name}
                 link set {device} up
                 route add {address}/32 dev {device}
                 neigh replace {address} lladdr {far} dev {device} nud permanent
                 "
            ))?;
            server.ip(&format!(
                "link set eth0 up
                 addr add {address}/32 dev eth0
                 route add default via {DIRECTOR_IP} dev eth0 onlink src {address}
                 neigh replace {DIRECTOR_IP} lladdr {near} dev eth0 nud permanent
                 "
            ))?;
        }
        director.sysctl("net/ipv4/ip_forward", "1")?;
        let ipvs = Self {
            client,
            director,
            server_a,
            server_b,
        };
        ipvs.set_conntrack(config.conntrack)?;
        for service in config.services {
            ipvs.director.exec(&format!("ipvsadm {service}"))?;
        }
        for rule in config.rules {
            rule.add_to(&ipvs.director)?;
        }
        Ok(ipvs)
    }

    /// Sets `net.ipv4.vs.conntrack` on the director.
    pub fn set_conntrack(&self, on: bool) -> Result<()> {
        self.director.sysctl(CONNTRACK, if on { "1" } else { "0" })
    }

    /// `net.ipv4.vs.conntrack` on the director.
    pub fn conntrack(&self) -> Result<bool> {
        Ok(self.number(CONNTRACK)? != 0)
    }

    /// How many entries the director's conntrack has.
    pub fn conntrack_entries(&self) -> Result<u64> {
        self.number("net/netfilter/nf_conntrack_count")
    }

    /// How many it may have.
    pub fn conntrack_limit(&self) -> Result<u64> {
        self.number("net/netfilter/nf_conntrack_max")
    }

    fn number(&self, key: &str) -> Result<u64> {
        let path = Path::new("/proc/sys").join(key);
        let text = self.director.run(|| Ok(fs::read_to_string(path)?))?;
        Ok(text.trim().parse()?)
    }

    /// The director's connection with this client port, if IPVS knows one.
    pub fn connection(&self, client_port: u16) -> Result<Option<Connection>> {
        let path = "/proc/thread-self/net/ip_vs_conn";
        let text = self.director.run(|| Ok(fs::read_to_string(path)?))?;
        let mut found = text
            .lines()
            .skip(1)
            .filter(|line| port_of(line.split_whitespace().nth(2)) == Some(client_port));
        found.next().map(parse).transpose()
    }

    /// How many packets came to the client for which it has no socket: over TCP it answers each
    /// with a reset, over UDP with an ICMP message.
    pub fn strays(&self) -> Result<u64> {
        Ok(self.client.snmp("Tcp", "OutRsts")? + self.client.snmp("Udp", "NoPorts")?)
    }
}

/// One line of `ip_vs_conn`: protocol, client, service, server (address and port each), state,
/// seconds left.
fn parse(line: &str) -> Result<Connection> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let end = |at: usize| -> Option<(String, u16)> {
        let address = u32::from_str_radix(words.get(at)?, 16).ok()?;
        let port = port_of(words.get(at + 1).copied())?;
        Some((std::net::Ipv4Addr::from(address).to_string(), port))
    };
    let connection = || {
        Some(Connection {
            service: end(3)?,
            server: end(5)?,
            expires: words.get(8)?.parse().ok()?,
        })
    };
    connection().with_context(|| format!("unexpected line in ip_vs_conn: {line}"))
}

fn port_of(word: Option<&str>) -> Option<u16> {
    u16::from_str_radix(word?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_a_line_of_the_kernel() {
        let line = "TCP AC100102 B064 AC100108 03E8 0A080001 03E9 SYN_RECV         58           ";
        let connection = parse(line).expect("a connection");
        assert_eq!(connection.service, ("172.16.1.8".to_owned(), 1000));
        assert_eq!(connection.server, ("10.8.0.1".to_owned(), 1001));
        assert_eq!(connection.expires, 58);
        assert!(parse("TCP AC100102 B064").is_err());
    }
}
