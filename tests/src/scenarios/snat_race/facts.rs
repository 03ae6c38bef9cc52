//! Every fact that a `snat_race` verdict must show.

use anyhow::Result;
use serde_json::Value;

use super::CAUSE;
use super::case::WantedRule;
use crate::expect::{Check, packet_differences};
use crate::topology::nat::Nat;
use crate::traffic::flow::Tuple;
use crate::traffic::nat::Proto;

/// Who met whom.
#[derive(Clone, Copy, Debug)]
pub struct Clash {
    /// What both spoke.
    pub proto: Proto,
    /// The packet that was dropped, as its client sent it.
    pub loser: Tuple,
    /// The connection that has the port, as its client sent it.
    pub winner: Tuple,
    /// What both were translated to.
    pub translated: Tuple,
}

/// Every fact that `docs/events.md` lists for this cause.
pub fn check_facts(
    check: &mut Check<'_>,
    nat: &Nat,
    clash: &Clash,
    rule: &WantedRule,
) -> Result<()> {
    check.eq("/cause", CAUSE);
    for pointer in ["/title", "/summary"] {
        check.is(pointer, "a text", |text| {
            text.as_str().is_some_and(|text| !text.is_empty())
        });
    }
    let port = clash.translated.sport.unwrap_or(0).to_string();
    check
        .mentions("/summary", &[clash.loser.src])
        .mentions("/summary", &[&port]);
    check.eq("/drop/netns/inum", nat.node.inum());
    check.reason("/drop/reason/name", &["NETFILTER_DROP"]);
    check.eq("/drop/location/symbol", "nf_hook_slow");
    check.eq("/facts/kind", "snat_clash");
    let name = match clash.proto {
        Proto::Udp => "UDP",
        Proto::Tcp => "TCP",
    };
    check.eq("/facts/proto", name);
    for (pointer, tuple) in [
        ("/drop/packet", &clash.translated),
        ("/facts/loser/original", &clash.loser),
        ("/facts/loser/translated", &clash.translated),
        ("/facts/winner/original", &clash.winner),
        ("/facts/winner/translated", &clash.translated),
    ] {
        check.is(pointer, &format!("{tuple:?}"), |found| {
            packet_differences(found, tuple).is_empty()
        });
    }
    check.any("/facts/winner/from", &["kernel".into(), "conntrack".into()]);
    check.eq("/facts/zone", 0);
    check_rule(check, rule);
    check.is("/facts/insert_failed", "a count from 1", |found| {
        found.as_u64().is_some_and(|count| count > 0)
    });
    check.eq("/facts/insert_failed_before", 0);
    check.is("/facts/entries", "a count from 1", |found| {
        found.as_u64().is_some_and(|count| count > 0)
    });
    check.eq("/facts/max", nat.table_size()?);
    check.mentions("/evidence", &["conntrack", "insert_failed"]);
    Ok(())
}

fn check_rule(check: &mut Check<'_>, rule: &WantedRule) {
    let tables: Vec<Value> = rule.tables.iter().map(|table| (*table).into()).collect();
    check
        .eq("/facts/rule/backend", rule.backend)
        .any("/facts/rule/table", &tables)
        .eq("/facts/rule/chain", rule.chain);
    for word in rule.words {
        check.mentions("/facts/rule/text", &[word]);
    }
    check.eq("/facts/rule/fully_random", false);
    if rule.handle {
        check.is("/facts/rule/handle", "a handle", Value::is_u64);
    } else {
        check.eq("/facts/rule/handle", Value::Null);
    }
}
