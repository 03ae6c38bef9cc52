//! A case is an answer: as many cases as rules that dropped, in whatever namespace, each with its own count, which is that
//! of the rule's own counter.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Kind, Scenario};
use crate::exec;
use crate::expect::{self, Check};
use crate::lab::Lab;
use crate::netns::Netns;
use crate::topology::seed::{Config, NODE_IP, NODE_OUTSIDE_IP, OUTSIDE, POD_IP, Seed, WORLD_IP};
use crate::tracer::{Finished, SLOW};
use crate::traffic::flow::udp;

/// The scenarios of this file.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "decoy_three_rules_two_namespaces",
        kind: Kind::Decoy,
        about: "three rules in each of two namespaces, two clients: a case for each rule, with that rule's count",
        run: three_rules,
    },
    Scenario {
        name: "decoy_ports_apart",
        kind: Kind::Decoy,
        about: "closed ports: a case for each, with its own count",
        run: ports_apart,
    },
    Scenario {
        name: "rp_filter_many_devices",
        kind: Kind::Scenario,
        about: "one setting that refuses on many devices: one case that lists them",
        run: many_devices,
    },
];

const CLIENT: &str = "10.0.0.115";
const NODE_CLIENT: &str = "172.26.50.201";
const PORTS: [u16; 3] = [81, 82, 83];
const EACH: u64 = 3;

/// Two of them by port, one by address: what comes from the second client to the third port.
fn rules(netns: &Netns, client: &str) -> Result<()> {
    for rule in [
        "-p udp -m udp --dport 81 -j DROP".to_owned(),
        "-p udp -m udp --dport 82 -j DROP".to_owned(),
        format!("-s {client} -p udp -j DROP"),
    ] {
        netns.exec(&format!("iptables-legacy -w -A INPUT {rule}"))?;
    }
    Ok(())
}

fn send(from: &Netns, sources: [&'static str; 2], to: &'static str) -> Result<()> {
    for source in sources {
        let socket = udp(from, source, 0)?;
        for port in PORTS {
            for _ in 0..EACH {
                socket.send_to(b"x", (to, port))?;
            }
        }
    }
    Ok(())
}

/// What the rules of a namespace counted, by their text.
fn counters(netns: &Netns) -> Result<Vec<(String, u64)>> {
    let saved = netns.exec("iptables-legacy-save -c -t filter")?;
    let lines = saved.lines().filter_map(|line| {
        let (count, rule) = line.strip_prefix('[')?.split_once("] ")?;
        let packets = count.split(':').next()?.parse().ok()?;
        rule.starts_with("-A ").then(|| (rule.to_owned(), packets))
    });
    Ok(lines.collect())
}

fn three_rules(lab: &Lab) -> Result<()> {
    let seed = Seed::build(&Config::HEALTHY)?;
    seed.pod.ip(&format!("addr add {CLIENT}/32 dev eth0"))?;
    seed.node
        .ip(&format!("addr add {NODE_CLIENT}/24 dev {OUTSIDE}"))?;
    rules(&seed.node, CLIENT)?;
    rules(&seed.world, NODE_CLIENT)?;
    let tracer = lab.explain(Some(&seed.node), &[])?;
    send(&seed.pod, [POD_IP, CLIENT], NODE_IP)?;
    send(&seed.node, [NODE_OUTSIDE_IP, NODE_CLIENT], WORLD_IP)?;
    let of_rules = |line: &Value| {
        let rules = line["facts"]["netfilter"]["rules"].as_array();
        line["type"] == "verdict" && rules.is_some_and(|rules| rules.len() == 1)
    };
    tracer
        .wait_for(SLOW / 3, 6, of_rules)
        .context("not six cases of rules")?;
    let finished = lab.finish(tracer)?;
    for netns in [&seed.node, &seed.world] {
        for (rule, packets) in counters(netns)? {
            ensure!(packets > 0, "{rule} dropped nothing: the network is wrong");
            let case = case_of(&finished, netns, &rule)?;
            let mut check = Check::new(case);
            check.eq("/exact", packets);
            check.eq("/total", packets);
            check.done(&format!("the case of {rule}"))?;
        }
    }
    text_says_the_same(lab, &finished)
}

/// The summary's line of the one case whose verdict names this rule alone.
fn case_of<'a>(finished: &'a Finished, netns: &Netns, rule: &str) -> Result<&'a Value> {
    let verdicts = finished.verdicts();
    let mut ours = verdicts.iter().filter(|verdict| {
        let rules = verdict["facts"]["netfilter"]["rules"].as_array();
        let names = |rules: &Vec<Value>| rules.len() == 1 && rules[0]["text"] == rule;
        expect::netns(verdict)["inum"] == netns.inum() && rules.is_some_and(names)
    });
    let verdict = ours
        .next()
        .with_context(|| format!("no case of {rule} in {}", netns.name()))?;
    ensure!(ours.next().is_none(), "two cases of {rule}");
    let cases = finished.summary()?["cases"].as_array();
    cases
        .and_then(|cases| cases.iter().find(|case| case["case"] == verdict["case"]))
        .with_context(|| format!("{rule} is not in the summary"))
}

/// Every case of the summary, with its number, in the text of a replay.
fn text_says_the_same(lab: &Lab, finished: &Finished) -> Result<()> {
    let text = replayed(lab)?;
    for case in finished.summary()?["cases"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let (number, title) = (&case["case"], case["title"].as_str().unwrap_or_default());
        let cause = case["cause"].as_str().unwrap_or("drop");
        let wanted = format!("{cause}: {} {title}", case["total"]);
        let number = format!("  #{number} ");
        let found = text
            .lines()
            .any(|line| line.starts_with(&number) && line.contains(&wanted));
        ensure!(found, "the text has no line {number}… {wanted}:\n{text}");
    }
    Ok(())
}

/// The text of a replay.
fn replayed(lab: &Lab) -> Result<String> {
    let mut command = Command::new(lab.dropwatch());
    command.arg("replay").arg(lab.capture()).arg("--explain");
    exec::output(&mut command)
}

fn ports_apart(lab: &Lab) -> Result<()> {
    let seed = Seed::build(&Config::HEALTHY)?;
    let tracer = lab.explain(Some(&seed.node), &[])?;
    let socket = udp(&seed.pod, POD_IP, 0)?;
    let ports = [7001_u16, 7002, 7003];
    for (times, port) in (1..).zip(ports) {
        for _ in 0..times {
            socket.send_to(b"x", (NODE_IP, port))?;
        }
    }
    let verdict = |port: u16| {
        move |line: &Value| {
            line["type"] == "verdict"
                && line["drop"]["packet"]["dst"] == NODE_IP
                && line["drop"]["packet"]["dport"] == port
        }
    };
    for port in ports {
        tracer
            .wait(SLOW / 3, verdict(port))
            .with_context(|| format!("no case of port {port}"))?;
    }
    let finished = lab.finish(tracer)?;
    finished.must_not_blame(super::rp_filter::CAUSE, &seed.node)?;
    for (times, port) in (1_u64..).zip(ports) {
        let wanted = verdict(port);
        let verdicts = finished.verdicts();
        let found = verdicts.iter().find(|line| wanted(line));
        let number = &found.context("a verdict")?["case"];
        let cases = finished.summary()?["cases"].as_array();
        let case = cases.and_then(|cases| cases.iter().find(|case| case["case"] == *number));
        let mut check = Check::new(case.context("a case")?);
        check.eq("/exact", times);
        check.done(&format!("the case of port {port}"))?;
    }
    // A byte behind headers of 20 and 8: UDP takes IP's off before it looks for a socket.
    let length = format!("{NODE_IP}:{}, 29 bytes (9 in the buffer)", ports[0]);
    let text = replayed(lab)?;
    ensure!(text.contains(&length), "no {length} in:\n{text}");
    Ok(())
}

/// Devices next to each other, all refused by `all`.
fn many_devices(lab: &Lab) -> Result<()> {
    const DEVICES: u8 = 8;
    let seed = Seed::build(&Config {
        all: 1,
        ..Config::HEALTHY
    })?;
    let pod = seed.pod.name();
    for n in 0..DEVICES {
        // Answers to the pod's addresses leave by another device, as in the incident.
        seed.node.ip(&format!(
            "link add lxcm{n} type veth peer name em{n} netns {pod}\nlink set lxcm{n} up"
        ))?;
        seed.pod.ip(&format!(
            "link set em{n} up\naddr add 10.0.0.{}/32 dev em{n}\nroute replace {NODE_IP}/32 dev em{n}",
            130 + n
        ))?;
        seed.node
            .ip(&format!("link set lxcm{n} address 02:00:00:00:01:{n:02x}"))?;
        seed.pod.ip(&format!(
            "neigh replace {NODE_IP} lladdr 02:00:00:00:01:{n:02x} dev em{n} nud permanent"
        ))?;
    }
    // By which other device does not matter: the setting is the same.
    for n in DEVICES / 2..DEVICES {
        let other = (n + 1) % DEVICES;
        seed.node
            .ip(&format!("route add 10.0.0.{}/32 dev lxcm{other}", 130 + n))?;
    }
    let tracer = lab.explain(Some(&seed.node), &[])?;
    for n in 0..DEVICES {
        seed.pod
            .ip(&format!("route replace {NODE_IP}/32 dev em{n}"))?;
        let source: &'static str = SOURCES[usize::from(n)];
        let socket = udp(&seed.pod, source, 0)?;
        socket.send_to(b"x", (NODE_IP, 7000))?;
    }
    tracer
        .wait(SLOW / 3, |line| {
            line["type"] == "verdict" && line["cause"] == super::rp_filter::CAUSE
        })
        .context("nothing was refused by the filter")?;
    let finished = lab.finish(tracer)?;
    let cases = finished.summary()?["cases"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let ours: Vec<&Value> = cases
        .iter()
        .filter(|case| case["cause"] == super::rp_filter::CAUSE)
        .collect();
    ensure!(ours.len() == 1, "not one case but {}: {ours:?}", ours.len());
    let mut check = Check::new(ours[0]);
    check.eq("/total", DEVICES);
    check.is("/devices", &format!("{DEVICES} devices"), |devices| {
        devices
            .as_array()
            .is_some_and(|list| list.len() == usize::from(DEVICES))
    });
    check.done("the case")
}

const SOURCES: [&str; 8] = [
    "10.0.0.130",
    "10.0.0.131",
    "10.0.0.132",
    "10.0.0.133",
    "10.0.0.134",
    "10.0.0.135",
    "10.0.0.136",
    "10.0.0.137",
];
