//! Every fact that an `ipvs_conntrack` verdict must show.

use anyhow::Result;
use serde_json::Value;

use super::CAUSE;
use super::case::{Case, Seat};
use crate::expect::Check;
use crate::topology::ipvs::{CLIENT_IP, Connection, Ipvs, SERVICE_PORT, VIP};
use crate::traffic::nat::Proto;

/// The forwarding method in IPVS's connection flags; masquerading is 0.
const METHOD: u64 = 7;
/// IPVS's flag of a connection that keeps its conntrack entry.
const KEEPS_CONNTRACK: u64 = 0x10000;

/// The rule that must be named.
#[derive(Clone, Copy, Debug)]
pub struct WantedRule {
    /// `iptables-legacy`, `iptables-nft` or `nft`.
    pub backend: &'static str,
    /// The table, in the ways it may be written.
    pub tables: &'static [&'static str],
    /// The chain.
    pub chain: &'static str,
    /// What it does, in any case.
    pub action: &'static str,
    /// What the rule's text must contain, all of it.
    pub words: &'static [&'static str],
    /// Where it sends packets: this at the end of the text.
    pub to: &'static str,
    /// Whether rules of this back end have handles.
    pub handle: bool,
}

/// A connection that was answered wrongly.
#[derive(Clone, Debug)]
pub struct Wrong {
    /// The director's network namespace.
    pub director: u64,
    /// The client's.
    pub client: u64,
    /// The client's port.
    pub port: u16,
    /// IPVS's connection for it.
    pub connection: Connection,
    /// `net.ipv4.vs.conntrack` when the verdict was made.
    pub conntrack: bool,
    /// Whether IPVS's connection is older than that setting.
    pub older: bool,
    /// Whether the tracer may see what the client drops.
    pub client_seen: bool,
}

/// Every fact that `docs/events.md` lists for this cause.
pub fn check_facts(check: &mut Check<'_>, case: &Case, wrong: &Wrong) {
    check.eq("/cause", CAUSE).eq("/drop", Value::Null);
    for pointer in ["/title", "/summary"] {
        check.is(pointer, "a text", |text| {
            text.as_str().is_some_and(|text| !text.is_empty())
        });
    }
    check
        .mentions("/summary", &[&case.asked.to_string()])
        .mentions("/summary", &[&SERVICE_PORT.to_string()])
        .mentions("/evidence", &["net.ipv4.vs.conntrack"])
        .mentions("/evidence", &[&wrong.connection.server.0]);
    check_anomaly(check, case, wrong);
    check_connection(check, case, wrong);
    check_rule(check, &case.rule);
    check_client(check, case, wrong);
}

fn check_anomaly(check: &mut Check<'_>, case: &Case, wrong: &Wrong) {
    check
        .eq("/anomaly/kind", "ipvs_reply")
        .eq("/anomaly/netns/inum", wrong.director)
        .eq("/anomaly/af", 4)
        .eq("/anomaly/fwmark", 0)
        .eq("/anomaly/hook", case.hook())
        .is("/anomaly/cpu", "a number", Value::is_u64)
        .is("/anomaly/time", "a time", Value::is_string);
    check_ends(check, "/anomaly", case, wrong);
}

/// Who talked to whom, which the anomaly and the facts both say.
fn check_ends(check: &mut Check<'_>, under: &str, case: &Case, wrong: &Wrong) {
    let name = match case.proto {
        Proto::Udp => "UDP",
        Proto::Tcp => "TCP",
    };
    check.eq(&format!("{under}/proto"), name);
    let (server, server_port) = &wrong.connection.server;
    for (end, address, port) in [
        ("client", CLIENT_IP, wrong.port),
        ("asked", VIP, case.asked),
        ("service", VIP, SERVICE_PORT),
        ("real_server", server.as_str(), *server_port),
    ] {
        check
            .eq(&format!("{under}/{end}/addr"), address)
            .eq(&format!("{under}/{end}/port"), port);
    }
    check.is(
        &format!("{under}/flags"),
        "flags of masquerading that lets the conntrack entry go",
        |flags| {
            flags
                .as_u64()
                .is_some_and(|flags| flags & (METHOD | KEEPS_CONNTRACK) == 0)
        },
    );
}

fn check_connection(check: &mut Check<'_>, case: &Case, wrong: &Wrong) {
    check_ends(check, "/facts", case, wrong);
    let flags = check.at("/anomaly/flags").clone();
    check
        .eq("/facts/kind", "wrong_source")
        .eq("/facts/answered/addr", VIP)
        .eq("/facts/answered/port", SERVICE_PORT)
        .any("/facts/service/fwmark", &[0.into(), Value::Null])
        .eq("/facts/service/scheduler", "rr")
        .has("/facts/flag_names", "`masq`", |name| name == "masq")
        .eq("/facts/flags", flags)
        .eq("/facts/vs_conntrack", u8::from(wrong.conntrack))
        .eq("/facts/older_entry", wrong.older);
    // The kernel was asked later, so it has no more time left than the verdict says.
    let (least, most) = (wrong.connection.expires.saturating_sub(1), 300);
    let wanted = format!("seconds, {least} to {most}, or nothing");
    check.is("/facts/expires_s", &wanted, |found| {
        let in_range = |left: f64| (least as f64..=f64::from(most)).contains(&left);
        found
            .as_f64()
            .map_or(found.is_null() && !wrong.older, in_range)
    });
}

fn check_rule(check: &mut Check<'_>, rule: &WantedRule) {
    let tables: Vec<Value> = rule.tables.iter().map(|table| (*table).into()).collect();
    check
        .eq("/facts/rule/backend", rule.backend)
        .any("/facts/rule/table", &tables)
        .eq("/facts/rule/chain", rule.chain)
        .is("/facts/rule/action", rule.action, |action| {
            action
                .as_str()
                .is_some_and(|action| action.eq_ignore_ascii_case(rule.action))
        })
        .is("/facts/rule/to", &format!("…{}", rule.to), |to| {
            to.as_str().is_some_and(|to| to.ends_with(rule.to))
        });
    for word in rule.words {
        check.mentions("/facts/rule/text", &[word]);
    }
    if rule.handle {
        check.is("/facts/rule/handle", "a handle", Value::is_u64);
    } else {
        check.eq("/facts/rule/handle", Value::Null);
    }
}

/// What the client did with the reply.
fn check_client(check: &mut Check<'_>, case: &Case, wrong: &Wrong) {
    let soon = |after: &Value| {
        after
            .as_f64()
            .is_some_and(|after| (0.0..1000.0).contains(&after))
    };
    match case.proto {
        Proto::Tcp => check.is("/facts/reset/after_ms", "under a second", soon),
        Proto::Udp => check.eq("/facts/reset", Value::Null),
    };
    if wrong.client_seen {
        // The client drops the reply before it resets, so this is known when the verdict is told.
        check
            .eq("/facts/client_drop/netns/inum", wrong.client)
            .reason("/facts/client_drop/reason", &["NO_SOCKET"])
            .mentions("/facts/client_drop/location", &["rcv"])
            .is("/facts/client_drop/after_ms", "under a second", soon);
    } else {
        check.eq("/facts/client_drop", Value::Null);
    }
}

/// The advice: the setting as the primary fix, ready to be pasted where the tracer runs.
pub fn check_fixes(check: &mut Check<'_>, director: &str, seat: Seat) {
    let set = "sysctl -w net.ipv4.vs.conntrack=1";
    let command = match seat {
        Seat::Director => set.to_owned(),
        Seat::Host => format!("ip netns exec {} {set}", director),
    };
    check.has("/fixes", &format!("`{command}`, primary"), |fix| {
        fix["primary"] == true && fix["commands"] == Value::from(vec![command.clone()])
    });
    let is_setting = |fix: &Value| fix["primary"] == true;
    check.has("/fixes", "the table's size as the primary's cost", |fix| {
        is_setting(fix) && mentions(&fix["cost"], "table")
    });
    check.has("/fixes", "a file only for the tracer's own netns", |fix| {
        is_setting(fix)
            && match seat {
                Seat::Director => {
                    fix["file"].is_null() || mentions(&fix["file"], "net.ipv4.vs.conntrack")
                }
                Seat::Host => fix["file"].is_null(),
            }
    });
    for wanted in ["virtual service", "fwmark"] {
        let wanted_text = format!("{wanted} as another way");
        check.has("/fixes", &wanted_text, |fix| {
            fix["primary"] == false && mentions(fix, wanted)
        });
    }
}

fn mentions(value: &Value, word: &str) -> bool {
    value.to_string().to_lowercase().contains(word)
}

/// What IPVS knows of the connection with this client port; it must know it.
pub fn known(ipvs: &Ipvs, port: u16) -> Result<Connection> {
    let connection = ipvs.connection(port)?;
    connection.ok_or_else(|| {
        anyhow::anyhow!("the network is wrong: IPVS knows no connection from port {port}")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::INCIDENT;
    use super::*;

    fn wrong() -> Wrong {
        Wrong {
            director: 7,
            client: 8,
            port: 41_001,
            connection: Connection {
                service: (VIP.to_owned(), SERVICE_PORT),
                server: ("10.8.0.2".to_owned(), 1002),
                expires: 58,
            },
            conntrack: false,
            older: false,
            client_seen: true,
        }
    }

    /// A verdict as `docs/events.md` has it.
    fn line() -> Value {
        let client = json!({"addr": CLIENT_IP, "port": 41_001});
        let asked = json!({"addr": VIP, "port": 1010});
        let service = json!({"addr": VIP, "port": 1000});
        let server = json!({"addr": "10.8.0.2", "port": 1002});
        json!({
            "type": "verdict", "cause": CAUSE, "drop": null,
            "title": "the reply left from the wrong port",
            "summary": "172.16.1.2 asked 172.16.1.8:1010 and was answered by 172.16.1.8:1000",
            "anomaly": {
                "kind": "ipvs_reply", "time": "2026-01-01T00:00:00.000000Z", "cpu": 0, "af": 4,
                "netns": {"inum": 7, "name": "director"}, "proto": "TCP", "client": client,
                "service": service, "real_server": server, "flags": 256, "fwmark": 0,
                "asked": asked, "hook": "forward",
            },
            "evidence": [{"text": "10.8.0.2:1002"}, {"text": "net.ipv4.vs.conntrack = 0"}],
            "facts": {
                "kind": "wrong_source", "proto": "TCP", "client": client, "asked": asked,
                "answered": service, "real_server": server, "flags": 256, "flag_names": ["masq"],
                "service": {"addr": VIP, "port": 1000, "fwmark": 0, "scheduler": "rr"},
                "vs_conntrack": 0, "older_entry": false, "expires_s": 58,
                "rule": {
                    "backend": "iptables-legacy", "table": "nat", "chain": "PREROUTING",
                    "text": "-A PREROUTING -p tcp -m tcp --dport 1010 -j REDIRECT --to-ports 1000",
                    "handle": null, "action": "REDIRECT", "to": "1000",
                },
                "reset": {"after_ms": 0.1},
                "client_drop": {
                    "netns": {"inum": 8}, "reason": "NO_SOCKET", "location": "tcp_v4_rcv+0x99",
                    "after_ms": 0.05,
                },
            },
            "fixes": [
                {
                    "title": "Keep the entry", "primary": true, "file": null,
                    "commands": ["ip netns exec director sysctl -w net.ipv4.vs.conntrack=1"],
                    "cost": "every connection takes a place in the conntrack table",
                },
                {"title": "A virtual service on port 1010", "primary": false},
                {"title": "A fwmark service", "primary": false},
            ],
        })
    }

    fn complaint(line: &Value, wrong: &Wrong) -> String {
        let mut check = Check::new(line);
        check_facts(&mut check, &INCIDENT, wrong);
        check_fixes(&mut check, "director", Seat::Host);
        check
            .done("verdict")
            .err()
            .map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn a_right_verdict_is_accepted() {
        assert_eq!(complaint(&line(), &wrong()), "");
    }

    #[test]
    fn each_wrong_fact_is_named() {
        for (pointer, value) in [
            ("/anomaly/netns/inum", json!(8)),
            ("/anomaly/asked/port", json!(1000)),
            ("/anomaly/flags", json!(0x10100)),
            ("/facts/answered/port", json!(1010)),
            ("/facts/real_server/addr", json!("10.8.0.1")),
            ("/facts/vs_conntrack", json!(null)),
            ("/facts/expires_s", json!(3)),
            ("/facts/rule", json!(null)),
            ("/facts/reset", json!(null)),
            ("/facts/client_drop", json!(null)),
            ("/drop", json!({})),
        ] {
            let mut line = line();
            *line.pointer_mut(pointer).expect(pointer) = value;
            assert!(complaint(&line, &wrong()).contains(pointer), "{pointer}");
        }
    }

    #[test]
    fn advice_for_another_namespace_is_refused() {
        let mut line = line();
        line["fixes"][0]["commands"] = json!(["sysctl -w net.ipv4.vs.conntrack=1"]);
        assert!(complaint(&line, &wrong()).contains("ip netns exec director"));
    }

    #[test]
    fn an_older_entry_must_say_when_it_expires() {
        let older = Wrong {
            conntrack: true,
            older: true,
            ..wrong()
        };
        let mut line = line();
        line["facts"]["vs_conntrack"] = json!(1);
        line["facts"]["older_entry"] = json!(true);
        assert_eq!(complaint(&line, &older), "");
        line["facts"]["expires_s"] = Value::Null;
        assert!(complaint(&line, &older).contains("/facts/expires_s"));
    }
}
