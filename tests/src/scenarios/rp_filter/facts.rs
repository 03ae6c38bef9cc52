//! Every fact that an `rp_filter` verdict must show.

use anyhow::Result;
use serde_json::Value;

use super::CAUSE;
use super::case::{Case, Key, SetBy};
use crate::expect::{Check, packet_differences};
use crate::topology::files::UDEV_FILE;
use crate::topology::seed::{CILIUM_HOST, LXC, LXC_IP, NODE_IP, POD_COMM, Seed};
use crate::traffic::flow::Flow;

/// Every fact that `docs/events.md` lists for this cause.
pub fn check_facts(check: &mut Check<'_>, seed: &Seed, case: &Case) -> Result<()> {
    let lxc = seed.node.ifindex(LXC)?;
    check.eq("/cause", CAUSE);
    for pointer in ["/title", "/summary"] {
        check.is(pointer, "a text", |text| {
            text.as_str().is_some_and(|text| !text.is_empty())
        });
    }
    check.mentions("/summary", &[LXC]);
    check.eq("/drop/netns/inum", seed.node.inum());
    check.eq("/drop/dev/name", LXC).eq("/drop/dev/ifindex", lxc);
    check.is("/drop/packet", "the packet sent", |packet| {
        packet_differences(packet, &case.flow.tuple()).is_empty()
    });
    if case.flow == Flow::Probe {
        check.eq("/drop/packet/tcp_flags", "SYN,ACK");
    }
    if case.flow == Flow::EchoToNode {
        check
            .eq("/drop/packet/icmp_type", 8)
            .eq("/drop/packet/icmp_code", 0);
    }

    check
        .eq("/facts/kind", case.kind)
        .eq("/facts/spoof_suspected", false);
    check.eq("/facts/path", case.path);
    let config = &case.config;
    let (all_key, device_key) = (key("all"), key(LXC));
    check.eq("/facts/effective/value", config.all.max(config.device));
    check
        .eq("/facts/effective/all", config.all)
        .eq("/facts/effective/device", config.device);
    check.eq("/facts/effective/device_key", device_key.as_str());
    match case.key {
        Key::All => check.eq("/facts/effective/winning_key", all_key),
        Key::Device => check.eq("/facts/effective/winning_key", device_key),
        Key::Tie => check.eq("/facts/effective/winning_key", "both"),
    };

    check
        .eq("/facts/device/name", LXC)
        .eq("/facts/device/ifindex", lxc);
    check.eq("/facts/device/kind", "veth");
    let addresses = if config.lxc_address {
        vec![format!("{LXC_IP}/32")]
    } else {
        vec![]
    };
    check.eq("/facts/device/ipv4", addresses);
    check.eq("/facts/device/has_ipv4", config.lxc_address);
    check
        .eq("/facts/peer/name", "eth0")
        .eq("/facts/peer/ifindex", seed.pod.ifindex("eth0")?);
    check.eq("/facts/peer/netns/inum", seed.pod.inum());
    check.eq("/facts/peer/netns/name", seed.pod.name());
    check.has("/facts/peer/processes", "the pod's process", |process| {
        process["pid"] == seed.coredns.pid() && process["comm"] == POD_COMM
    });
    check.eq("/facts/peer/pod", Value::Null);
    check_route(check, case);
    check_files(check, case);
    check.eq("/facts/written_by", Value::Null);
    check.has("/evidence", "a line about the value in effect", |line| {
        line["text"]
            .as_str()
            .is_some_and(|text| text.contains("rp_filter"))
    });
    check.is(
        "/evidence",
        "lines with label, text and a known source",
        |evidence| {
            evidence
                .as_array()
                .is_some_and(|lines| lines.iter().all(is_evidence))
        },
    );
    Ok(())
}

fn check_route(check: &mut Check<'_>, case: &Case) {
    if !case.reverse_route {
        check.eq("/facts/reverse_route", Value::Null);
        return;
    }
    check.eq("/facts/reverse_route/dev", CILIUM_HOST);
    check.any("/facts/reverse_route/table", &["main".into(), 254.into()]);
    check.eq("/facts/reverse_route/prefix", "10.0.0.0/24");
    // The route names the node's own address as gateway, and a look-up then gives none.
    check.any(
        "/facts/reverse_route/gateway",
        &[NODE_IP.into(), Value::Null],
    );
    check.eq("/facts/reverse_route/source", NODE_IP);
    check.any(
        "/facts/reverse_route/from",
        &["kernel".into(), "config".into()],
    );
}

fn check_files(check: &mut Check<'_>, case: &Case) {
    if case.set_by.is_empty() {
        check.any("/facts/set_by", &[Value::Array(vec![]), Value::Null]);
    }
    for wanted in case.set_by {
        check.has("/facts/set_by", &format!("{wanted:?}"), |set| {
            is_set_by(set, wanted)
        });
    }
    if let Some(line) = case.udev {
        check
            .eq("/facts/udev/file", UDEV_FILE)
            .eq("/facts/udev/line", line);
        check.mentions("/facts/udev/text", &["systemd-sysctl"]);
    } else {
        check.eq("/facts/udev", Value::Null);
    }
}

fn is_set_by(set: &Value, wanted: &SetBy) -> bool {
    set["key"] == key(wanted.conf)
        && set["value"] == wanted.value
        && set["file"] == wanted.file
        && set["line"] == wanted.line
        && set["via"] == wanted.via
        && set["text"]
            .as_str()
            .is_some_and(|text| text.contains("rp_filter"))
}

fn is_evidence(line: &Value) -> bool {
    line["label"].is_string()
        && line["text"].is_string()
        && ["kernel", "config", "file", "advice"]
            .iter()
            .any(|source| line["source"] == *source)
}

/// The dotted key of a configuration's `rp_filter`.
pub fn key(conf: &str) -> String {
    format!("net.ipv4.conf.{conf}.rp_filter")
}
