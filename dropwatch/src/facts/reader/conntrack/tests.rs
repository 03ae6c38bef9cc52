use super::*;

fn udp() -> Tuple {
    Tuple {
        proto: 17,
        src: Ipv4Addr::new(10, 0, 0, 1).into(),
        dst: Ipv4Addr::new(10, 0, 0, 2).into(),
        sport: 40000,
        dport: 53,
    }
}

#[test]
fn a_tuple_survives_the_way_there_and_back() {
    let icmp = Tuple {
        proto: 1,
        sport: 7,
        dport: 0x0800,
        ..udp()
    };
    let v6 = Tuple {
        proto: 58,
        src: Ipv6Addr::LOCALHOST.into(),
        dst: Ipv6Addr::UNSPECIFIED.into(),
        sport: 7,
        dport: 0x8100,
    };
    for tuple in [udp(), icmp, v6] {
        let request = question(&tuple, 5).expect("one family");
        let message = request.body();
        let entry = entry(message).expect("a tuple");
        assert_eq!(entry.original, Some(tuple));
        let zone = attributes(&message[HEADER..]).find(|&(kind, _)| kind == CTA_ZONE);
        assert_eq!(zone.map(|(_, value)| value), Some(&[0, 5][..]));
    }
    let mixed = Tuple {
        dst: Ipv6Addr::LOCALHOST.into(),
        ..udp()
    };
    assert!(question(&mixed, 0).is_err());
}

#[cfg(target_endian = "little")]
/// The kernel's answer for a masqueraded connection.
const ENTRY: [u8; 196] = [
    2, 0, 0, 0, 52, 0, 1, 128, 20, 0, 1, 128, 8, 0, 1, 0, 10, 77, 0, 1, 8, 0, 2, 0, 10, 77, 0, 2,
    28, 0, 2, 128, 5, 0, 1, 0, 6, 0, 0, 0, 6, 0, 2, 0, 160, 40, 0, 0, 6, 0, 3, 0, 31, 144, 0, 0,
    52, 0, 2, 128, 20, 0, 1, 128, 8, 0, 1, 0, 10, 77, 0, 2, 8, 0, 2, 0, 10, 77, 0, 1, 28, 0, 2,
    128, 5, 0, 1, 0, 6, 0, 0, 0, 6, 0, 2, 0, 31, 144, 0, 0, 6, 0, 3, 0, 195, 97, 0, 0, 8, 0, 3, 0,
    0, 0, 1, 158, 8, 0, 8, 0, 0, 0, 0, 0, 8, 0, 12, 0, 151, 108, 208, 93, 8, 0, 11, 0, 0, 0, 0, 2,
    8, 0, 7, 0, 0, 6, 151, 127, 48, 0, 4, 128, 44, 0, 1, 128, 5, 0, 1, 0, 3, 0, 0, 0, 5, 0, 2, 0,
    10, 0, 0, 0, 5, 0, 3, 0, 10, 0, 0, 0, 6, 0, 4, 0, 35, 0, 0, 0, 6, 0, 5, 0, 35, 0, 0, 0,
];

#[test]
#[cfg(target_endian = "little")]
fn an_answer_is_read() {
    let entry = entry(&ENTRY).expect("well-formed");
    let original = Tuple {
        proto: 6,
        src: Ipv4Addr::new(10, 77, 0, 1).into(),
        dst: Ipv4Addr::new(10, 77, 0, 2).into(),
        sport: 41000,
        dport: 8080,
    };
    let reply = Tuple {
        src: original.dst,
        dst: original.src,
        sport: 8080,
        dport: 50017,
        ..original
    };
    let expected = ConntrackEntry {
        found: true,
        original: Some(original),
        reply: Some(reply),
        status: 0x19e,
        timeout_s: Some(431_999),
        tcp_state: Some("ESTABLISHED".into()),
    };
    assert_eq!(entry, expected);
    for length in 0..ENTRY.len() {
        let _ = super::entry(&ENTRY[..length]);
    }
    assert_eq!(super::entry(&[2, 0, 0, 0]), None, "no tuple");
}

#[test]
fn unknown_states_are_numbers() {
    let info = |state| {
        attribute(
            CTA_PROTOINFO_TCP,
            &attribute(CTA_PROTOINFO_TCP_STATE, &[state]),
        )
    };
    assert_eq!(tcp_state(&info(7)).as_deref(), Some("TIME_WAIT"));
    assert_eq!(tcp_state(&info(10)).as_deref(), Some("10"));
    assert_eq!(tcp_state(&[]), None);
}
