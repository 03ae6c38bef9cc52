//! Hints with the values at hand: what the tables leave open is filled in from the packet.
//!
//! In a command (a text in backquotes) `{dev}` and the like stand for values; `{dev|any}` says what to write
//! where the value is not known, and `[ mark {mark}]` is left out then (`[[` is a bracket). A command whose
//! values are not known is not printed at all, so that what is printed can be pasted. Commands that look at a
//! network namespace are run in the packet's.

use crate::{
    causes::shell,
    facts::Netns,
    model::{anchor::Drop, packet::Packet, proto::Proto},
};

/// Programs that show the network namespace that they run in.
const OF_NETNS: &[&str] = &[
    "arping",
    "bridge",
    "conntrack",
    "ethtool",
    "ip",
    "iptables-save",
    "ip6tables-save",
    "ipvsadm",
    "iw",
    "nft",
    "nstat",
    "ss",
    "tc",
    "tcpdump",
    "tracepath",
    "traceroute",
    "wg",
];

/// Settings of the whole machine although their names begin like those of a namespace; some can only be seen
/// from the first one (net/core/sysctl_net_core.c, net/core/neighbour.c, 5.10 to 7.2).
const OF_MACHINE: &[&str] = &["net.core.", "gc_thresh"];

/// The values that a hint may name. Strings are as the kernel shows them, not quoted.
#[derive(Clone, Debug, Default)]
pub struct Values<'a> {
    /// Where the commands are to look; `None` while that is not known.
    pub netns: Option<&'a Netns>,
    /// Device of the packet.
    pub dev: Option<&'a str>,
    /// Device that it came in by; `None` for what was made here, or where only its index is known.
    pub iif: Option<&'a str>,
    /// Packet mark; 0 = none.
    pub mark: u32,
    /// Headers.
    pub packet: Option<&'a Packet>,
}

impl<'a> Values<'a> {
    /// The values of a drop.
    #[must_use]
    pub fn of(drop: &'a Drop, netns: Option<&'a Netns>) -> Self {
        let dev = drop.dev.as_ref();
        Self {
            netns,
            dev: dev.map(|d| d.name.as_str()),
            iif: dev
                .filter(|d| d.ifindex == drop.iif)
                .map(|d| d.name.as_str()),
            mark: drop.mark,
            packet: drop.packet.as_ref(),
        }
    }

    fn get(&self, name: &str) -> Option<String> {
        let packet = self.packet;
        match name {
            "dev" => self.dev.map(str::to_owned),
            "iif" => self.iif.map(str::to_owned),
            "mark" => (self.mark != 0).then(|| format!("{:#x}", self.mark)),
            "src" => packet.map(|p| p.src.to_string()),
            "dst" => packet.map(|p| p.dst.to_string()),
            "sport" => packet?.sport.map(|port| port.to_string()),
            "dport" => packet?.dport.map(|port| port.to_string()),
            "ip" => packet.map(|p| if p.l3 == 6 { "ipv6" } else { "ipv4" }.to_owned()),
            "six" => packet.filter(|p| p.l3 == 6).map(|_| "-6".to_owned()),
            "proto" => packet.map(|packet| packet.proto.0.to_string()),
            // Of which the kernel takes ports in a look-up (net/ipv4/fib_frontend.c, rtm_getroute_parse_ip_proto).
            "with_ports" => match packet?.proto {
                Proto::TCP => Some("tcp".to_owned()),
                Proto::UDP => Some("udp".to_owned()),
                _ => None,
            },
            _ => None,
        }
    }

    /// The command with its values; `Err` names the one that is not known.
    fn command<'t>(&self, template: &'t str) -> Result<String, &'t str> {
        let mut done = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '[']) {
            done += &rest[..at];
            let (mark, after) = rest[at..].split_at(1);
            if mark == "[" {
                if let Some(literal) = after.strip_prefix('[') {
                    done.push('[');
                    rest = literal;
                    continue;
                }
                let (inner, behind) = after.split_once(']').unwrap_or((after, ""));
                if let Ok(inner) = self.command(inner) {
                    done += &inner;
                }
                rest = behind;
                continue;
            }
            let (name, behind) = after.split_once('}').unwrap_or((after, ""));
            let (name, otherwise) = match name.split_once('|') {
                Some((name, otherwise)) => (name, Some(otherwise)),
                None => (name, None),
            };
            match (self.get(name), otherwise) {
                // A dot in a device's name would be taken for a separator of the key.
                (Some(value), _) if done.ends_with('.') => {
                    done += &shell::quoted(&value.replace('.', "/"));
                }
                (Some(value), _) => done += &shell::quoted(&value),
                (None, Some(otherwise)) => done += otherwise,
                (None, None) => return Err(name),
            }
            rest = behind;
        }
        Ok(done + rest)
    }

    /// The command as it is run from the tracer's namespace, and whether there is no way to do so.
    fn placed(&self, command: String) -> (String, bool) {
        if !looks_at_netns(&command) {
            return (command, false);
        }
        match self.netns {
            Some(netns) if netns.own || netns.path.is_some() => {
                (shell::inside(Some(netns), &command), false)
            }
            _ => (command, true),
        }
    }
}

/// Whether a command shows the network namespace that it is run in.
fn looks_at_netns(command: &str) -> bool {
    let mut words = command.split(' ');
    let first = words.next().unwrap_or_default();
    let second = words.next().unwrap_or_default();
    match first {
        "sysctl" => {
            command.contains(" net.") && !OF_MACHINE.iter().any(|key| command.contains(key))
        }
        // Counters of the machine's CPUs lie there too.
        "cat" => second.starts_with("/proc/net/") && !second.ends_with("softnet_stat"),
        "bpftool" => second == "net",
        _ => OF_NETNS.contains(&first),
    }
}

/// A text with its commands ready to paste.
#[must_use]
pub fn fill(text: &str, values: &Values<'_>) -> String {
    let mut done = String::new();
    let mut no_way_in = false;
    for (at, piece) in text.split('`').enumerate() {
        if at % 2 == 0 {
            done += piece;
            continue;
        }
        match values.command(piece) {
            Ok(command) => {
                let (command, outside) = values.placed(command);
                done += &format!("`{command}`");
                no_way_in |= outside;
            }
            Err(name) => {
                done += &format!("(no command: the {} is not known)", meaning(name));
            }
        }
    }
    if no_way_in {
        done += " (in the packet's network namespace, for which there is no path known)";
    }
    done
}

/// A value's name in words.
fn meaning(name: &str) -> &'static str {
    match name {
        "dev" => "device",
        "iif" => "device that it came in by",
        "mark" => "mark",
        "src" => "source",
        "dst" => "destination",
        "sport" => "source port",
        "dport" => "destination port",
        "proto" => "protocol's number",
        _ => "packet",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Packet {
        Packet {
            l3: 4,
            proto: Proto(47),
            src: [10, 81, 1, 2].into(),
            dst: [10, 99, 2, 2].into(),
            sport: None,
            dport: None,
            tcp_flags: None,
            tcp_seq: None,
            icmp_type: None,
            icmp_code: None,
            ttl: 64,
            id: None,
        }
    }

    const ROUTE: &str = "`ip route get {dst}[ from {src} iif {iif}][ mark {mark}][ ipproto {with_ports} sport {sport} dport {dport}]`.";

    #[test]
    fn a_hint_is_ready_to_paste() {
        let (packet, own) = (
            packet(),
            Netns {
                own: true,
                ..Netns::default()
            },
        );
        let mut values = Values {
            netns: Some(&own),
            dev: Some("rc"),
            iif: Some("rc"),
            mark: 1,
            packet: Some(&packet),
        };
        let expected = "ip route get 10.99.2.2 from 10.81.1.2 iif rc mark 0x1";
        assert_eq!(fill(ROUTE, &values), format!("`{expected}`."));
        let named = Netns {
            name: Some("tr".into()),
            path: Some("/run/netns/tr".into()),
            ..Netns::default()
        };
        values.netns = Some(&named);
        assert_eq!(
            fill(ROUTE, &values),
            format!("`ip netns exec tr {expected}`.")
        );
        let unnamed = Netns {
            path: Some("/proc/7/ns/net".into()),
            ..Netns::default()
        };
        values.netns = Some(&unnamed);
        assert_eq!(
            fill(ROUTE, &values),
            format!("`nsenter --net=/proc/7/ns/net {expected}`.")
        );
        values.netns = None;
        assert!(fill(ROUTE, &values).ends_with("no path known)"));
        // Policy rules may ask for ports, so the look-up must have them; it takes none of other protocols.
        values.netns = Some(&own);
        let with_ports = |proto: &str| Packet {
            proto: proto.parse().expect("a protocol"),
            sport: Some(4000),
            dport: Some(53),
            ..packet.clone()
        };
        let (udp, sctp) = (with_ports("UDP"), with_ports("SCTP"));
        values.packet = Some(&udp);
        assert_eq!(
            fill(ROUTE, &values),
            format!("`{expected} ipproto udp sport 4000 dport 53`.")
        );
        values.packet = Some(&sctp);
        assert_eq!(fill(ROUTE, &values), format!("`{expected}`."));
        values.netns = None;
        values.packet = Some(&packet);
        assert_eq!(fill("`dmesg | tail`", &values), "`dmesg | tail`");
        assert_eq!(fill("`x 'proto {proto}'`", &values), "`x 'proto 47'`");
    }

    #[test]
    fn what_is_not_known_leaves_no_hole() {
        let own = Netns {
            own: true,
            ..Netns::default()
        };
        let values = Values {
            netns: Some(&own),
            ..Values::default()
        };
        assert_eq!(
            fill(
                "see `ethtool -k {dev}` and `ip link show[ {dev}]`.",
                &values
            ),
            "see (no command: the device is not known) and `ip link show`."
        );
        assert_eq!(
            fill("`tcpdump -i {dev|any} 'tcp[[13] & 4 != 0'`", &values),
            "`tcpdump -i any 'tcp[13] & 4 != 0'`"
        );
    }

    #[test]
    fn keys_and_the_shell_read_a_device_as_it_is_named() {
        let own = Netns {
            own: true,
            ..Netns::default()
        };
        let values = Values {
            netns: Some(&own),
            dev: Some("eth0.7"),
            ..Values::default()
        };
        assert_eq!(
            fill(
                "`sysctl net.ipv4.conf.{dev|all}.forwarding` `ip link show[ {dev}]`",
                &values
            ),
            "`sysctl net.ipv4.conf.eth0/7.forwarding` `ip link show eth0.7`"
        );
        let odd = Values {
            dev: Some("a;b"),
            ..values
        };
        assert_eq!(fill("`ip link show {dev}`", &odd), "`ip link show 'a;b'`");
    }
}
