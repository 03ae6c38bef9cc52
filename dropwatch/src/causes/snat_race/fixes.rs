//! What to change.

use std::net::IpAddr;

use super::{case::Case, refusal::turned};
use crate::{causes::shell, facts::ruleset::Backend, model::explanation::Fix, netfilter::NatRule};

/// The changes that make the loss rare or end it.
pub fn fixes(case: &Case<'_>) -> Vec<Fix> {
    let mut fixes = Vec::new();
    if case.fixed_port() {
        let to = turned(&case.insertion.reply);
        let (address, port) = match to.src {
            IpAddr::V4(address) => (address.to_string(), to.sport),
            IpAddr::V6(address) => (format!("[{address}]"), to.sport),
        };
        fixes.push(fix(
            &format!(
                "Give the rule more ports or addresses: {address}:1024-65535 in place of {address}:{port} (iptables: \
                 --to-source, nft: snat to)"
            ),
            Vec::new(),
            "One port carries one connection per destination.",
        ));
    } else if let Some(rule) = case.rule.as_ref().ok().filter(|r| !r.nat.fully_random) {
        fixes.push(fix(
            "Use fully random ports in this rule",
            random(rule).map(|c| case.inside(&c)).into_iter().collect(),
            "The clash becomes rare, it does not become impossible. What writes the rule (kube-proxy, a CNI \
             plug-in) may write it anew: set it there too. Existing connections keep their ports.",
        ));
    }
    fixes.push(fix(
        "Fewer connections to one destination: more source addresses, connections that are kept open, a \
         resolver cache on the node or TCP for DNS",
        Vec::new(),
        "Every port is used once per destination address and port.",
    ));
    if case.rule.is_err() {
        fixes.push(fix(
            "Fully random ports, if the rule that translates it has none yet (iptables: --random-fully, nft: \
             fully-random)",
            Vec::new(),
            "Which rule that is could not be told here. The clash becomes rare, it does not become impossible.",
        ));
    }
    fixes[0].primary = true;
    fixes
}

fn fix(title: &str, commands: Vec<String>, cost: &str) -> Fix {
    Fix {
        title: title.into(),
        commands,
        file: None,
        cost: Some(cost.into()),
        primary: false,
    }
}

/// The command that replaces the rule by a fully random one (iptables 1.6.2, nft 0.8.1 or later).
fn random(rule: &NatRule<'_>) -> Option<String> {
    let NatRule { chain, rule, .. } = rule;
    match chain.backend {
        // In its place and in one step: the order of the rules decides, and no packet meets a gap.
        Backend::IptablesLegacy | Backend::IptablesNft => Some(format!(
            "{program}-save -c -t nat | sed 's|^\\(\\[[0-9:]*\\] \\)\\?{rule}$|& --random-fully|' | {program}-restore -c",
            program = chain.program(),
            rule = pattern(&rule.text),
        ))
        // Where nft read the table for want of iptables-nft-save, the text is nft's.
        .filter(|_| rule.text.starts_with("-A ")),
        // Without its text its matches are not known, and another rule would take its place.
        Backend::Nft => {
            let handle = rule.handle?;
            let text = with_random(rule.whole_text()?.split(" # ").next()?.trim())?;
            // Its comparisons, comments and quotes are words for nft, not for the shell.
            let statement = format!(
                "replace rule {} {} handle {handle} {text}",
                chain.table, chain.name
            );
            Some(format!("nft {}", shell::quoted(&statement)))
        }
    }
}

/// A rule's text with one more flag: those of the NAT statement stand last, before the comment.
fn with_random(text: &str) -> Option<String> {
    let (rule, comment) = match text.find(" comment \"") {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let last = rule.rsplit(' ').next().filter(|word| !word.is_empty())?;
    let flags = last
        .split(',')
        .all(|flag| matches!(flag, "random" | "persistent"));
    let between = if flags { "," } else { " " };
    Some(format!("{rule}{between}fully-random{comment}"))
}

/// A text as a basic regular expression between `|` in single quotes; `None` of its letters means anything
/// else than itself.
fn pattern(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c {
            '.' | '*' | '[' | ']' | '^' | '$' | '\\' | '|' => vec!['\\', c],
            '\'' => r"'\''".chars().collect(),
            c => vec![c],
        })
        .collect()
}

impl Case<'_> {
    fn inside(&self, command: &str) -> String {
        shell::inside(self.netns, command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_more_flag_stands_with_the_others() {
        let cases = [
            (
                "oifname \"eth0\" masquerade",
                "oifname \"eth0\" masquerade fully-random",
            ),
            (
                "masquerade to :1024-65535",
                "masquerade to :1024-65535 fully-random",
            ),
            (
                "snat to 1.2.3.4 random",
                "snat to 1.2.3.4 random,fully-random",
            ),
            (
                "masquerade comment \"pods out\"",
                "masquerade fully-random comment \"pods out\"",
            ),
        ];
        for (before, after) in cases {
            assert_eq!(with_random(before).as_deref(), Some(after));
        }
        assert_eq!(with_random(""), None);
    }
}
