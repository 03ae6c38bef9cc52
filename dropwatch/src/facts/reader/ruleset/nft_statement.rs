//! What the statements of a rule in nft's JSON do.

use serde_json::Value;

use super::nft_match::{implied_by_change, key_is, matches};
use super::nft_target::{header_change, mark_change, nat, nat_of_xt, queue, xt};
use crate::facts::ruleset::{Family, MarkChange, Match, NatAction, Rule, Target, Test};

/// Statements that let every packet go on, and that change nothing rules are judged by.
const HARMLESS: [&str; 9] = [
    "log",
    "notrack",
    "ct helper",
    "ct timeout",
    "ct expectation",
    "flow",
    "dup",
    "last",
    "continue",
];

/// Most rules that one verdict map becomes.
const MOST_PARTS: usize = 1024;

/// Most bytes that the parts of one rule may come to: each has all matches before it once more.
const MOST_BYTES: usize = 4 << 20;

/// Longest text of a rule that is several: each has it once more.
const LONGEST_TEXT: usize = 1024;

/// A rule as one or more: those of a verdict map differ in what they ask for and do.
pub(super) fn rules(expressions: &[Value], family: Family, text: &str) -> Vec<Rule> {
    let mut parts = Vec::new();
    let mut rule = Rule {
        text: text.to_owned(),
        ..Rule::default()
    };
    // What the matches so far take, more or less.
    let mut bytes = 0;
    for one in expressions {
        let Some((name, body)) = one.as_object().and_then(|fields| fields.iter().next()) else {
            // What nft has no JSON for is printed as in its language: a jump to a chain without a name (1.0.6), a drop too.
            rule.targets.push(Target::Unknown(one.to_string()));
            rule.packets = None;
            continue;
        };
        let asked = rule.matches.len();
        match name.as_str() {
            // A named counter may count other rules' packets too.
            "counter" => rule.packets = body["packets"].as_u64(),
            "match" => {
                if !rule.targets.is_empty() {
                    clip(&mut rule);
                    if (parts.len() + 1).saturating_mul(bytes) > MOST_BYTES {
                        return vec![anything(rule, "too long to be told apart")];
                    }
                    parts.push(rule.clone());
                    behind_a_change(&mut rule);
                }
                bytes += length(one);
                rule.matches.extend(matches(body, family));
            }
            "vmap" => {
                rule.packets = None;
                clip(&mut rule);
                let elements = body["data"]["set"].as_array().map_or(0, Vec::len);
                let cost = elements.saturating_mul(bytes + rule.text.len());
                if elements > MOST_PARTS || cost > MOST_BYTES {
                    let what = format!("vmap of {elements} elements");
                    parts.push(anything(rule, &what));
                    return parts;
                }
                parts.extend(verdict_map(&rule, body, family));
                // Whatever the map does not have ends the rule.
                return parts;
            }
            name if HARMLESS.contains(&name) => {}
            name => statement(&mut rule, name, one, body, family),
        }
        // What was counted before is more than what comes to the end.
        if rule.matches.len() > asked {
            rule.packets = None;
        }
    }
    parts.push(rule);
    parts
}

/// The rule, which may do anything.
fn anything(mut rule: Rule, what: &str) -> Rule {
    rule.targets.push(Target::Unknown(what.to_owned()));
    rule
}

/// Cuts a long text off, with a sign that it was.
fn clip(rule: &mut Rule) {
    if rule.text.len() > LONGEST_TEXT {
        rule.text
            .truncate(rule.text.floor_char_boundary(LONGEST_TEXT));
        rule.text.push_str(Rule::CUT_OFF);
    }
}

/// How long it is as JSON.
fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(list) => list.iter().map(|one| length(one) + 1).sum::<usize>() + 2,
        Value::Object(fields) => {
            let each = fields
                .iter()
                .map(|(name, one)| name.len() + 4 + length(one));
            each.sum::<usize>() + 2
        }
        _ => 8,
    }
}

/// What was done so far is another rule; what follows sees another mark than the matches before it did.
fn behind_a_change(rule: &mut Rule) {
    rule.targets.clear();
    for one in &mut rule.matches {
        if let Test::Mark(_) | Test::ConntrackMark(_) = one.test {
            *one = Match::is(Test::Other("as it was before".into()));
        }
    }
}

fn not_understood(statement: &Value) -> Match {
    Match::is(Test::Other(statement.to_string()))
}

fn statement(rule: &mut Rule, name: &str, whole: &Value, body: &Value, family: Family) {
    if let Some(target) = verdict(name, body) {
        rule.targets.push(target);
        return;
    }
    if let Some(action) = NatAction::by_name(name) {
        rule.targets.push(Target::Nat(nat(action, body)));
        return;
    }
    match name {
        "queue" => rule.targets.push(queue(body)),
        "mangle" => {
            // Listings leave out that the packet must have what is written.
            rule.matches.extend(implied_by_change(&body["key"], family));
            rule.targets
                .extend(mark_change(body).or_else(|| header_change(body)));
        }
        "xt" => match (body["type"].as_str(), body["name"].as_str()) {
            (Some("match"), Some("comment")) => {}
            (Some("target"), Some(target)) => match NatAction::by_name(target) {
                Some(action) => rule
                    .targets
                    .push(Target::Nat(nat_of_xt(action, &rule.text))),
                None => rule.targets.extend(xt(target)),
            },
            _ => rule.matches.push(not_understood(whole)),
        },
        "synproxy" | "fwd" => rule.targets.push(Target::Unknown(whole.to_string())),
        // It may end the rule, as a limit does.
        _ => rule.matches.push(not_understood(whole)),
    }
}

/// A verdict by its name.
fn verdict(name: &str, body: &Value) -> Option<Target> {
    let chain = || body["target"].as_str().map(str::to_owned);
    Some(match name {
        "drop" => Target::Drop,
        "reject" => Target::Reject,
        "accept" => Target::Accept,
        "return" => Target::Return,
        "jump" => Target::Jump(chain()?),
        "goto" => Target::Goto(chain()?),
        _ => return None,
    })
}

/// One rule for each verdict.
fn verdict_map(rule: &Rule, body: &Value, family: Family) -> Vec<Rule> {
    let Some(pairs) = body["data"]["set"].as_array() else {
        let target = Target::Unknown(format!("{} vmap {}", body["key"], body["data"]));
        let mut rule = rule.clone();
        rule.targets.push(target);
        return vec![rule];
    };
    let parts = pairs.iter().map(|pair| {
        let mut part = rule.clone();
        let value = pair[0].get("elem").map_or(&pair[0], |elem| &elem["val"]);
        part.matches.extend(key_is(&body["key"], value, family));
        let verdict = pair[1].as_object().and_then(|fields| fields.iter().next());
        if let Some((name, body)) = verdict {
            part.targets.extend(self::verdict(name, body));
        }
        part
    });
    parts.collect()
}

/// Anything may become of the mark.
pub(super) const ANYTHING: MarkChange = MarkChange {
    clear: u32::MAX,
    flip: 0,
    unknown: u32::MAX,
};
