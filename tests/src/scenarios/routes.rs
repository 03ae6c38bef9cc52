//! Packets that the routing tables or the forwarding setting refuse, and multicast that nobody joined: each must be
//! named as what it is.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Kind, Scenario};
use crate::expect::Check;
use crate::lab::Lab;
use crate::topology::routed::{CLIENT_IP, ROUTER_IP, Routed, WORLD_IP};
use crate::traffic::flow::{PATIENCE, Tuple, send_datagram, udp};

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "decoy_blackhole",
        kind: Kind::Decoy,
        about: "a blackhole route",
        run: |lab| refused(lab, "10.60.1.1", "blackhole", Some("10.60.0.0/16")),
    },
    Scenario {
        name: "decoy_unreachable",
        kind: Kind::Decoy,
        about: "an unreachable route",
        run: |lab| refused(lab, "10.61.1.1", "unreachable", Some("10.61.0.0/16")),
    },
    Scenario {
        name: "decoy_prohibit",
        kind: Kind::Decoy,
        about: "a prohibit route of a table that only packets of the incoming device see",
        run: |lab| refused(lab, "10.62.1.1", "prohibit", Some("10.62.0.0/16")),
    },
    Scenario {
        name: "decoy_nowhere",
        kind: Kind::Decoy,
        about: "no route at all",
        run: |lab| refused(lab, "10.63.1.1", "none", None),
    },
    Scenario {
        name: "decoy_forwarding_off",
        kind: Kind::Decoy,
        about: "forwarding is off on the incoming device alone",
        run: forwarding_off,
    },
    Scenario {
        name: "decoy_not_joined",
        kind: Kind::Decoy,
        about: "a multicast group that nobody joined; joined, it arrives",
        run: not_joined,
    },
];

const ROUTES: &str = "route add blackhole 10.60.0.0/16
                      route add unreachable 10.61.0.0/16
                      route add prohibit 10.62.0.0/16 table 77
                      rule add iif r0 lookup 77 pref 100
                      ";
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 1, 1);

const fn to(dst: &'static str) -> Tuple {
    Tuple {
        proto: 17,
        src: CLIENT_IP,
        dst,
        sport: Some(40_011),
        dport: Some(7777),
    }
}

fn refused(lab: &Lab, dst: &'static str, kind: &str, prefix: Option<&'static str>) -> Result<()> {
    let net = Routed::build(ROUTES, "")?;
    let tracer = lab.explain(Some(&net.router), &[])?;
    send_datagram(&net.client, &to(dst))?;
    let verdict = lab.verdict(&tracer, &to(dst))?;
    let mut check = Check::new(&verdict);
    check
        .eq("/cause", Value::Null)
        .eq("/facts/martian", Value::Null)
        .eq("/facts/route/kind", kind);
    match prefix {
        Some(prefix) => {
            let words = [format!("{kind} route, {prefix}")];
            check.mentions("/summary", &words.each_ref().map(String::as_str));
            check.eq("/facts/route/prefix", prefix);
        }
        None => {
            check.mentions("/summary", &["no route to the destination"]);
        }
    }
    check.done("verdict")?;
    lab.finish(tracer)?;
    Ok(())
}

fn forwarding_off(lab: &Lab) -> Result<()> {
    let net = Routed::build(ROUTES, "")?;
    net.router.sysctl("net/ipv4/conf/r0/forwarding", "0")?;
    let tracer = lab.explain(Some(&net.router), &[])?;
    send_datagram(&net.client, &to(WORLD_IP))?;
    let verdict = lab.verdict(&tracer, &to(WORLD_IP))?;
    let mut check = Check::new(&verdict);
    check
        .eq("/cause", Value::Null)
        .eq("/facts/route/kind", "forwarding_off")
        .eq("/facts/route/key", "net.ipv4.conf.r0.forwarding");
    check.mentions("/summary", &["forwarding is off on r0"]);
    check.done("verdict")?;
    lab.finish(tracer)?;
    Ok(())
}

fn not_joined(lab: &Lab) -> Result<()> {
    let net = Routed::build("", "route add 239.0.0.0/8 dev c0")?;
    let tracer = lab.explain(Some(&net.router), &[])?;
    let tuple = to("239.1.1.1");
    send_datagram(&net.client, &tuple)?;
    let verdict = lab.verdict(&tracer, &tuple)?;
    let mut check = Check::new(&verdict);
    check
        .eq("/cause", Value::Null)
        .eq("/facts/martian", Value::Null)
        .eq("/facts/class", "normal")
        .eq("/facts/route/kind", "no_listener");
    check.mentions("/summary", &["joined the multicast group 239.1.1.1 on r0"]);
    check.done("verdict")?;
    let receiver: UdpSocket = udp(&net.router, "0.0.0.0", 7777)?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    receiver.join_multicast_v4(&GROUP, &ROUTER_IP.parse()?)?;
    send_datagram(&net.client, &tuple)?;
    ensure!(
        receiver.recv(&mut [0; 64]).is_ok(),
        "joined, and yet it did not arrive"
    );
    lab.finish(tracer)?;
    Ok(())
}
