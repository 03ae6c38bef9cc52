//! `rp_filter` on a router: asymmetric paths, sources without a route, policy routing by mark, VRFs, local routes.
//!
//! Each fix that is printed as a command is applied to a network of its own, and then the same datagram arrives.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::CAUSE;
use crate::expect::Check;
use crate::fix;
use crate::lab::{Lab, Skip};
use crate::netns::Netns;
use crate::scenarios::{Kind, Scenario};
use crate::topology::routed::{ROUTER_IP, Routed};
use crate::tracer::Tracer;
use crate::traffic::flow::{PATIENCE, Tuple, datagram};

/// A refusal on the router and what must be said about it.
struct Path {
    /// `ip` lines for the router.
    router: &'static str,
    /// Its settings.
    sysctls: &'static [(&'static str, &'static str)],
    /// A rule of iptables on the router.
    iptables: Option<&'static str>,
    /// Whether the client has a second link to the router, with the source on it.
    second_link: bool,
    /// The client's source address.
    source: &'static str,
    kind: &'static str,
    /// One of them must be in the summary.
    words: &'static [&'static str],
    /// None of them may be anywhere.
    never: &'static [&'static str],
    /// The first commands of the fixes that have any, in their order, without what enters a namespace.
    commands: &'static [&'static str],
    /// What must be said to be unknown.
    unknown: Option<&'static str>,
}

const STRICT: &[(&str, &str)] = &[("net/ipv4/conf/r0/rp_filter", "1")];
const LOOSE: &[(&str, &str)] = &[("net/ipv4/conf/r0/rp_filter", "2")];

/// The client's machine has an address of the other subnet: it sends by a router, its answers would leave by `r1`.
const ASYMMETRIC: Path = Path {
    router: "route add default via 10.91.1.2\n",
    sysctls: STRICT,
    iptables: None,
    second_link: false,
    source: "10.92.1.50",
    kind: "strict_mismatch",
    words: &["asymmetric path"],
    never: &["did its job"],
    commands: &[
        "sysctl -w net.ipv4.conf.r0.rp_filter=2",
        "ip route replace 10.92.1.50/32 via 10.91.1.2 dev r0",
    ],
    unknown: None,
};

/// The client has the address on a second link to the router, and sends by the first.
const OWNER_ELSEWHERE: Path = Path {
    second_link: true,
    source: "10.93.1.50",
    words: &["whose own routes lead to the destination by c0: the path is asymmetric"],
    never: &["did its job", "Decide first"],
    commands: &[
        "sysctl -w net.ipv4.conf.r0.rp_filter=2",
        "ip route replace 10.93.1.50/32 via 10.91.1.2 dev r0",
    ],
    ..ASYMMETRIC
};

/// Nobody knows the way back to the source.
const NO_ROUTE: Path = Path {
    router: "",
    sysctls: LOOSE,
    source: "10.9.0.5",
    kind: "no_route",
    words: &["no route back to 10.9.0.5"],
    never: &[],
    commands: &[
        "ip route replace 10.9.0.5/32 via 10.91.1.2 dev r0",
        "sysctl -w net.ipv4.conf.r0.rp_filter=0",
    ],
    ..ASYMMETRIC
};

/// The way back is a route that refuses.
const BLACKHOLE: Path = Path {
    router: "route add blackhole 10.9.0.0/16\n",
    words: &["of type blackhole (10.9.0.0/16)"],
    ..NO_ROUTE
};

/// A tunnel as VPN programs set it up: all but marked packets go into it.
const MARKED: Path = Path {
    router: "route add default via 10.91.1.2
             route add default via 10.92.1.2 table 5182
             rule add not fwmark 0xca6c lookup 5182
             ",
    iptables: Some("-t mangle -A PREROUTING -i r0 -p udp -j MARK --set-mark 0xca6c"),
    source: "198.51.100.1",
    words: &["leaves by r1"],
    never: &["did its job", "forged source"],
    commands: &[
        "sysctl -w net.ipv4.conf.r0.src_valid_mark=1",
        "sysctl -w net.ipv4.conf.r0.rp_filter=2",
        "sysctl -w net.ipv4.conf.r0.rp_filter=0",
        "ip route replace 198.51.100.1/32 via 10.91.1.2 dev r0 table 5182",
    ],
    ..ASYMMETRIC
};

/// A subnet on `lo`: the kernel takes all of it for its own, but only asks for that with the filter on.
const LOCAL_SUBNET: Path = Path {
    router: "addr add 10.1.0.1/24 dev lo\n",
    source: "10.1.0.50",
    kind: "local_route",
    words: &["no address of this host"],
    never: &["whatever rp_filter says", "own address"],
    commands: &["sysctl -w net.ipv4.conf.r0.rp_filter=0"],
    ..ASYMMETRIC
};

/// The packet shows the VRF by the time it is refused, but the settings are the device's.
const VRF: Path = Path {
    router: "link add vrf1 type vrf table 10
             link set vrf1 up
             link set r0 master vrf1
             link add d0 type dummy
             link set d0 up
             route add 10.9.0.0/16 dev d0 table 10
             ",
    sysctls: &[
        ("net/ipv4/conf/r0/rp_filter", "1"),
        ("net/ipv4/udp_l3mdev_accept", "1"),
    ],
    source: "10.9.0.5",
    words: &["table of VRF vrf1 leaves by d0"],
    never: &["= 0 (loose)", "conf.vrf1", "no route back"],
    commands: &[
        "sysctl -w net.ipv4.conf.r0.rp_filter=2",
        "sysctl -w net.ipv4.conf.r0.rp_filter=0",
        "ip route replace 10.9.0.5/32 via 10.91.1.2 dev r0 table 10",
    ],
    ..ASYMMETRIC
};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "asymmetric_path",
        kind: Kind::Scenario,
        about: "a client of another subnet behind a router: asymmetric or forged, nobody can tell",
        run: |lab| play(lab, &ASYMMETRIC),
    },
    Scenario {
        name: "asymmetric_owner",
        kind: Kind::Scenario,
        about: "a machine here that has the address and sends by another link: asymmetric, not forged",
        run: |lab| play(lab, &OWNER_ELSEWHERE),
    },
    Scenario {
        name: "no_route_back",
        kind: Kind::Scenario,
        about: "no route to the source: the route comes first, with its gateway",
        run: |lab| play(lab, &NO_ROUTE),
    },
    Scenario {
        name: "blackhole_back",
        kind: Kind::Scenario,
        about: "the route to the source is a blackhole",
        run: |lab| play(lab, &BLACKHOLE),
    },
    Scenario {
        name: "fwmark_back",
        kind: Kind::Scenario,
        about: "policy routing by mark: src_valid_mark, and a route with table and gateway",
        run: |lab| play(lab, &MARKED),
    },
    Scenario {
        name: "local_subnet",
        kind: Kind::Scenario,
        about: "a source inside a subnet of lo, refused because the filter is on",
        run: |lab| play(lab, &LOCAL_SUBNET),
    },
    Scenario {
        name: "vrf_device",
        kind: Kind::Scenario,
        about: "strict (1) on the one device of a VRF",
        run: |lab| play(lab, &VRF),
    },
];

fn play(lab: &Lab, path: &Path) -> Result<()> {
    for (index, wanted) in path.commands.iter().enumerate() {
        let (net, tracer, verdict) = until_verdict(lab, path)?;
        check(&verdict, path)?;
        let fixes = verdict["fixes"].as_array().context("no fixes")?;
        // Those that bring a file are played with the incident.
        let commands = fixes
            .iter()
            .filter(|fix| fix::is_command(fix) && fix["file"].is_null());
        let commands: Vec<_> = commands.collect();
        ensure!(
            commands.len() == path.commands.len(),
            "{} fixes have commands, wanted {}: {}",
            commands.len(),
            path.commands.len(),
            verdict["fixes"]
        );
        let fix = commands[index];
        ensure!(
            fix["commands"][0] == *wanted,
            "the fix is {}, wanted {wanted}",
            fix["commands"]
        );
        fix::apply(fix, &tracer)?;
        ensure!(arrives(&net, path)?, "the fix does not help: {fix}");
        lab.finish_without_replay(tracer)?;
    }
    Ok(())
}

fn until_verdict(lab: &Lab, path: &Path) -> Result<(Routed, Tracer, Value)> {
    let client = match path.second_link {
        true => String::new(),
        false => format!("addr add {}/32 dev lo", path.source),
    };
    if path.router.contains("type vrf") {
        needs_vrf()?;
    }
    let net = Routed::build(path.router, &client)?;
    if path.second_link {
        let peer = net.client.name();
        net.router.ip(&format!(
            "link add r2 type veth peer name c2 netns {peer}
             addr add 10.93.1.1/24 dev r2
             link set r2 up
             "
        ))?;
        net.client.ip(&format!(
            "addr add {}/24 dev c2
             link set c2 up
             ",
            path.source
        ))?;
    }
    for (key, value) in path.sysctls {
        net.router.sysctl(key, value)?;
    }
    if let Some(rule) = path.iptables {
        iptables(&net.router, rule)?;
    }
    let tracer = lab.explain(Some(&net.router), &[])?;
    ensure!(
        !arrives(&net, path)?,
        "the network is wrong: the packet arrived"
    );
    let verdict = lab.verdict(&tracer, &tuple(path))?;
    Ok((net, tracer, verdict))
}

fn check(verdict: &Value, path: &Path) -> Result<()> {
    let mut check = Check::new(verdict);
    check.eq("/cause", CAUSE).eq("/facts/kind", path.kind);
    check.mentions("/summary", path.words);
    check.is("", "no claim that is false", |verdict| {
        let text = verdict.to_string();
        path.never.iter().all(|words| !text.contains(words))
    });
    check.eq("/facts/effective/device_key", "net.ipv4.conf.r0.rp_filter");
    if let Some(unknown) = path.unknown {
        check.mentions("/unknown", &[unknown]);
    }
    if path.kind == "no_route" {
        check.is("/fixes", "a warning with switching off", |fixes| {
            fixes.as_array().and_then(|f| f.last()).is_some_and(|fix| {
                fix["cost"]
                    .as_str()
                    .is_some_and(|cost| cost.contains("has no route either"))
            })
        });
    }
    check.done("verdict")
}

fn arrives(net: &Routed, path: &Path) -> Result<bool> {
    let sent = tuple(path);
    // In a VRF no socket outside can be bound to its addresses.
    let there = Tuple {
        dst: "0.0.0.0",
        ..sent
    };
    datagram(&net.client, &net.router, &sent, &there, PATIENCE)
}

fn tuple(path: &Path) -> Tuple {
    Tuple {
        proto: 17,
        src: path.source,
        dst: ROUTER_IP,
        sport: Some(40_010),
        dport: Some(7777),
    }
}

fn iptables(router: &Netns, rule: &str) -> Result<()> {
    match router.exec("iptables-legacy --version") {
        Ok(_) => router
            .exec(&format!("iptables-legacy -w {rule}"))
            .map(|_| ()),
        Err(_) => Err(Skip("no `iptables-legacy` here".into()).into()),
    }
}

fn needs_vrf() -> Result<()> {
    let netns = Netns::create("vrf")?;
    match netns.ip("link add vrf1 type vrf table 10\n") {
        Ok(()) => Ok(()),
        Err(_) => Err(Skip("no VRF here".into()).into()),
    }
}
