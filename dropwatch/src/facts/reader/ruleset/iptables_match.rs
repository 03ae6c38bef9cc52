//! What a rule that iptables-save printed asks for.

use super::words::{masked, ports};
use crate::facts::ruleset::test::{AddressType, MarkTest};
use crate::facts::ruleset::{Match, State, Test, protocol};

/// Modules whose options are read one by one. What others ask for is one thing that is not understood.
const UNDERSTOOD: [&str; 15] = [
    "addrtype",
    "tcp",
    "udp",
    "udplite",
    "sctp",
    "dccp",
    "icmp",
    "icmp6",
    "multiport",
    "mark",
    "connmark",
    "conntrack",
    "state",
    "iprange",
    "comment",
];

/// The conditions in the words between the chain's name and the target.
pub(super) fn matches(words: &[String]) -> Vec<Match> {
    let mut matches = Vec::new();
    let mut rest = words;
    let mut module = "";
    while !rest.is_empty() {
        if let [option, name, ..] = rest
            && option == "-m"
        {
            module = name;
        }
        let (one, used) = next(rest, module);
        matches.extend(one);
        rest = rest.get(used..).unwrap_or_default();
    }
    matches
}

/// The condition that the words begin with, and how many words it takes.
fn next(words: &[String], module: &str) -> (Option<Match>, usize) {
    if words[0] == "-m" {
        // Their header must be there, which later fragments do not have (net/netfilter/xt_tcpudp.c).
        if let "tcp" | "udp" = module {
            return (
                Some(Match::is(Test::DestinationPort(vec![(0, u16::MAX)]))),
                2,
            );
        }
        if UNDERSTOOD.contains(&module) {
            return (None, 2);
        }
        // A module's options follow it; those of the rule itself come before the first module.
        let length = words[1..].iter().position(|word| word == "-m");
        let used = length.map_or(words.len(), |length| length + 1);
        return (Some(other(&words[..used])), used);
    }
    let negated = words[0] == "!";
    let option = &words[usize::from(negated)..];
    let Some(name) = option.first() else {
        return (Some(other(words)), words.len());
    };
    // An option's values go on to the next option; only free text may look like one.
    let values = match name.as_str() {
        "--comment" => 1,
        _ => option[1..]
            .iter()
            .take_while(|word| !word.starts_with('-') && *word != "!")
            .count(),
    };
    let used = (usize::from(negated) + 1 + values).min(words.len());
    if name == "--comment" || (name == "-p" && values == 1 && option[1] == "all") {
        return (None, used);
    }
    let values = option.get(1..=values).unwrap_or_default();
    let read = test(module, name, values).map(|test| Match { negated, test });
    (Some(read.unwrap_or_else(|| other(&words[..used]))), used)
}

fn other(words: &[String]) -> Match {
    Match::is(Test::Other(words.join(" ")))
}

/// The test that a module's option stands for; `None` when it is not understood.
fn test(module: &str, option: &str, values: &[String]) -> Option<Test> {
    if option == "--tcp-flags" {
        let [mask, value] = values else { return None };
        return Some(Test::TcpFlags {
            mask: flags(mask)?,
            value: flags(value)?,
        });
    }
    let [value] = values else { return None };
    let mark = || {
        let (value, mask) = masked(value)?;
        Some(MarkTest {
            mask,
            values: vec![(value, value)],
        })
    };
    Some(match option {
        "-s" | "--src-range" => Test::Source(vec![value.parse().ok()?]),
        "-d" | "--dst-range" => Test::Destination(vec![value.parse().ok()?]),
        "-i" => Test::InDevice(vec![device(value)]),
        "-o" => Test::OutDevice(vec![device(value)]),
        "-p" => Test::Protocol(vec![protocol::number(value)?]),
        "--sport" | "--sports" => Test::SourcePort(ports(value)?),
        "--dport" | "--dports" => Test::DestinationPort(ports(value)?),
        "--ports" => Test::EitherPort(ports(value)?),
        "--mark" if module == "connmark" => Test::ConntrackMark(mark()?),
        "--mark" => Test::Mark(mark()?),
        "--ctstate" | "--state" => {
            let states = value.split(',');
            Test::ConntrackState(states.map(State::by_name).collect::<Option<_>>()?)
        }
        "--src-type" => Test::SourceType(value.split(',').map(AddressType::by_name).collect()),
        "--dst-type" => Test::DestinationType(value.split(',').map(AddressType::by_name).collect()),
        "--icmp-type" | "--icmpv6-type" => Test::IcmpType(value.parse().ok()?),
        _ => return None,
    })
}

/// Only nft gives a `*` at the end a meaning.
fn device(name: &str) -> String {
    match name.strip_suffix('*') {
        Some(start) => format!("{start}\\*"),
        None => name.to_owned(),
    }
}

/// TCP flags by name: `SYN,RST`, `ALL`, `NONE`.
pub(super) fn flags(names: &str) -> Option<u8> {
    let flag = |name: &str| {
        Some(match name.to_ascii_lowercase().as_str() {
            "fin" => 1,
            "syn" => 2,
            "rst" => 4,
            "psh" => 8,
            "ack" => 16,
            "urg" => 32,
            "ecn" => 64,
            "cwr" => 128,
            "all" => 63,
            "none" => 0,
            _ => return None,
        })
    };
    names
        .split(',')
        .map(flag)
        .try_fold(0, |all, one| Some(all | one?))
}

#[cfg(test)]
mod tests {
    use super::super::words::words;
    use super::*;

    fn read(text: &str) -> Vec<Match> {
        matches(&words(text))
    }

    #[test]
    fn every_module_is_understood_or_other() {
        let source = |text: &str| Test::Source(vec![text.parse().expect("addresses")]);
        let other = |text: &str| vec![Match::is(Test::Other(text.into()))];
        let (tcp, udp) = (
            Match::is(Test::Protocol(vec![6])),
            Match::is(Test::Protocol(vec![17])),
        );
        let states = |names: &[State]| Test::ConntrackState(names.to_vec());
        let dns = vec![(53, 53), (5353, 5353), (6000, 6010)];
        // All but --src-range as iptables-save 1.8.9 prints them.
        for (text, expected) in [
            ("", vec![]),
            ("-p all -m comment --comment \"-m mark\"", vec![]),
            (
                "! -s 127.0.0.0/8",
                vec![Match::is_not(source("127.0.0.0/8"))],
            ),
            ("-s 10.0.0.0/255.0.255.0", other("-s 10.0.0.0/255.0.255.0")),
            (
                "-m mark --mark 0x8000/0x8000",
                vec![Match::is(Test::mark(0x8000, 0x8000))],
            ),
            (
                "-m mark ! --mark 0x5",
                vec![Match::is_not(Test::mark(5, u32::MAX))],
            ),
            (
                "-m connmark --mark 0x1/0x3",
                vec![Match::is(Test::ConntrackMark(MarkTest {
                    mask: 3,
                    values: vec![(1, 1)],
                }))],
            ),
            (
                "-m conntrack ! --ctstate INVALID,DNAT",
                vec![Match::is_not(states(&[State::Invalid, State::Dnat]))],
            ),
            (
                "-m state --state NEW",
                vec![Match::is(states(&[State::New]))],
            ),
            ("-m conntrack --ctdir ORIGINAL", other("--ctdir ORIGINAL")),
            (
                "-i eth+ ! -o veth0",
                vec![
                    Match::is(Test::InDevice(vec!["eth+".into()])),
                    Match::is_not(Test::OutDevice(vec!["veth0".into()])),
                ],
            ),
            (
                "-p udp -m multiport --dports 53,5353,6000:6010",
                vec![udp, Match::is(Test::DestinationPort(dns))],
            ),
            (
                "-p tcp -m tcp --sport 1000:2000 ! --dport 80 --tcp-flags SYN,RST SYN",
                vec![
                    tcp,
                    Match::is(Test::DestinationPort(vec![(0, u16::MAX)])),
                    Match::is(Test::SourcePort(vec![(1000, 2000)])),
                    Match::is_not(Test::DestinationPort(vec![(80, 80)])),
                    Match::is(Test::TcpFlags { mask: 6, value: 2 }),
                ],
            ),
            (
                "-m addrtype ! --src-type MULTICAST --dst-type LOCAL,BROADCAST",
                vec![
                    Match::is_not(Test::SourceType(vec![AddressType::Multicast])),
                    Match::is(Test::DestinationType(vec![
                        AddressType::Local,
                        AddressType::Broadcast,
                    ])),
                ],
            ),
            ("-m limit --limit 5/min", other("-m limit --limit 5/min")),
            (
                "-m set ! --match-set foo src",
                other("-m set ! --match-set foo src"),
            ),
            ("-m rpfilter --invert", other("-m rpfilter --invert")),
            ("-f", other("-f")),
            ("! -f", other("! -f")),
            (
                "-m iprange --src-range 10.0.0.1-10.0.0.9",
                vec![Match::is(source("10.0.0.1-10.0.0.9"))],
            ),
            ("-m icmp --icmp-type 8", vec![Match::is(Test::IcmpType(8))]),
            ("-m icmp --icmp-type 3/1", other("--icmp-type 3/1")),
            (
                "-m socket -m mark --mark 0x1",
                [other("-m socket"), vec![Match::is(Test::mark(1, u32::MAX))]].concat(),
            ),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn lines_that_end_early_do_no_harm() {
        for text in [
            "!",
            "-m",
            "-s",
            "-m mark --mark",
            "-p",
            "-m tcp --tcp-flags SYN",
            "x",
        ] {
            assert!(read(text).len() <= 2, "{text}");
        }
        assert_eq!(flags("ALL"), Some(63));
        assert_eq!(flags("SYN,XYZ"), None);
    }
}
