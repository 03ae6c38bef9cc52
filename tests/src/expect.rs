//! Expectations on JSON lines, and the nearest miss when they are not met.
//!
//! A [`Check`] collects every difference of one line, so a failure shows the whole picture: field
//! by field, what was found against what was expected.

use std::fmt::Write as _;
use std::fs;
use std::sync::OnceLock;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::traffic::flow::Tuple;

/// Whether this kernel names drop reasons (5.17 and later), as its type information shows.
pub fn kernel_names_reasons() -> bool {
    static NAMES: OnceLock<bool> = OnceLock::new();
    *NAMES.get_or_init(|| {
        let types = fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
        let name = b"SKB_DROP_REASON_NOT_SPECIFIED";
        types.windows(name.len()).any(|part| part == name)
    })
}

/// Collects differences between a JSON line and what it should be.
#[derive(Debug)]
pub struct Check<'a> {
    line: &'a Value,
    wrong: Vec<String>,
}

impl<'a> Check<'a> {
    /// Checks this line.
    pub fn new(line: &'a Value) -> Self {
        Self {
            line,
            wrong: Vec::new(),
        }
    }

    /// What is at a JSON pointer; `null` when there is nothing.
    pub fn at(&self, pointer: &str) -> &'a Value {
        self.line.pointer(pointer).unwrap_or(&Value::Null)
    }

    /// The field must be equal.
    pub fn eq(&mut self, pointer: &str, wanted: impl Into<Value>) -> &mut Self {
        self.any(pointer, &[wanted.into()])
    }

    /// The field must be one of these.
    pub fn any(&mut self, pointer: &str, wanted: &[Value]) -> &mut Self {
        let found = self.at(pointer);
        if !wanted.contains(found) {
            let wanted: Vec<String> = wanted.iter().map(Value::to_string).collect();
            self.note(pointer, &wanted.join(" or "), found);
        }
        self
    }

    /// The field must satisfy a condition that `wanted` describes.
    pub fn is(
        &mut self,
        pointer: &str,
        wanted: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> &mut Self {
        let found = self.at(pointer);
        if !condition(found) {
            self.note(pointer, wanted, found);
        }
        self
    }

    /// The field's text, whatever its structure, must contain one of these words (any case).
    pub fn mentions(&mut self, pointer: &str, words: &[&str]) -> &mut Self {
        self.is(
            pointer,
            &format!("a mention of {}", words.join(" or ")),
            |found| {
                let text = found.to_string().to_lowercase();
                words.iter().any(|word| text.contains(&word.to_lowercase()))
            },
        )
    }

    /// The name of the drop reason must be one of these, with or without its prefix; on kernels that name none there
    /// must be none.
    pub fn reason(&mut self, pointer: &str, wanted: &[&str]) -> &mut Self {
        if !kernel_names_reasons() {
            return self.any(pointer, &[Value::Null, "no reason given".into()]);
        }
        self.is(pointer, &wanted.join(" or "), |name| {
            let name = name.as_str().unwrap_or_default();
            wanted.contains(&name.strip_prefix("SKB_DROP_REASON_").unwrap_or(name))
        })
    }

    /// The list must have an element that satisfies a condition.
    pub fn has(
        &mut self,
        pointer: &str,
        wanted: &str,
        condition: impl Fn(&Value) -> bool,
    ) -> &mut Self {
        self.is(pointer, &format!("a list with {wanted}"), |found| {
            found
                .as_array()
                .is_some_and(|list| list.iter().any(&condition))
        })
    }

    fn note(&mut self, pointer: &str, wanted: &str, found: &Value) {
        self.wrong.push(format!(
            "{pointer}: found {}, expected {wanted}",
            short(found)
        ));
    }

    /// Fails with all differences.
    pub fn done(&self, what: &str) -> Result<()> {
        if self.wrong.is_empty() {
            return Ok(());
        }
        let mut text = format!("{what}: {} field(s) differ", self.wrong.len());
        for wrong in &self.wrong {
            let _ = write!(text, "\n    {wrong}");
        }
        bail!(text)
    }
}

/// Whether the line's packet is the one of the tuple.
pub fn is_packet(packet: &Value, tuple: &Tuple) -> bool {
    packet_differences(packet, tuple).is_empty()
}

/// In which fields a packet differs from a tuple.
pub fn packet_differences(packet: &Value, tuple: &Tuple) -> Vec<String> {
    let mut check = Check::new(packet);
    check.is("/proto", &format!("protocol {}", tuple.proto), |found| {
        is_proto(found, tuple.proto)
    });
    check.eq("/src", tuple.src).eq("/dst", tuple.dst);
    for (pointer, port) in [("/sport", tuple.sport), ("/dport", tuple.dport)] {
        if let Some(port) = port {
            check.eq(pointer, port);
        }
    }
    check.wrong
}

/// The packet of a `drop` or `verdict` line.
pub fn packet(line: &Value) -> &Value {
    let drop = line.get("drop").unwrap_or(line);
    drop.get("packet").unwrap_or(&Value::Null)
}

/// The namespace that a `verdict` line is about: where a drop happened, or what is no drop.
pub fn netns(verdict: &Value) -> &Value {
    let anomaly = &verdict["anomaly"]["netns"];
    if anomaly.is_null() {
        &verdict["drop"]["netns"]
    } else {
        anomaly
    }
}

/// Describes the line that comes closest to having this tuple's packet.
pub fn nearest_miss(lines: &[Value], kind: &str, tuple: &Tuple) -> String {
    let candidates = lines.iter().filter(|line| line["type"] == kind);
    let ranked = candidates.map(|line| (packet_differences(packet(line), tuple), line));
    match ranked.min_by_key(|(differences, _)| differences.len()) {
        None => format!(
            "nearest miss: no {kind} line at all among {} lines",
            lines.len()
        ),
        Some((differences, line)) => {
            let mut text = format!("nearest miss: {}", short(line));
            for difference in differences {
                let _ = write!(text, "\n    {difference}");
            }
            text
        }
    }
}

fn is_proto(found: &Value, proto: u8) -> bool {
    let name = match proto {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        _ => "",
    };
    found == proto
        || found
            .as_str()
            .is_some_and(|found| found.eq_ignore_ascii_case(name))
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.len() <= 600 {
        return text;
    }
    let cut: String = text.chars().take(600).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TUPLE: Tuple = Tuple {
        proto: 17,
        src: "10.0.0.1",
        dst: "10.0.0.2",
        sport: Some(1),
        dport: None,
    };

    #[test]
    fn the_nearest_miss_names_the_field_that_differs() {
        let far = json!({"type": "drop", "packet": null});
        let near = json!({"type": "drop", "packet":
            {"proto": "UDP", "src": "10.0.0.1", "dst": "10.0.0.2", "sport": 9, "dport": 7}});
        let text = nearest_miss(&[far, near], "drop", &TUPLE);
        assert!(text.contains("/sport: found 9, expected 1"), "{text}");
        assert!(!text.contains("/src"), "{text}");
    }

    #[test]
    fn the_namespace_is_that_of_the_drop_or_of_the_anomaly() {
        let netns = |verdict: Value| netns(&verdict)["inum"].clone();
        assert_eq!(netns(json!({"drop": {"netns": {"inum": 1}}})), 1);
        let drop = json!({"drop": {"netns": {"inum": 1}}, "anomaly": null});
        assert_eq!(netns(drop), 1);
        let anomaly = json!({"drop": null, "anomaly": {"netns": {"inum": 2}}});
        assert_eq!(netns(anomaly), 2);
    }

    #[test]
    fn all_differences_are_shown_at_once() {
        let line = json!({"a": 1, "list": [{"b": 2}]});
        let mut check = Check::new(&line);
        check
            .eq("/a", 2)
            .eq("/missing", "x")
            .has("/list", "b = 3", |item| item["b"] == 3);
        assert_eq!(check.wrong.len(), 3);
        check.mentions("/list", &["B"]);
        assert_eq!(check.wrong.len(), 3);
    }
}
