//! Whether a packet is what a rule asks for.

use std::net::IpAddr;

use super::{answer::Answer, packet::Packet};
use crate::facts::ruleset::{
    Match, State, Test,
    test::{AddressType, MarkTest},
};

/// Whether the match holds. Only the bits of `known` count as known of the packet's mark.
#[must_use]
pub fn judge(wanted: &Match, packet: &Packet, known: u32) -> Answer {
    let answer = test(&wanted.test, packet, known);
    if wanted.negated { !answer } else { answer }
}

/// Whether all of them hold.
pub(super) fn all(wanted: &[Match], packet: &Packet, known: u32) -> Answer {
    let answers = wanted.iter().map(|one| judge(one, packet, known));
    answers.min().unwrap_or(Answer::Yes)
}

fn test(test: &Test, packet: &Packet, known: u32) -> Answer {
    let port = |spans: &[(u16, u16)], port: Option<u16>| {
        Answer::of(port.map(|port| {
            spans
                .iter()
                .any(|(first, last)| (*first..=*last).contains(&port))
        }))
    };
    let named = |patterns: &[String], name: Option<&str>| {
        Answer::of(name.map(|name| patterns.iter().any(|pattern| is_named(pattern, name))))
    };
    match test {
        Test::Mark(wanted) => mark(wanted, packet.mark, known),
        Test::IpVersion(wanted) => Answer::of(packet.version().map(|version| version == *wanted)),
        Test::Protocol(wanted) => Answer::of(packet.protocol.map(|one| wanted.contains(&one))),
        Test::Source(wanted) => Answer::of(
            packet
                .src
                .map(|src| wanted.iter().any(|one| one.contain(src))),
        ),
        Test::Destination(wanted) => Answer::of(
            packet
                .dst
                .map(|dst| wanted.iter().any(|one| one.contain(dst))),
        ),
        Test::SourcePort(spans) => port(spans, packet.sport),
        Test::DestinationPort(spans) => port(spans, packet.dport),
        Test::EitherPort(spans) => port(spans, packet.sport).max(port(spans, packet.dport)),
        Test::InDevice(patterns) => named(patterns, packet.in_name()),
        Test::OutDevice(patterns) => named(patterns, packet.out_name()),
        Test::ConntrackState(wanted) => state(wanted, packet),
        Test::TcpFlags { mask, value } => {
            Answer::of(packet.tcp_flags.map(|flags| flags & mask == *value))
        }
        Test::IcmpType(wanted) => Answer::of(packet.icmp_type.map(|one| one == *wanted)),
        Test::SourceType(wanted) => address_type(wanted, packet.src, &packet.own),
        Test::DestinationType(wanted) => address_type(wanted, packet.dst, &packet.own),
        Test::ConntrackMark(_) | Test::Other(_) => Answer::Maybe,
    }
}

/// Whether a mark that is known in part has one of the values.
pub(super) fn mark(wanted: &MarkTest, mark: Option<u32>, known: u32) -> Answer {
    let MarkTest { mask, values } = wanted;
    let value = mark.unwrap_or(0);
    let seen = mask & known;
    if mark.is_some() && seen == *mask {
        let masked = value & mask;
        let held = values
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&masked));
        return Answer::of(Some(held));
    }
    let known = if mark.is_some() { seen } else { 0 };
    // Of a single value the known bits must agree, and no bit may lie outside the mask.
    let possible = values
        .iter()
        .any(|(first, last)| first != last || ((value ^ first) & known == 0 && first & !mask == 0));
    if possible { Answer::Maybe } else { Answer::No }
}

fn state(wanted: &[State], packet: &Packet) -> Answer {
    let answers = wanted.iter().map(|one| match one {
        State::Snat => Answer::of(packet.snat),
        State::Dnat => Answer::of(packet.dnat),
        one => Answer::of(packet.state.map(|state| state == *one)),
    });
    answers.max().unwrap_or(Answer::No)
}

/// Whether an address is of one of these types, as the kernel tells them (`inet_addr_type`, net/ipv4/fib_frontend.c;
/// net/netfilter/xt_addrtype.c).
fn address_type(wanted: &[AddressType], address: Option<IpAddr>, own: &[IpAddr]) -> Answer {
    let Some(address) = address else {
        return Answer::Maybe;
    };
    let known = match address {
        _ if address.is_multicast() => Some(AddressType::Multicast),
        IpAddr::V4(v4) if v4.is_broadcast() || v4.octets()[0] == 0 => Some(AddressType::Broadcast),
        IpAddr::V4(_) if own.contains(&address) => Some(AddressType::Local),
        _ => None,
    };
    match known {
        // Types of IPv6 addresses overlap.
        Some(_) if address.is_ipv6() && wanted != [AddressType::Multicast] => Answer::Maybe,
        Some(known) => Answer::of(Some(wanted.contains(&known))),
        None if wanted.iter().all(|one| *one == AddressType::Multicast) => Answer::No,
        None => Answer::Maybe,
    }
}

/// Whether a device's name is the pattern, or begins with what stands before `+` or `*`; behind a backslash at the end these
/// stand for themselves.
fn is_named(pattern: &str, name: &str) -> bool {
    if let Some((start, last @ ("+" | "*"))) = pattern.rsplit_once('\\') {
        return name.strip_prefix(start).is_some_and(|rest| rest == last);
    }
    match pattern.strip_suffix(['+', '*']) {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::ruleset::{Family, Hook};
    use Answer::{Maybe, No, Yes};

    const ALL: u32 = u32::MAX;

    fn packet() -> Packet {
        Packet {
            in_dev: Some("eth0".into()),
            protocol: Some(17),
            src: Some([10, 0, 0, 1].into()),
            dst: Some([10, 0, 0, 2].into()),
            sport: Some(1000),
            dport: Some(53),
            mark: Some(0x8001),
            state: Some(State::New),
            ..Packet::at(Family::Ip, Hook::Forward)
        }
    }

    #[test]
    fn what_is_known_is_answered_and_negated() {
        let nets = |text: &str| vec![text.parse().expect("addresses")];
        let devices = |name: &str| vec![name.to_owned()];
        for (test, expected) in [
            (Test::Protocol(vec![6, 17]), Yes),
            (Test::Protocol(vec![6]), No),
            (Test::Source(nets("10.0.0.0/24")), Yes),
            (Test::Destination(nets("10.0.1.0/24")), No),
            (Test::Destination(nets("::/0")), No),
            (Test::SourcePort(vec![(1, 5), (1000, 1000)]), Yes),
            (Test::DestinationPort(vec![(54, 60)]), No),
            (Test::EitherPort(vec![(53, 53)]), Yes),
            (Test::InDevice(devices("eth+")), Yes),
            (Test::InDevice(devices("eth1")), No),
            (Test::InDevice(devices("eth\\+")), No),
            (Test::InDevice(devices("eth0\\*")), No),
            (Test::OutDevice(devices("eth0")), Maybe),
            (Test::ConntrackState(vec![State::New, State::Related]), Yes),
            (Test::ConntrackState(vec![State::Invalid]), No),
            (
                Test::ConntrackState(vec![State::Established, State::Dnat]),
                Maybe,
            ),
            (Test::IpVersion(4), Yes),
            (Test::IpVersion(6), No),
            (Test::TcpFlags { mask: 2, value: 2 }, Maybe),
            (Test::Other("-m limit".into()), Maybe),
            (Test::mark(0x8000, 0x8000), Yes),
            (Test::mark(0x8000, ALL), No),
        ] {
            assert_eq!(
                judge(&Match::is(test.clone()), &packet(), ALL),
                expected,
                "{test:?}"
            );
            assert_eq!(
                judge(&Match::is_not(test.clone()), &packet(), ALL),
                !expected,
                "{test:?}"
            );
        }
    }

    #[test]
    fn unknown_bits_of_a_mark_leave_it_open() {
        let one = |value, mask, known| {
            let wanted = MarkTest {
                mask,
                values: vec![(value, value)],
            };
            mark(&wanted, Some(0x8001), known)
        };
        assert_eq!(one(0x8000, 0x8000, 0x8000), Yes);
        assert_eq!(one(0x8000, 0x8000, !0x8000), Maybe);
        assert_eq!(one(0x8001, ALL, !0x8000), Maybe);
        assert_eq!(one(0x8002, ALL, !0x8000), No, "a known bit differs");
        assert_eq!(one(0x3, 0x1, 0), No, "never");
        let range = MarkTest {
            mask: ALL,
            values: vec![(0x8000, 0x9000)],
        };
        assert_eq!(mark(&range, Some(0x8001), ALL), Yes);
        assert_eq!(mark(&range, Some(1), ALL), No);
        assert_eq!(mark(&range, Some(1), 1), Maybe);
        assert_eq!(mark(&range, None, ALL), Maybe);
    }

    #[test]
    fn packets_without_a_device_have_an_empty_name() {
        let made_here = Packet::at(Family::Ip, Hook::Output);
        let test = |name: &str| Match::is(Test::InDevice(vec![name.into()]));
        assert_eq!(judge(&test("eth0"), &made_here, ALL), No);
        assert_eq!(judge(&test("+"), &made_here, ALL), Yes);
        let passing = Packet::at(Family::Ip, Hook::Postrouting);
        assert_eq!(judge(&test("eth0"), &passing, ALL), Maybe);
    }
}
