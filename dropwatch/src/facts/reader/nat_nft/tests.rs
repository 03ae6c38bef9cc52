use super::super::nat_chains::in_order;
use super::*;

// As nft 1.0.6 prints them.
const NATIVE: &str = include_str!("native.json");
const NATIVE_TEXT: &str = include_str!("native.txt");
const IPTABLES: &str = include_str!("iptables.json");
const IPTABLES_TEXT: &str = include_str!("iptables.txt");

#[test]
fn native_rules_are_read_in_order_of_evaluation() {
    let table = parse(NATIVE, &texts(NATIVE_TEXT)).expect("valid");
    assert!(!table.iptables);
    let rules = in_order(table.chains);
    let brief: Vec<_> = rules
        .iter()
        .map(|rule| {
            let to = rule.to.as_deref();
            (
                rule.chain.as_str(),
                rule.action.as_str(),
                to,
                rule.fully_random,
            )
        })
        .collect();
    let expected = [
        ("sub", "dnat", None, false),
        ("sub", "redirect", Some(":8081"), false),
        ("pre", "dnat", Some("10.0.0.9"), false),
        ("post", "masquerade", Some(":40000-40010"), true),
        ("post", "snat", Some("192.0.2.1:1000-1005"), false),
        ("post", "snat", Some("192.0.2.1-192.0.2.5"), false),
        ("post", "snat", Some("[fd01::1]:40000-40010"), false),
        ("post", "masquerade", None, true),
    ];
    assert_eq!(brief, expected);
    let asked: Vec<_> = rules
        .iter()
        .map(|rule| {
            let (dev, source) = (rule.out_dev.as_deref(), rule.source.as_deref());
            (dev, source, rule.proto.as_deref())
        })
        .collect();
    let expected = [
        (None, None, Some("tcp")),
        (None, None, Some("tcp")),
        (None, None, Some("udp")),
        (Some("eth0"), Some("10.0.0.0/24"), Some("tcp")),
        (None, None, Some("udp")),
        (Some("lo"), Some("10.0.0.1/32"), None),
        (None, Some("fd00::/64"), Some("tcp")),
        (None, None, None),
    ];
    assert_eq!(asked, expected);
    let first = &rules[3];
    assert_eq!(
        (first.backend.as_str(), first.table.as_str()),
        ("nft", "inet my")
    );
    assert_eq!(
        first.text,
        "oifname \"eth0\" ip saddr 10.0.0.0/24 meta l4proto tcp masquerade to :40000-40010 \
         fully-random comment \"hello\""
    );
    assert!(rules.iter().all(|rule| rule.handle.is_some()));
}

#[test]
fn targets_of_iptables_are_read_from_the_text() {
    let table = parse(IPTABLES, &texts(IPTABLES_TEXT)).expect("valid");
    assert!(table.iptables);
    let rules = in_order(table.chains);
    assert_eq!(rules.len(), 2);
    let (masquerade, snat) = (&rules[0], &rules[1]);
    assert_eq!(masquerade.action, "masquerade");
    assert!(masquerade.fully_random && masquerade.to.is_none());
    assert_eq!(masquerade.out_dev.as_deref(), Some("eth9"));
    assert_eq!(masquerade.handle, Some(2));
    assert_eq!(snat.to.as_deref(), Some("192.0.2.1:40000-40010"));
    assert!(!snat.fully_random);
    assert_eq!(snat.proto.as_deref(), Some("udp"));
}

#[test]
fn what_is_not_nft_is_an_error() {
    assert!(parse("{}", &HashMap::new()).is_err());
    assert!(parse("", &HashMap::new()).is_err());
    let odd = r#"{"nftables": [{"rule": 1}, {"chain": null}, 7, {"rule": {"handle": "x", "expr": [[], 3]}}]}"#;
    let table = parse(odd, &HashMap::new()).expect("valid JSON");
    assert_eq!(in_order(table.chains), []);
    let rule = rule(&[serde_json::json!({"masquerade": null})], None).expect("a rule");
    assert_eq!(rule.text, "masquerade");
}
