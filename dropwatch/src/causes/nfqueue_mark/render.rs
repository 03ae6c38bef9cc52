//! What a rule asks for, in the words of iptables or nft: so that advice touches the same packets and no others.
//!
//! Limits: tests of single values; what cannot be said is left out, and the caller is told.

use crate::{
    causes::shell,
    facts::ruleset::{Addresses, Match, State, Test, protocol},
    model::hook::Hook,
};

/// A tool's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Iptables,
    Nft,
}

/// Tests in a tool's words.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rendered {
    /// Ready to stand in a rule; empty when there are none.
    pub(super) text: String,
    /// Whether all of them could be said.
    pub(super) complete: bool,
}

/// Where the packets were tested, and where they are to be tested again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub(super) language: Language,
    /// Hook of the rule that the tests are for.
    pub(super) to: Hook,
    /// The destination may have been translated in between: ask conntrack what it was.
    pub(super) translated: bool,
    /// Bits of the mark that are no longer as they were.
    pub(super) changed: u32,
    /// IP version.
    pub(super) l3: u8,
}

/// Says the tests of rules that lead one to the other.
pub(super) fn render<'a>(tests: impl Iterator<Item = &'a Match>, way: Way) -> Rendered {
    let tests: Vec<&Match> = tests
        .filter(|one| !matches!(one.test, Test::IpVersion(_)))
        .collect();
    // The protocol comes first: ports mean nothing without it.
    let proto = tests.iter().find_map(|one| match &one.test {
        Test::Protocol(numbers) if !one.negated => match numbers[..] {
            [number] => Some(protocol::name(number)),
            _ => None,
        },
        _ => None,
    });
    let mut words: Vec<String> = Vec::new();
    if let Some(proto) = &proto {
        words.push(match way.language {
            Language::Iptables => format!("-p {proto}"),
            Language::Nft => format!("meta l4proto {proto}"),
        });
    }
    let mut complete = true;
    for one in tests {
        if matches!(one.test, Test::Protocol(_)) {
            complete &= proto.is_some() && !one.negated;
            continue;
        }
        match word(one, way, proto.as_deref()) {
            Some(text) if words.contains(&text) => {}
            Some(text) => words.push(text),
            None => complete = false,
        }
    }
    Rendered {
        text: words.join(" "),
        complete,
    }
}

fn word(one: &Match, way: Way, proto: Option<&str>) -> Option<String> {
    let iptables = way.language == Language::Iptables;
    let not = match (one.negated, iptables) {
        (false, _) => "",
        (true, true) => "! ",
        (true, false) => "!= ",
    };
    let ip = if way.l3 == 6 { "ip6" } else { "ip" };
    Some(match &one.test {
        Test::Mark(mark) if mark.mask & way.changed == 0 => {
            let (value, mask) = (single(&mark.values)?, mark.mask);
            match (iptables, one.negated) {
                (true, _) => format!("-m mark {not}--mark {value:#x}/{mask:#x}"),
                (false, false) => format!("meta mark and {mask:#x} == {value:#x}"),
                (false, true) => format!("meta mark and {mask:#x} != {value:#x}"),
            }
        }
        Test::Source(list) => {
            let address = prefix(list)?;
            match iptables {
                true => format!("{not}-s {address}"),
                false => format!("{ip} saddr {not}{address}"),
            }
        }
        Test::Destination(list) => {
            let address = prefix(list)?;
            match (iptables, way.translated) {
                (true, false) => format!("{not}-d {address}"),
                (true, true) => format!("-m conntrack {not}--ctorigdst {address}"),
                (false, false) => format!("{ip} daddr {not}{address}"),
                (false, true) => format!("ct original {ip} daddr {not}{address}"),
            }
        }
        Test::SourcePort(spans) => {
            let ports = span(spans, iptables)?;
            match iptables {
                true => format!("-m {} {not}--sport {ports}", proto?),
                false => format!("{} sport {not}{ports}", proto?),
            }
        }
        Test::DestinationPort(spans) => {
            let ports = span(spans, iptables)?;
            match (iptables, way.translated) {
                (true, false) => format!("-m {} {not}--dport {ports}", proto?),
                (true, true) => format!("-m conntrack {not}--ctorigdstport {ports}"),
                (false, false) => format!("{} dport {not}{ports}", proto?),
                (false, true) => format!("ct original proto-dst {not}{ports}"),
            }
        }
        Test::InDevice(names) => {
            let seen = matches!(way.to, Hook::Prerouting | Hook::Input | Hook::Forward);
            let name = names.first().filter(|_| names.len() == 1 && seen)?;
            match iptables {
                true => format!("{not}-i {}", shell::quoted(&name.replace('*', "+"))),
                false => format!("iifname {not}\"{}\"", name.replace('+', "*")),
            }
        }
        Test::OutDevice(names) => {
            let seen = matches!(way.to, Hook::Forward | Hook::Output | Hook::Postrouting);
            let name = names.first().filter(|_| names.len() == 1 && seen)?;
            match iptables {
                true => format!("{not}-o {}", shell::quoted(&name.replace('*', "+"))),
                false => format!("oifname {not}\"{}\"", name.replace('+', "*")),
            }
        }
        Test::ConntrackState(states) => {
            let names: Option<Vec<&str>> = states.iter().map(|s| state(*s)).collect();
            let names = names?.join(",");
            match iptables {
                true => format!("-m conntrack {not}--ctstate {}", names.to_uppercase()),
                false => format!("ct state {not}{names}"),
            }
        }
        _ => return None,
    })
}

fn prefix(list: &[Addresses]) -> Option<String> {
    match list {
        [one @ Addresses::Prefix(..)] => Some(one.to_string()),
        _ => None,
    }
}

fn single(values: &[(u32, u32)]) -> Option<u32> {
    match values {
        [(first, last)] if first == last => Some(*first),
        _ => None,
    }
}

/// One span of ports: `80`, `80:90` for iptables, `80-90` for nft.
fn span(spans: &[(u16, u16)], iptables: bool) -> Option<String> {
    let [(first, last)] = spans else { return None };
    Some(match (first == last, iptables) {
        (true, _) => first.to_string(),
        (false, true) => format!("{first}:{last}"),
        (false, false) => format!("{first}-{last}"),
    })
}

fn state(state: State) -> Option<&'static str> {
    Some(match state {
        State::Invalid => "invalid",
        State::New => "new",
        State::Established => "established",
        State::Related => "related",
        State::Untracked => "untracked",
        State::Snat | State::Dnat => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(tests: &[Match], language: Language, translated: bool) -> Rendered {
        let way = Way {
            language,
            to: Hook::Input,
            translated,
            changed: 0x8000,
            l3: 4,
        };
        render(tests.iter(), way)
    }

    fn tests() -> Vec<Match> {
        vec![
            Match::is(Test::DestinationPort(vec![(80, 80)])),
            Match::is(Test::Protocol(vec![6])),
            Match::is_not(Test::Source(vec!["10.0.0.0/8".parse().expect("a prefix")])),
            Match::is(Test::InDevice(vec!["lxc+".into()])),
            Match::is(Test::mark(1, 1)),
        ]
    }

    #[test]
    fn both_tools_say_the_same() {
        let said = say(&tests(), Language::Iptables, false);
        assert_eq!(
            said.text,
            "-p tcp -m tcp --dport 80 ! -s 10.0.0.0/8 -i lxc+ -m mark --mark 0x1/0x1"
        );
        assert!(said.complete);
        let said = say(&tests(), Language::Nft, false);
        assert_eq!(
            said.text,
            "meta l4proto tcp tcp dport 80 ip saddr != 10.0.0.0/8 iifname \"lxc*\" meta mark and 0x1 == 0x1"
        );
        let said = say(&tests()[..2], Language::Iptables, true);
        assert_eq!(said.text, "-p tcp -m conntrack --ctorigdstport 80");
        let said = say(&tests()[..2], Language::Nft, true);
        assert_eq!(said.text, "meta l4proto tcp ct original proto-dst 80");
    }

    #[test]
    fn what_cannot_be_said_is_owned_up_to() {
        let other = [Match::is(Test::Other("-m recent".into()))];
        let said = say(&other, Language::Iptables, false);
        assert_eq!((said.text.as_str(), said.complete), ("", false));
        let changed = [Match::is(Test::mark(0x8000, 0xc000))];
        assert!(
            !say(&changed, Language::Nft, false).complete,
            "the program changed what it asks for"
        );
        let two = [Match::is(Test::DestinationPort(vec![(1, 2), (5, 5)]))];
        assert!(!say(&two, Language::Nft, false).complete);
        let out = [Match::is(Test::OutDevice(vec!["eth0".into()]))];
        assert!(
            !say(&out, Language::Nft, false).complete,
            "not known at INPUT"
        );
    }
}
