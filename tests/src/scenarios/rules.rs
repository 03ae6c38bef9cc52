//! Firewall rules that must be named: in `facts.rule` and the like, and in `facts.netfilter`.

use serde_json::Value;

use crate::expect::Check;

/// A rule, as it must be shown.
#[derive(Clone, Copy, Debug)]
pub struct WantedRule {
    /// `iptables-legacy`, `iptables-nft` or `nft`.
    pub backend: &'static str,
    /// The table; with its family unless the back end is the legacy one.
    pub table: &'static str,
    /// The chain.
    pub chain: &'static str,
    /// What its text must contain, all of it.
    pub words: &'static [&'static str],
}

/// What netfilter did to a packet.
#[derive(Clone, Copy, Debug)]
pub struct WantedNetfilter<'a> {
    /// `ip` or `ip6`.
    pub family: &'static str,
    /// Where the packet was.
    pub hook: &'static str,
    /// All rules that can have dropped it; certainly the one where there is one.
    pub rules: &'a [WantedRule],
}

impl WantedRule {
    /// Whether rules of this back end have handles.
    fn has_handle(&self) -> bool {
        self.backend != "iptables-legacy"
    }

    /// The back end's other name, of the kernel's side.
    fn side(&self) -> &'static str {
        if self.has_handle() {
            "nf_tables"
        } else {
            "legacy"
        }
    }

    /// The rule at a JSON pointer must be this one.
    pub fn check(&self, check: &mut Check<'_>, pointer: &str) {
        let at = |field: &str| format!("{pointer}/{field}");
        check
            .eq(&at("backend"), self.backend)
            .eq(&at("table"), self.table)
            .eq(&at("chain"), self.chain);
        for word in self.words {
            check.mentions(&at("text"), &[word]);
        }
        if self.has_handle() {
            check.is(&at("handle"), "a handle", Value::is_u64);
        } else {
            check.eq(&at("handle"), Value::Null);
        }
    }

    fn is(&self, rule: &Value) -> bool {
        let text = rule["text"].as_str().unwrap_or_default().to_lowercase();
        rule["backend"] == self.backend
            && rule["table"] == self.table
            && rule["chain"] == self.chain
            && self
                .words
                .iter()
                .all(|word| text.contains(&word.to_lowercase()))
    }
}

impl WantedNetfilter<'_> {
    /// `facts.netfilter` must name exactly these rules.
    pub fn check(&self, check: &mut Check<'_>) {
        let at = |field: &str| format!("/facts/netfilter/{field}");
        check
            .eq(&at("family"), self.family)
            .eq(&at("hook"), self.hook)
            .eq(&at("certain"), self.rules.len() == 1);
        check.is(
            &at("rules"),
            &format!("exactly {:?}", self.rules),
            |found| {
                let found = found.as_array().map(Vec::as_slice).unwrap_or_default();
                found.len() == self.rules.len() && self.all_in(found)
            },
        );
        if let [rule] = self.rules {
            check
                .eq(&at("backend"), rule.side())
                .eq(&at("table"), rule.table);
        }
    }

    /// The same where the kernel did not show which hook dropped: nothing may be said, but nothing
    /// wrong.
    pub fn check_unseen(&self, check: &mut Check<'_>) {
        let wanted = format!("null, or rules with {:?}", self.rules);
        check.is("/facts/netfilter", &wanted, |found| {
            let rules = found["rules"].as_array().map(Vec::as_slice);
            let rules = rules.unwrap_or_default();
            rules.is_empty() && found["certain"] != true || self.all_in(rules)
        });
    }

    fn all_in(&self, found: &[Value]) -> bool {
        self.rules
            .iter()
            .all(|rule| found.iter().any(|found| rule.is(found)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RULE: WantedRule = WantedRule {
        backend: "nft",
        table: "ip decoy",
        chain: "input",
        words: &["7777", "DROP"],
    };
    const WANTED: WantedNetfilter<'_> = WantedNetfilter {
        family: "ip",
        hook: "input",
        rules: &[RULE],
    };

    fn line(chains: &[&str], certain: bool) -> Value {
        let rules: Vec<Value> = chains
            .iter()
            .map(|chain| {
                json!({"backend": "nft", "table": "ip decoy", "chain": chain,
                    "text": "udp dport 7777 drop", "handle": 4})
            })
            .collect();
        json!({"facts": {"netfilter": {"family": "ip", "hook": "input", "backend": "nf_tables",
            "table": "ip decoy", "chain": "input", "certain": certain, "rules": rules}}})
    }

    fn fails(line: &Value, check: impl Fn(&mut Check<'_>)) -> bool {
        let mut collected = Check::new(line);
        check(&mut collected);
        collected.done("line").is_err()
    }

    #[test]
    fn exactly_the_rule_is_wanted_where_the_hook_was_seen() {
        assert!(!fails(&line(&["input"], true), |c| WANTED.check(c)));
        assert!(fails(&line(&["input"], false), |c| WANTED.check(c)));
        assert!(fails(&line(&["input", "other"], true), |c| WANTED.check(c)));
        assert!(fails(&line(&["other"], true), |c| WANTED.check(c)));
        assert!(fails(&line(&[], true), |c| WANTED.check(c)));
        assert!(fails(&json!({"facts": {"netfilter": null}}), |c| WANTED.check(c)));
    }

    #[test]
    fn nothing_may_be_known_where_it_was_not() {
        let nothing = json!({"facts": {"netfilter": null}});
        assert!(!fails(&nothing, |c| WANTED.check_unseen(c)));
        assert!(!fails(&line(&["input", "other"], false), |c| WANTED
            .check_unseen(c)));
        assert!(!fails(&line(&[], false), |c| WANTED.check_unseen(c)));
        assert!(fails(&line(&[], true), |c| WANTED.check_unseen(c)));
        assert!(fails(&line(&["other"], false), |c| WANTED.check_unseen(c)));
    }

    #[test]
    fn a_rule_of_nft_has_a_handle() {
        let good = line(&["input"], true);
        let pointer = "/facts/netfilter/rules/0";
        assert!(!fails(&good, |c| RULE.check(c, pointer)));
        let mut bad = good;
        bad["facts"]["netfilter"]["rules"][0]["handle"] = Value::Null;
        assert!(fails(&bad, |c| RULE.check(c, pointer)));
    }
}
