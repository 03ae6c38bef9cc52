//! The engine with the real causes, on made-up events. Recorded ones are replayed by the tests package.

use std::net::Ipv4Addr;

use super::{
    case::Report,
    engine::{Engine, Output},
};
use crate::{
    causes,
    event::Event,
    facts::{
        DefaultRoutes, Fact, FactKey, Groups, Link, Neighbour, Netns, Owner, Route,
        RpFilterSettings, SysctlFiles,
    },
    model::{
        anchor::{Dev, Drop, Location, Reason, Task},
        coverage::Coverage,
        evidence::{Lookup, Mode, Refused, Returned, SourceCheck},
        packet::Packet,
        proto::Proto,
    },
};

mod clash;
mod grouping;

const SECOND: u64 = 1_000_000_000;
const NETNS: u32 = 4_026_532_001;

fn drop_at(time_ns: u64, reason: &str, check: Option<SourceCheck>) -> Box<Drop> {
    Box::new(Drop {
        time_ns,
        cpu: 0,
        netns: NETNS,
        netns_cookie: 0,
        dev: Some(Dev {
            name: "lxc1".into(),
            ifindex: 7,
        }),
        iif: 7,
        reason: Reason {
            name: Some(reason.into()),
            number: 16,
        },
        location: Location {
            symbol: Some("ip_rcv_finish_core".into()),
            offset: 1,
            address: 2,
        },
        mark: 0,
        len: 60,
        ip_len: None,
        ethertype: 0x0800,
        packet: Some(Packet {
            l3: 4,
            proto: Proto::UDP,
            src: Ipv4Addr::new(10, 0, 0, 113).into(),
            dst: Ipv4Addr::new(10, 0, 0, 253).into(),
            sport: Some(53),
            dport: Some(4000),
            tcp_flags: None,
            tcp_seq: None,
            icmp_type: None,
            icmp_code: None,
            ttl: 64,
            id: Some(1),
        }),
        task: Task {
            pid: 1,
            comm: "init".into(),
        },
        source_check: check,
        insertion: None,
        clash: None,
        queue: None,
        stack: Vec::new(),
    })
}

fn refused(all: i32, device: i32, has_address: bool) -> Option<SourceCheck> {
    Some(SourceCheck {
        martian_handler: true,
        returned: None,
        mode: Some(Mode {
            all,
            device,
            has_address,
        }),
        lookup: Some(Lookup {
            table: 254,
            oif: 3,
            error: 0,
        }),
    })
}

/// Answers as the live configuration of the seed would.
fn answer(key: &FactKey) -> Fact {
    match key {
        FactKey::Netns { .. } => Fact::Netns(Netns {
            own: true,
            ..Netns::default()
        }),
        FactKey::RpFilter { .. } => Fact::RpFilter(RpFilterSettings {
            all: 2,
            default: 2,
            devices: vec![("eth0".into(), 0), ("lo".into(), 0), ("lxc1".into(), 2)],
            ..RpFilterSettings::default()
        }),
        FactKey::Link { ifindex, .. } => Fact::Link(Link {
            name: if *ifindex == 7 {
                "lxc1".into()
            } else {
                "cilium_host".into()
            },
            ifindex: *ifindex,
            ..Link::default()
        }),
        FactKey::Route { to, .. } => {
            let local = to.octets()[3] == 253;
            Fact::Route(Route {
                kind: if local {
                    "local".into()
                } else {
                    "unicast".into()
                },
                dev: Some("cilium_host".into()),
                oif: Some(3),
                table: Some(254),
                prefix: Some("10.0.0.0/24".into()),
                ..Route::default()
            })
        }
        FactKey::DefaultRoutes { .. } => Fact::DefaultRoutes(DefaultRoutes {
            devices: vec!["eth0".into()],
        }),
        FactKey::Owner { .. } => Fact::Owner(Owner::default()),
        FactKey::Neighbour { .. } => Fact::Neighbour(Neighbour::default()),
        FactKey::Groups { .. } => Fact::Groups(Groups::default()),
        FactKey::SysctlFiles { .. } => Fact::SysctlFiles(SysctlFiles::default()),
        FactKey::Conntrack { .. }
        | FactKey::ConntrackStats { .. }
        | FactKey::Followed { .. }
        | FactKey::Ruleset { .. }
        | FactKey::Ipvs { .. }
        | FactKey::Queues { .. } => Fact::Unknown {
            why: "not asked here".into(),
        },
    }
}

fn engine() -> Engine {
    let coverage = Coverage {
        rp_filter_reason: true,
        ..Coverage::default()
    };
    Engine::new(causes::all(), coverage, true)
}

/// Events made of their parts.
trait Push {
    fn dropped(&mut self, drop: Box<Drop>, out: &mut Vec<Output>);
    fn fact(&mut self, key: FactKey, fact: Fact, time_ns: u64, out: &mut Vec<Output>);
}

impl Push for Engine {
    fn dropped(&mut self, drop: Box<Drop>, out: &mut Vec<Output>) {
        self.take(&Event::Drop(drop), out);
    }

    fn fact(&mut self, key: FactKey, fact: Fact, time_ns: u64, out: &mut Vec<Output>) {
        self.take(&Event::Fact { time_ns, key, fact }, out);
    }
}

/// Pushes a drop and answers all questions until there are no more.
fn told(engine: &mut Engine, drop: Box<Drop>) -> Vec<Report> {
    let now = drop.time_ns;
    let mut out = Vec::new();
    engine.dropped(drop, &mut out);
    let mut told = Vec::new();
    while let Some(output) = out.pop() {
        match output {
            Output::Ask(key) => {
                let fact = answer(&key);
                engine.fact(key, fact, now, &mut out);
            }
            Output::Report(case) => told.push(*case),
            Output::Repeat(_) | Output::Update(_) | Output::Renewed(_) => {}
        }
    }
    told
}

#[test]
fn loose_mode_without_an_address_is_told_apart_from_strict() {
    let mut engine = engine();
    let loose = told(
        &mut engine,
        drop_at(SECOND, "IP_RPFILTER", refused(2, 2, false)),
    );
    assert_eq!(loose[0].cause, Some("rp_filter"));
    assert_eq!(loose[0].explanation.facts["kind"], "loose_no_address");
    assert_eq!(loose[0].explanation.facts["path"], "local");
    assert_eq!(
        loose[0].explanation.facts["effective"]["winning_key"],
        "both"
    );
    // Other values on the same device are another case.
    let strict = told(
        &mut engine,
        drop_at(2 * SECOND, "IP_RPFILTER", refused(0, 1, false)),
    );
    assert_eq!(strict[0].explanation.facts["kind"], "strict_mismatch");
    assert_eq!(
        strict[0].explanation.facts["effective"]["winning_key"],
        "net.ipv4.conf.lxc1.rp_filter"
    );
    assert_eq!((loose[0].case, strict[0].case), (1, 2));
}

#[test]
fn switching_off_keeps_the_other_devices_protected() {
    let told = told(
        &mut engine(),
        drop_at(SECOND, "IP_RPFILTER", refused(2, 2, false)),
    );
    let fix = &told[0].explanation.fixes[0];
    assert!(fix.primary);
    assert_eq!(
        fix.commands,
        [
            "sysctl -w net.ipv4.conf.eth0.rp_filter=2",
            "sysctl -w net.ipv4.conf.default.rp_filter=2",
            "sysctl -w net.ipv4.conf.all.rp_filter=0",
            "sysctl -w net.ipv4.conf.lxc1.rp_filter=0",
        ]
    );
}

#[test]
fn strict_mode_with_an_address_is_loosened_first() {
    let told = told(
        &mut engine(),
        drop_at(SECOND, "IP_RPFILTER", refused(1, 0, true)),
    );
    assert_eq!(
        told[0].explanation.fixes[0].commands,
        ["sysctl -w net.ipv4.conf.lxc1.rp_filter=2"]
    );
}

#[test]
fn a_martian_at_the_same_place_is_not_blamed() {
    for reason in ["NOT_SPECIFIED", "IP_LOCAL_SOURCE"] {
        let told = told(&mut engine(), drop_at(SECOND, reason, refused(1, 1, false)));
        assert_eq!(told[0].cause, None, "{reason}");
        assert!(!told[0].explanation.facts["martian"].is_null(), "{reason}");
    }
}

/// Pushes a drop and answers with other facts where there are some.
fn told_with(drop: Box<Drop>, other: impl Fn(&FactKey) -> Option<Fact>) -> Report {
    let now = drop.time_ns;
    let mut engine = engine();
    let mut out = Vec::new();
    engine.dropped(drop, &mut out);
    loop {
        match out.pop().expect("told") {
            Output::Ask(key) => {
                let fact = other(&key).unwrap_or_else(|| answer(&key));
                engine.fact(key, fact, now, &mut out);
            }
            Output::Report(case) => return *case,
            Output::Repeat(_) | Output::Update(_) | Output::Renewed(_) => {}
        }
    }
}

/// The source is in a local route; whether it is an own address, and what else makes the kernel ask, is told.
fn in_local_route(key: &FactKey, owner: &Owner) -> Option<Fact> {
    match key {
        FactKey::Owner { .. } => Some(Fact::Owner(owner.clone())),
        FactKey::Route { to, .. } if to.octets()[3] == 113 => Some(Fact::Route(Route {
            kind: "local".into(),
            dev: Some("lo".into()),
            oif: Some(1),
            table: Some(255),
            prefix: Some("10.0.0.0/24".into()),
            ..Route::default()
        })),
        _ => None,
    }
}

#[test]
fn a_local_route_is_the_filters_only_when_nothing_else_asks_for_it() {
    let judged = |value, owner: Owner| {
        let drop = drop_at(SECOND, "IP_LOCAL_SOURCE", refused(0, value, true));
        let told = told_with(drop, |key| in_local_route(key, &owner));
        let facts = &told.explanation.facts;
        (told.cause, facts["kind"].clone(), facts["martian"].clone())
    };
    let (cause, kind, _) = judged(1, Owner::default());
    assert_eq!((cause, kind), (Some("rp_filter"), "local_route".into()));
    let own = Owner {
        device: Some("lo".into()),
        ..Owner::default()
    };
    let custom = Owner {
        custom_rules: true,
        ..Owner::default()
    };
    for (value, owner, martian) in [
        (1, own, "own_address"),
        (1, custom, "local_route"),
        (0, Owner::default(), "local_route"),
    ] {
        let (cause, _, found) = judged(value, owner);
        assert_eq!((cause, found), (None, martian.into()));
    }
}

#[test]
fn an_unread_owner_is_no_own_address() {
    let drop = drop_at(SECOND, "IP_LOCAL_SOURCE", refused(0, 1, true));
    let told = told_with(drop, |key| match key {
        FactKey::Owner { .. } => Some(Fact::Unknown {
            why: "too many questions".into(),
        }),
        _ => in_local_route(key, &Owner::default()),
    });
    assert_eq!(told.cause, None);
    assert_eq!(told.explanation.facts["martian"], "local_route");
    assert_eq!(told.explanation.unknown, ["too many questions"]);
    assert!(told.explanation.summary.contains("is not known"));
}

#[test]
fn zero_may_report_to_a_group() {
    let report = |groups: Groups| {
        let mut drop = drop_at(SECOND, "NOT_SPECIFIED", None);
        let packet = drop.packet.as_mut().expect("a packet");
        packet.proto = Proto::IGMP;
        packet.src = Ipv4Addr::UNSPECIFIED.into();
        packet.dst = Ipv4Addr::new(224, 0, 0, 22).into();
        told_with(drop, |key| match key {
            FactKey::Groups { .. } => Some(Fact::Groups(groups.clone())),
            _ => None,
        })
    };
    let unheard = report(Groups::default()).explanation;
    assert!(unheard.facts["martian"].is_null());
    assert_eq!(unheard.facts["route"]["kind"], "no_listener");
    let joined = report(Groups {
        joined: vec![Ipv4Addr::new(224, 0, 0, 22)],
        routed: false,
    });
    assert!(joined.explanation.facts["martian"].is_null());
    assert!(joined.explanation.facts["route"].is_null());
}

/// The values of the VRF are not those that counted, and with several devices it is not known whose did.
#[test]
fn a_vrf_lends_its_values_to_nobody() {
    let vrf = |lowers: &[(&str, u32)]| {
        let lowers = lowers.iter().map(|(name, index)| ((*name).into(), *index));
        let vrf = Link {
            name: "lxc1".into(),
            ifindex: 7,
            kind: Some("vrf".into()),
            vrf: Some(7),
            lowers: lowers.collect(),
            ..Link::default()
        };
        let drop = drop_at(SECOND, "IP_RPFILTER", refused(0, 0, false));
        told_with(drop, |key| match key {
            FactKey::Link { ifindex: 7, .. } => Some(Fact::Link(vrf.clone())),
            FactKey::Link { ifindex: 9, .. } => Some(Fact::Link(Link {
                name: "r0".into(),
                ifindex: 9,
                ipv4: vec!["10.0.1.1/24".into()],
                vrf: Some(7),
                ..Link::default()
            })),
            FactKey::RpFilter { .. } => Some(Fact::RpFilter(RpFilterSettings {
                devices: vec![("lxc1".into(), 0), ("r0".into(), 1)],
                ..RpFilterSettings::default()
            })),
            _ => None,
        })
        .explanation
    };
    let one = vrf(&[("r0", 9)]);
    assert_eq!(one.facts["kind"], "strict_mismatch");
    assert_eq!(one.facts["device"]["name"], "r0");
    assert_eq!(one.facts["effective"]["value"], 1);
    let two = vrf(&[("r0", 9), ("r1", 10)]);
    assert_eq!(two.facts["kind"], "unknown");
    assert!(two.facts["effective"].is_null());
    assert!(two.unknown.iter().any(|u| u.contains("(r0, r1)")));
    assert!(two.fixes.iter().all(|fix| fix.commands.is_empty()));
    assert!(!two.summary.contains("= 0"));
}

#[test]
fn no_route_is_advised_that_a_local_one_hides() {
    let fixes = |kind: &str| {
        let drop = drop_at(SECOND, "IP_RPFILTER", refused(0, 1, true));
        let told = told_with(drop, |key| match key {
            FactKey::Route { .. } => Some(Fact::Route(Route {
                kind: kind.into(),
                dev: Some("lo".into()),
                oif: Some(3),
                table: Some(255),
                prefix: Some("10.0.0.113/32".into()),
                ..Route::default()
            })),
            _ => None,
        });
        let fixes = told.explanation.fixes;
        assert!(!fixes.is_empty());
        fixes.iter().any(|fix| fix.title.contains("route"))
    };
    assert!(fixes("unicast"));
    // accept_local let it in, which is not the matter here.
    assert!(!fixes("local"));
}

#[test]
fn a_policy_rule_that_refuses_is_named() {
    let refused = |reason, kind: &str, rule| {
        let mut drop = drop_at(SECOND, reason, None);
        drop.location.symbol = Some("ip_error".into());
        let told = told_with(drop, |key| match key {
            FactKey::Route { .. } => Some(Fact::Route(Route {
                kind: kind.into(),
                rule,
                ..Route::default()
            })),
            _ => None,
        });
        (told.explanation.title, told.explanation.summary)
    };
    let (title, _) = refused("NOT_SPECIFIED", "blackhole", Some(100));
    assert_eq!(title, "refused by a blackhole policy rule, of priority 100");
    // This type ends as if there were no route.
    let (title, summary) = refused("IP_INNOROUTES", "unreachable", Some(100));
    assert_eq!(
        title,
        "refused by an unreachable policy rule, of priority 100"
    );
    assert!(summary.contains("network unreachable"), "{summary}");
    let (title, _) = refused("NOT_SPECIFIED", "unreachable", Some(100));
    assert!(
        !title.contains("policy rule"),
        "the kernel says otherwise: {title}"
    );
    let (title, _) = refused("NOT_SPECIFIED", "unreachable", None);
    assert!(title.contains("which one is not known"), "{title}");
}

#[test]
fn a_route_that_refuses_is_overridden_only_after_a_question() {
    let first = |kind: &str, prefix: &str| {
        let check = SourceCheck {
            lookup: None,
            ..refused(0, 2, true).unwrap_or_default()
        };
        let drop = drop_at(SECOND, "IP_RPFILTER", Some(check));
        let told = told_with(drop, |key| match key {
            FactKey::Route { .. } => Some(Fact::Route(Route {
                kind: kind.into(),
                table: Some(254),
                prefix: Some(prefix.into()),
                ..Route::default()
            })),
            _ => None,
        });
        let first = told.explanation.fixes.into_iter().next();
        first.expect("a change").title
    };
    for kind in ["blackhole", "prohibit", "unreachable"] {
        let wanted = format!("If the {kind} route 10.0.0.0/24 is there to keep 10.0.0.113 out");
        let title = first(kind, "10.0.0.0/24");
        assert!(title.contains(&wanted), "{title}");
    }
    // What all have that have no other keeps nobody in particular out.
    assert!(!first("unreachable", "0.0.0.0/0").contains("to keep"));
}

#[test]
fn without_reasons_only_the_return_value_convicts() {
    let check = |verdict| {
        let returned = Some(Returned {
            value: -18,
            verdict,
        });
        Some(SourceCheck {
            returned,
            ..refused(1, 1, false).unwrap_or_default()
        })
    };
    let silent = |check| {
        let mut drop = drop_at(SECOND, "", check);
        drop.reason = Reason {
            name: None,
            number: 0,
        };
        drop
    };
    let mut engine = engine();
    let mine = told(&mut engine, silent(check(Refused::ReversePath)));
    assert_eq!(mine[0].cause, Some("rp_filter"));
    let not_mine = told(&mut engine, silent(check(Refused::LocalOrInvalid)));
    assert_eq!(not_mine[0].cause, None);
    // The handler alone runs for both.
    let unclear = told(&mut engine, silent(refused(1, 1, false)));
    assert_eq!(unclear[0].cause, None);
    assert!(unclear[0].explanation.facts["martian"].is_null());
}

#[test]
fn repeats_are_counted_with_growing_pauses() {
    let mut engine = engine();
    told(&mut engine, drop_at(SECOND, "NO_SOCKET", None));
    let mut lines = Vec::new();
    for tenth in 1..=100 {
        let now = SECOND + tenth * SECOND / 10;
        let mut out = Vec::new();
        // Once in a while it is judged anew.
        told(&mut engine, drop_at(now, "NO_SOCKET", None));
        engine.advance(now, &mut out);
        lines.extend(out.into_iter().filter_map(|o| match o {
            Output::Repeat(repeat) => Some((tenth, repeat.count, repeat.numbers.total)),
            _ => None,
        }));
    }
    assert_eq!(lines, [(10, 10, 11), (30, 20, 31), (80, 50, 81)]);
    let mut out = Vec::new();
    engine.finish(20 * SECOND, &mut out);
    let tally = engine.tallies();
    assert_eq!((tally.len(), tally[0].numbers.total), (1, 101));
    assert_eq!(tally[0].numbers.exact, Some(101));
}

#[test]
fn missing_facts_are_said_to_be_unknown_and_never_waited_for_in_vain() {
    let mut engine = engine();
    let mut out = Vec::new();
    engine.dropped(
        drop_at(SECOND, "IP_RPFILTER", refused(2, 2, false)),
        &mut out,
    );
    assert!(out.iter().all(|o| matches!(o, Output::Ask(_))), "{out:?}");
    out.clear();
    engine.advance(SECOND + SECOND / 2, &mut out);
    assert!(out.is_empty());
    engine.advance(6 * SECOND, &mut out);
    let Some(Output::Report(told)) = out.first() else {
        panic!("not told: {out:?}");
    };
    assert_eq!(told.cause, Some("rp_filter"));
    assert_eq!(told.explanation.facts["kind"], "loose_no_address");
    assert!(
        told.explanation
            .unknown
            .iter()
            .any(|u| u.contains("no answer in time"))
    );
}

#[test]
fn what_comes_too_late_is_too_late_without_a_tick_too() {
    let mut engine = engine();
    let mut out = Vec::new();
    let drop = drop_at(SECOND, "IP_RPFILTER", refused(2, 2, false));
    engine.dropped(drop, &mut out);
    let Some(Output::Ask(key)) = out.first().cloned() else {
        panic!("nothing asked: {out:?}");
    };
    out.clear();
    let fact = answer(&key);
    engine.fact(key, fact, 10 * SECOND, &mut out);
    assert!(matches!(out[..], [Output::Report(_)]), "{out:?}");
    assert_eq!(engine.waiting(), 0);
}
