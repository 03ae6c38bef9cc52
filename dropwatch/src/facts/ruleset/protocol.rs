//! Names of IP protocols, as iptables and nft write them.

/// The first name of a number is the one that rules are printed with.
const NAMES: [(&str, u8); 21] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipencap", 4),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ipv6-crypt", 50),
    ("ah", 51),
    ("ipv6-auth", 51),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("ospf", 89),
    ("pim", 103),
    ("comp", 108),
    ("vrrp", 112),
    ("sctp", 132),
    ("udplite", 136),
];

/// Number of a protocol by its name in any case, or by the number as text.
#[must_use]
pub fn number(name: &str) -> Option<u8> {
    let mut names = NAMES.iter();
    let found = names.find(|(one, _)| one.eq_ignore_ascii_case(name));
    found
        .map(|(_, number)| *number)
        .or_else(|| name.parse().ok())
}

/// Name of a protocol in lower case, or its number as text.
#[must_use]
pub fn name(number: u8) -> String {
    let found = NAMES.iter().find(|(_, one)| *one == number);
    found.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        assert_eq!(number("TCP"), Some(6));
        assert_eq!(number("ipv6-icmp"), number("ICMPv6"));
        assert_eq!(number("47"), Some(47));
        assert_eq!(number("mobility-header"), None);
        assert_eq!(
            (name(6), name(58), name(200)),
            ("tcp".into(), "ipv6-icmp".into(), "200".into())
        );
    }
}
