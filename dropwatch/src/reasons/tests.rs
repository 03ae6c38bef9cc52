//! Every name the kernels know has a text, and the texts are well-formed.

use std::collections::HashSet;

use super::*;

/// Names taken from kernels, see the file's head.
const NAMES: &str = include_str!("names.txt");

#[test]
fn every_name_of_every_kernel_is_explained() {
    let mut rows = NAMES.lines().filter(|line| !line.starts_with('#'));
    let columns = rows
        .next()
        .expect("a head line")
        .split_ascii_whitespace()
        .count();
    let mut count = 0;
    let mut missing = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.split_ascii_whitespace().collect();
        assert_eq!(cells.len(), columns, "{row}");
        assert!(cells[1..].iter().any(|cell| *cell != "-"), "{row}");
        match explain(cells[0]) {
            Some(text) => assert_eq!(text.name, cells[0]),
            None => missing.push(cells[0]),
        }
        count += 1;
    }
    assert!(missing.is_empty(), "no text for {missing:?}");
    assert!(count > 130, "the list is too short: {count}");
}

#[test]
fn tables_are_sorted_and_names_unique() {
    let mut seen = HashSet::new();
    for table in TABLES {
        for pair in table.windows(2) {
            assert!(
                pair[0].name < pair[1].name,
                "{} before {}",
                pair[0].name,
                pair[1].name
            );
        }
        for text in table {
            assert!(seen.insert(text.name), "{} twice", text.name);
        }
    }
}

#[test]
fn texts_are_well_formed() {
    let hints = location::EXACT.iter().chain(location::PREFIXES);
    let whats = TABLES
        .iter()
        .flat_map(|t| t.iter())
        .map(|t| (t.name, t.what, true));
    let looks = TABLES
        .iter()
        .flat_map(|t| t.iter())
        .map(|t| (t.name, t.look, false));
    let hints = hints.map(|(name, _, hint)| (*name, *hint, false));
    for (name, text, one_sentence) in whats.chain(looks).chain(hints) {
        let asks = !one_sentence && text.ends_with('?');
        assert!(text.ends_with('.') || asks, "{name}: {text}");
        assert!(
            text.starts_with(|c: char| c.is_uppercase() || c == '`'),
            "{name}: {text}"
        );
        assert!(!text.contains("  ") && text.is_ascii(), "{name}: {text}");
        assert_eq!(text.matches('`').count() % 2, 0, "{name}: {text}");
        assert!(text.len() < 330, "{name} is too long: {}", text.len());
        if one_sentence {
            assert!(
                !text[..text.len() - 1].contains(". "),
                "{name}: one sentence only: {text}"
            );
        }
    }
}

/// Every text, filled with all values and with none, is ready to paste: nothing is left to be replaced.
#[test]
fn no_hint_has_a_hole() {
    use super::hint::{Values, fill};
    // Words that programs and files are really searched for.
    const REAL: [&str; 8] = [
        "TCPMD5", "TCPAO", "PAWS", "AVC", "DROP", "REJECT", "INPUT", "INVALID",
    ];
    let hints = location::EXACT.iter().chain(location::PREFIXES);
    let looks = TABLES.iter().flat_map(|t| t.iter());
    let texts = looks.map(|t| (t.name, t.look));
    for (name, text) in texts.chain(hints.map(|(name, _, hint)| (*name, *hint))) {
        for (at, piece) in text.split('`').enumerate() {
            let holes = piece.split(|c: char| !c.is_ascii_alphanumeric());
            let hole = holes
                .filter(|word| word.len() > 1 && !REAL.contains(word))
                .find(|word| word.bytes().all(|b| b.is_ascii_uppercase()));
            assert!(at % 2 == 0 || hole.is_none(), "{name}: {hole:?} in {text}");
            assert!(at % 2 == 1 || !piece.contains(['{', '[']), "{name}: {text}");
        }
        let own = crate::facts::Netns {
            own: true,
            ..Default::default()
        };
        let bare = Values {
            netns: Some(&own),
            ..Values::default()
        };
        let known = Values {
            dev: Some("eth0"),
            iif: Some("eth0"),
            ..bare.clone()
        };
        for values in [bare, known] {
            let printed = fill(text, &values);
            let open = printed
                .replace("'tcp[13] ", "")
                .contains(['{', '}', '[', ']']);
            assert!(!open, "{name}: {printed}");
            assert!(
                !printed.contains("the packet is not known"),
                "{name}: {text}"
            );
        }
    }
}

#[test]
fn names_are_accepted_in_all_spellings() {
    let plain = explain("NETFILTER_DROP").expect("a text");
    assert_eq!(plain.class, Class::Firewall);
    assert_eq!(explain("SKB_DROP_REASON_NETFILTER_DROP"), Some(plain));
    assert_eq!(explain("DUP_FRAG").map(|t| t.class), Some(Class::Normal));
    assert_eq!(
        explain("QDISC_DROP_OVERLIMIT").map(|t| t.class),
        Some(Class::Resource)
    );
    assert_eq!(
        explain("OVS_DROP_METER").map(|t| t.name),
        Some("OVS_DROP_METER")
    );
    assert_eq!(
        explain("___RX_DROP_U_MIC_FAIL").map(|t| t.name),
        Some("RX_DROP_*")
    );
    assert_eq!(explain("netfilter_drop"), None);
    assert_eq!(explain("SOMETHING_NEW"), None);
    assert_eq!(explain(""), None);
}

#[test]
fn locations() {
    for pair in location::EXACT.windows(2) {
        assert!(pair[0].0 < pair[1].0, "{} before {}", pair[0].0, pair[1].0);
    }
    assert!(
        location_hint("nf_hook_slow")
            .expect("a text")
            .what
            .contains("netfilter")
    );
    for same in [
        "nf_hook_slow+0xc2/0x110",
        "nf_hook_slow.part.0",
        "nf_hook_slow.constprop.0.isra.1",
    ] {
        assert_eq!(location_hint(same), location_hint("nf_hook_slow"), "{same}");
    }
    assert!(
        location_hint("unix_stream_read_generic")
            .expect("a text")
            .what
            .contains("Unix")
    );
    assert!(location_hint("nft_do_chain_inet").is_some());
    assert_eq!(location_hint("some_driver_xmit"), None);
    assert_eq!(location_hint(""), None);
}
