//! Lines made by hand: what no recording has.

use dropwatch::correlate::case::{DeviceCount, FlowCount, Numbers, Repeat, Tally};
use dropwatch::correlate::cases::Closed;
use dropwatch::correlate::follow::{FollowedConnection, Outcomes, Update, UpdateFacts};
use dropwatch::correlate::touched::{Device, Flow};
use dropwatch::doctor::Report;
use dropwatch::event::Event;
use dropwatch::facts::Followed;
use dropwatch::model::anchor::{Dev, Drop, Location, Reason, Task};
use dropwatch::model::counts::Counted;
use dropwatch::model::coverage::{Coverage, ProbeStatus};
use dropwatch::model::evidence::{
    Clash, CtState, Insertion, Lookup, Mode, QueueTrip, Refused, Reinjected, Returned, SourceCheck,
};
use dropwatch::model::ipvs::{Endpoint, IpvsConnection, IpvsReply};
use dropwatch::model::packet::Packet;
use dropwatch::model::proto::Proto;
use dropwatch::model::tcp_flags::TcpFlags;
use dropwatch::model::tuple::Tuple;
use dropwatch::output::clock::Clock;
use dropwatch::output::json::{Json, Line};
use dropwatch::output::{Names, Sink, Summary};

fn drop() -> Drop {
    Drop {
        time_ns: 1_000_000_000,
        cpu: 3,
        netns: 0,
        netns_cookie: 0,
        dev: None,
        iif: 0,
        reason: Reason {
            name: None,
            number: 0,
        },
        location: Location {
            symbol: None,
            offset: 0,
            address: u64::MAX,
        },
        mark: u32::MAX,
        len: 0,
        ip_len: None,
        ethertype: 0,
        packet: None,
        task: Task {
            pid: 0,
            comm: "swapper/3".into(),
        },
        source_check: None,
        insertion: None,
        clash: None,
        queue: None,
        stack: Vec::new(),
    }
}

fn tuple() -> Tuple {
    Tuple {
        proto: 17,
        src: "10.0.0.1".parse().expect("an address"),
        dst: "10.0.0.2".parse().expect("an address"),
        sport: 1,
        dport: 65_535,
    }
}

fn packet() -> Packet {
    Packet {
        l3: 6,
        proto: Proto::ICMPV6,
        src: "fe80::1".parse().expect("an address"),
        dst: "::ffff:192.0.2.1".parse().expect("an address"),
        sport: None,
        dport: None,
        tcp_flags: None,
        tcp_seq: None,
        icmp_type: Some(135),
        icmp_code: Some(0),
        ttl: 255,
        id: None,
    }
}

fn reply() -> IpvsReply {
    let endpoint = |addr: &str, port| Endpoint {
        addr: addr.parse().expect("an address"),
        port,
    };
    IpvsReply {
        time_ns: 1_000_000_000,
        cpu: 0,
        netns: 0,
        hook: None,
        connection: IpvsConnection {
            proto: 132,
            client: endpoint("2001:db8::2", 1),
            service: endpoint("2001:db8::1", u16::MAX),
            real_server: endpoint("2001:db8::3", 0),
            flags: u32::MAX,
            fwmark: 7,
        },
        asked: tuple(),
    }
}

/// Other packets and checks, the kernel's counts, extreme numbers.
pub fn made_lines() -> String {
    let mut text = Vec::new();
    let mut json = Json::new(&mut text, Clock::default());
    let names = Names::default();
    let mut print = || -> std::io::Result<()> {
        let mut dropped = |drop: Drop| json.event(&Event::Drop(Box::new(drop)), &names);
        dropped(drop())?;
        dropped(Drop {
            packet: Some(packet()),
            ..drop()
        })?;
        dropped(Drop {
            netns_cookie: u64::MAX,
            dev: Some(Dev {
                name: "eth0".into(),
                ifindex: 2,
            }),
            packet: Some(Packet {
                l3: 4,
                proto: Proto::TCP,
                src: "192.0.2.1".parse().expect("an address"),
                dst: "192.0.2.2".parse().expect("an address"),
                sport: Some(u16::MAX),
                dport: Some(0),
                tcp_flags: Some(TcpFlags(0)),
                tcp_seq: Some(u32::MAX),
                icmp_type: None,
                icmp_code: None,
                id: Some(u16::MAX),
                ..packet()
            }),
            insertion: Some(Insertion {
                state: CtState::Related,
                status: 0x190,
                zone: 0,
                original: tuple(),
                reply: tuple(),
            }),
            clash: Some(Clash {
                status: u32::MAX,
                reply_side: true,
                original: tuple(),
                reply: tuple(),
                timeout_ms: Some(119_980),
                tcp_state: Some("SYN_SENT".into()),
            }),
            queue: Some(QueueTrip {
                hook: None,
                l3: 0,
                queued: None,
                back: Some(Reinjected {
                    time_ns: u64::MAX,
                    mark: u32::MAX,
                    verdict: 4,
                    process: drop().task,
                }),
            }),
            stack: vec!["nf_hook_slow".into()],
            source_check: Some(SourceCheck {
                martian_handler: true,
                returned: Some(Returned {
                    value: -18,
                    verdict: Refused::ReversePath,
                }),
                mode: Some(Mode {
                    all: 1,
                    device: 0,
                    has_address: true,
                }),
                lookup: Some(Lookup {
                    table: 254,
                    oif: 3,
                    error: -101,
                }),
            }),
            ..drop()
        })?;
        json.event(&Event::IpvsReply(Box::new(reply())), &names)?;
        json.event(
            &Event::Probe {
                time_ns: 1_500_000_000,
                status: ProbeStatus {
                    hook: "ipvs".into(),
                    probe: "ipvs_xmit".into(),
                    symbol: "ip_vs_nat_xmit".into(),
                    flavour: None,
                    attached: false,
                    why: Some("waits for module ip_vs".into()),
                    awaits: Some("ip_vs".into()),
                },
            },
            &names,
        )?;
        json.repeat(
            &Repeat {
                case: 1,
                cause: Some("rp_filter"),
                title: "refused".into(),
                count: 1,
                numbers: Numbers {
                    total: 2,
                    exact: None,
                    of_kind: Some(u64::MAX),
                },
                devices: 2,
            },
            2_000_000_000,
        )?;
        json.update(
            &Update {
                case: 1,
                cause: Some("snat_race"),
                text: "no packet got through".into(),
                facts: UpdateFacts {
                    followed: FollowedConnection {
                        tuple: tuple(),
                        outcome: Followed {
                            through: false,
                            after_ms: 10_000,
                            resolution_ms: 100,
                            state: None,
                            answered: false,
                        },
                    },
                },
            },
            2_500_000_000,
        )?;
        let summary = Summary {
            time_ns: 3_000_000_000,
            seconds: 2.0,
            ledger: None,
            cases: vec![Tally {
                case: 1,
                cause: None,
                title: "dropped".into(),
                numbers: Numbers {
                    total: u64::MAX,
                    exact: Some(u64::MAX),
                    of_kind: None,
                },
                drops: 0,
                devices: vec![DeviceCount {
                    device: Device {
                        name: "eth0".into(),
                        ifindex: 2,
                    },
                    count: 1,
                }],
                flows: vec![FlowCount {
                    flow: Flow {
                        proto: Proto::ICMP,
                        src: packet().src,
                        dst: packet().dst,
                        dport: None,
                    },
                    count: 1,
                }],
                other_devices: 0,
                other_flows: 1,
                outcomes: Some(Outcomes {
                    followed: 1,
                    never: 1,
                    ..Outcomes::default()
                }),
            }],
            closed: Closed {
                cases: 1,
                drops: 1,
                hidden: 0,
            },
            drops: vec![Counted {
                reason: "no reason given".into(),
                location: "0xffffffffffffffff".into(),
                netns: 0,
                ifindex: 0,
                count: u64::MAX,
                suppressed: 0,
            }],
        };
        json.summary(&summary, &names)
    };
    print().expect("writing to memory");
    let lines = String::from_utf8(text).expect("UTF-8");
    lines + &reports()
}

/// The doctor's reports, for good and for bad.
fn reports() -> String {
    let attached = ProbeStatus {
        hook: "skb_drop".into(),
        probe: "drop".into(),
        symbol: "kfree_skb".into(),
        flavour: Some("tp_btf".into()),
        attached: true,
        why: None,
        awaits: None,
    };
    let coverage = Coverage {
        probes: vec![attached],
        rp_filter_reason: true,
        ..Coverage::default()
    };
    let insns = vec![("skb_drop_btf".to_owned(), Some(24_000))];
    let good = Report::new(Ok((coverage, insns)));
    let bad = Report::new(Err(anyhow::anyhow!("no BTF")));
    [good, bad]
        .iter()
        .map(|report| serde_json::to_string(&Line::Doctor(report)).expect("JSON") + "\n")
        .collect()
}
