//! Everyday drops, and what may be said of them: `ordinary.txt` has the table.

use super::{
    plain::{class, words},
    same::Same,
};
use crate::causes::source_check::may_be_martian;
use crate::{
    facts::Netns,
    model::{
        anchor::{Drop, tests::drop},
        packet::Packet,
    },
    reasons::{Class, hint},
};

const ORDINARY: &str = include_str!("ordinary.txt");

/// Claims that no record proves.
const NEVER: &[&str] = &[
    "queue is full",
    "service up",
    "promiscuous",
    "martian",
    "most often",
    "No TCP socket wants",
    "No UDP socket wants",
    "such as LLDP",
    "freed in ",
    "Nothing, unless the destination MAC",
];

#[test]
fn words_claim_no_more_than_the_record_holds() {
    let mut wrong = Vec::new();
    let mut rows = 0;
    for row in ORDINARY.lines() {
        if row.is_empty() || row.starts_with('#') {
            continue;
        }
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, shown, record, sure, says, never] = cells[..] else {
            panic!("six cells: {row}");
        };
        for shown in shown.split(' ') {
            for drop in drops(shown, record) {
                let said = said(&drop);
                let mut bad = |what: &str| wrong.push(format!("{row}\n  {shown}: {what}: {said}"));
                for word in says.split(" / ").filter(|word| !said.contains(word)) {
                    bad(&format!("not said: {word:?}"));
                }
                let never = never.split(" / ").filter(|word| !word.is_empty());
                for word in never
                    .chain(NEVER.iter().copied())
                    .filter(|w| said.contains(w))
                {
                    bad(&format!("said: {word:?}"));
                }
                let open = said.contains("not evaluated");
                let normal = class(&drop) == Some(Class::Normal);
                if (open, normal) != (sure == "open", sure == "normal") {
                    bad(&format!("open {open}, normal {normal}"));
                }
                if may_be_martian(&drop) {
                    bad("a martian");
                }
            }
        }
        rows += 1;
    }
    assert!(rows > 80, "{rows}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Words and hint of a drop.
fn said(drop: &Drop) -> String {
    let (what, look) = words(drop);
    let own = Netns {
        own: true,
        ..Netns::default()
    };
    let values = hint::Values::of(drop, Some(&own));
    let look = look.as_deref().unwrap_or_default();
    format!("{what} {}", hint::fill(look, &values))
}

/// The drops of a cell: `REASON@function`, with `-` for kernels without reasons and for those that give none here.
fn drops(shown: &str, record: &str) -> Vec<Drop> {
    let (reason, place) = shown.split_once('@').expect("a place");
    let names: &[_] = match reason {
        "-" => &[None, Some("NOT_SPECIFIED")],
        name => &[Some(name)],
    };
    let drop = |name: &Option<&str>| {
        let mut drop = read(record);
        drop.reason.name = name.map(str::to_owned);
        drop.reason.number = u32::from(name.is_some());
        drop.location.symbol = Some(place.into());
        drop
    };
    names.iter().map(drop).collect()
}

/// A record: `frame TYPE LENGTH`, or `PROTOCOL SOURCE DESTINATION` with `ttl=`, `type=` (ICMP), `len=` or TCP flags.
fn read(record: &str) -> Drop {
    let words: Vec<&str> = record.split(' ').collect();
    let mut drop = drop();
    let hex = |text: &str| u16::from_str_radix(text.trim_start_matches("0x"), 16);
    if let ["frame", ethertype, len] = words[..] {
        drop.ethertype = hex(ethertype).expect("hexadecimal");
        drop.len = len.parse().expect("a number");
        return drop;
    }
    let dst: std::net::IpAddr = words[2].parse().expect("an address");
    let mut packet = Packet {
        l3: if dst.is_ipv6() { 6 } else { 4 },
        proto: words[0].parse().expect("a protocol"),
        src: words[1].parse().expect("an address"),
        dst,
        sport: Some(4000),
        dport: Some(7777),
        tcp_flags: None,
        tcp_seq: None,
        icmp_type: None,
        icmp_code: None,
        ttl: 63,
        id: None,
    };
    drop.ethertype = if packet.l3 == 6 { 0x86dd } else { 0x0800 };
    drop.len = 60;
    for word in &words[3..] {
        let number = |value: &str| value.parse().expect("a number");
        match word.split_once('=') {
            Some(("ttl", value)) => packet.ttl = number(value),
            Some(("type", value)) => packet.icmp_type = Some(number(value)),
            Some(("len", value)) => drop.len = number(value).into(),
            Some(_) => panic!("{record}"),
            None => packet.tcp_flags = Some(word.parse().expect("flags")),
        }
    }
    drop.packet = Some(packet);
    drop
}

/// The words on martian sources stay with those that are refused for their source.
#[test]
fn impossible_sources_are_still_known() {
    let martian = |record: &str| {
        let shown = "NOT_SPECIFIED@ip_rcv_finish_core.isra.0";
        drops(shown, record).iter().all(may_be_martian)
    };
    assert!(martian("UDP 127.0.0.5 10.0.2.2"));
    assert!(martian("UDP 0.0.0.0 10.0.2.2"));
    assert!(martian("UDP 224.0.0.5 255.255.255.255"));
    assert!(!martian("UDP 0.0.0.0 255.255.255.255"));
    assert!(!martian("UDP 0.0.0.0 239.1.1.1"));
}

/// What a drop to this port has in common with others of its case.
fn same(shown: &str, port: u16) -> Same {
    let mut drop = drops(shown, "UDP 10.0.1.2 10.0.2.2").remove(0);
    let packet = drop.packet.as_mut().expect("a packet");
    packet.dport = Some(port);
    Same::of(&drop, None, None, class(&drop), "")
}

#[test]
fn two_sockets_are_two_cases() {
    for reason in ["SOCKET_RCVBUFF", "SOCKET_BACKLOG", "SOCKET_FILTER"] {
        let shown = format!("{reason}@udp_queue_rcv_one_skb");
        let [one, other] = [7001, 7002].map(|port| same(&shown, port));
        assert_ne!(one, other, "{reason}");
        assert!(one.destination().ends_with("port 7001)"), "{reason}");
    }
}

#[test]
fn a_protocol_is_named_only_where_nothing_handles_it() {
    let named = |shown: &str| same(shown, 7001).destination();
    assert_eq!(named("IP_NOPROTO@ip_local_deliver_finish"), " (UDP)");
    for place in [
        "__netif_receive_skb_core",
        "ip6_tlvopt_unknown",
        "ip6_rcv_core",
    ] {
        assert_eq!(named(&format!("UNHANDLED_PROTO@{place}")), "", "{place}");
    }
}
