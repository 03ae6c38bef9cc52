//! JSON lines must be what docs/events.schema.json says, and docs/events.md must name what is in it. That the schema is
//! the one of the types is checked where they are: `dropwatch/src/output/json/schema.rs`.

#[path = "../common/mod.rs"]
mod common;
mod made;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use dropwatch::output::json::{Json, SCHEMA};
use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use common::{captures, output, output_of_cut};

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    fs::read_to_string(path.join(name)).expect("a document")
}

fn schema() -> Value {
    serde_json::from_str(&document("events.schema.json")).expect("JSON")
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .build(schema)
        .expect("a schema")
}

/// A kind of line, with its branch of the schema.
fn kinds(schema: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let branches = schema["oneOf"].as_array().expect("a list");
    branches
        .iter()
        .map(|branch| (const_of(&branch["properties"]["type"]), branch))
}

fn const_of(property: &Value) -> &str {
    property["const"].as_str().expect("a word")
}

/// Where the schema of a branch's line is, as a JSON pointer.
fn place_of(branch: &Value) -> &str {
    &branch["$ref"].as_str().expect("a reference")[1..]
}

/// The schema of each kind of line, for errors that say more than "no branch of oneOf".
fn branches(schema: &Value) -> BTreeMap<String, Validator> {
    kinds(schema)
        .map(|(kind, branch)| {
            let mut alone = branch.clone();
            alone["$defs"] = schema["$defs"].clone();
            (kind.to_owned(), validator(&alone))
        })
        .collect()
}

fn kind(line: &Value) -> &str {
    line["type"].as_str().expect("a type")
}

/// Lines with the place that they are from.
type Lines = Vec<(String, Value)>;

fn parsed(from: &str, text: &str) -> Lines {
    (1..)
        .zip(text.lines())
        .map(|(number, line)| {
            let line = serde_json::from_str(line).expect("JSON");
            (format!("{from}:{number}"), line)
        })
        .collect()
}

/// Blessed output, lists and cut replays of all recordings.
fn recorded_lines() -> Lines {
    let mut lines = Vec::new();
    for capture in captures() {
        let blessed = capture.with_extension("explain.json");
        let text = fs::read_to_string(&blessed).expect("blessed output");
        lines.extend(parsed(&blessed.display().to_string(), &text));
        let list = output(&capture, false, |out, clock| {
            Box::new(Json::new(out, clock))
        });
        lines.extend(parsed(&format!("{} (list)", capture.display()), &list));
        let cut = output_of_cut(&capture, true, |out, clock| Box::new(Json::new(out, clock)));
        lines.extend(parsed(&format!("{} (cut)", capture.display()), &cut));
    }
    lines
}

fn lines() -> Lines {
    let mut lines = recorded_lines();
    lines.extend(parsed("made", &made::made_lines()));
    lines
}

/// Every schema of an object in the schema, with its place.
fn objects(schema: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), schema)];
    while let Some((place, at)) = open.pop() {
        match at {
            Value::Object(fields) => {
                if at["type"] == "object" && at["properties"].is_object() {
                    found.push((place.clone(), at));
                }
                open.extend(fields.iter().map(|(k, v)| (format!("{place}/{k}"), v)));
            }
            Value::Array(items) => {
                open.extend((0..).zip(items).map(|(i, v)| (format!("{place}/{i}"), v)));
            }
            _ => {}
        }
    }
    found
}

/// The names of an object schema's own properties.
fn names(object: &Value) -> BTreeSet<&str> {
    let properties = object["properties"].as_object().expect("properties");
    properties.keys().map(String::as_str).collect()
}

#[test]
fn every_line_is_valid() {
    let schema = schema();
    let whole = validator(&schema);
    let branches = branches(&schema);
    let mut seen = BTreeSet::new();
    for (place, line) in lines() {
        let kind = kind(&line);
        let branch = branches
            .get(kind)
            .unwrap_or_else(|| panic!("{place}: no type {kind}"));
        let errors: Vec<_> = branch
            .iter_errors(&line)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{place}: {}", errors.join("\n"));
        assert!(whole.is_valid(&line), "{place}: more than one branch");
        seen.insert(kind.to_owned());
    }
    let known: BTreeSet<_> = branches.into_keys().collect();
    assert_eq!(seen, known, "types that occurred");
    assert_eq!(known.len(), 10);
}

#[test]
fn the_schema_knows_every_field() {
    let mut closed = schema();
    let places: Vec<_> = objects(&closed).into_iter().map(|(p, _)| p).collect();
    let lines_at: BTreeSet<String> = kinds(&closed)
        .map(|(_, branch)| place_of(branch).to_owned())
        .collect();
    for place in places {
        // A line is this and its type; what is both is closed itself.
        if !lines_at.contains(&place) {
            closed.pointer_mut(&place).expect("an object")["unevaluatedProperties"] = json!(false);
        }
    }
    let branches = branches(&closed);
    for (place, mut line) in lines() {
        let branch = &branches[kind(&line)];
        if let Err(e) = branch.validate(&line) {
            panic!("{place}: {}: {e}", e.instance_path());
        }
        line["new_field"] = json!(1);
        assert!(!branch.is_valid(&line), "{place}: not closed");
    }
}

#[test]
fn new_fields_are_allowed() {
    let validator = validator(&schema());
    for (place, line) in lines() {
        for at in inner(&line) {
            let mut line = line.clone();
            if let Some(Value::Object(fields)) = line.pointer_mut(&at) {
                fields.insert("new_field".into(), json!(1));
                assert!(validator.is_valid(&line), "{place}: {at}");
            }
        }
    }
}

#[test]
fn every_field_is_required() {
    let schema = schema();
    let objects = objects(&schema);
    assert!(objects.len() > 30, "only {} objects", objects.len());
    for (place, object) in objects {
        let required = object["required"].as_array().expect("a list");
        let required: BTreeSet<_> = required.iter().filter_map(Value::as_str).collect();
        assert_eq!(required, names(object), "{place}");
    }
}

/// Every place in a value, as JSON pointers.
fn inner(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(String::new(), value)];
    while let Some((place, at)) = open.pop() {
        match at {
            Value::Object(fields) => {
                open.extend(fields.iter().map(|(k, v)| (format!("{place}/{k}"), v)));
            }
            Value::Array(items) => {
                open.extend((0..).zip(items).map(|(i, v)| (format!("{place}/{i}"), v)));
            }
            _ => {}
        }
        found.push(place);
    }
    found
}

#[test]
fn missing_and_wrongly_typed_fields_are_refused() {
    let validator = validator(&schema());
    for (place, line) in lines() {
        for at in inner(&line) {
            let mut wrong = line.clone();
            let value = wrong.pointer_mut(&at).expect("a value");
            *value = match value {
                Value::Object(_) | Value::Array(_) => json!(true),
                _ => json!({}),
            };
            assert!(!validator.is_valid(&wrong), "{place}: {at} is {wrong}");

            let mut without = line.clone();
            let Some((parent, name)) = at.rsplit_once('/') else {
                continue;
            };
            if let Some(Value::Object(fields)) = without.pointer_mut(parent) {
                fields.remove(name).expect("a field");
                assert!(!validator.is_valid(&without), "{place}: without {at}");
            }
        }
    }
}

#[test]
fn wrong_values_are_refused() {
    let validator = validator(&schema());
    let lines = lines();
    for (kind, at, wrong) in [
        ("start", "/type", json!("stop")),
        ("drop", "/type", json!("repeat")),
        ("start", "/schema", json!(SCHEMA + 1)),
        ("start", "/time", json!("2026-01-31 12:34:56")),
        ("start", "/time", json!("2026-13-31T12:34:56.789012Z")),
        ("start", "/netns", json!("4026531840")),
        ("start", "/hooks/0/attached", Value::Null),
        ("drop", "/cpu", json!(-1)),
        ("drop", "/cpu", json!(0.5)),
        ("drop", "/mark", json!(1_u64 << 32)),
        ("drop", "/mark", Value::Null),
        ("drop", "/ethertype", json!(65536)),
        ("drop", "/netns/inum", Value::Null),
        ("drop", "/dev/ifindex", json!(0)),
        ("drop", "/packet/l3", json!(5)),
        ("drop", "/packet/src", json!("10.0.0.256")),
        ("drop", "/packet/src", json!("fe80::1")),
        ("drop", "/packet/ttl", json!(256)),
        ("drop", "/packet/id", Value::Null),
        ("drop", "/packet/tcp_flags", json!("SYN|ACK")),
        ("verdict", "/case", json!(0)),
        ("verdict", "/cause", json!("RP filter")),
        ("verdict", "/facts/kind", json!("strict")),
        ("verdict", "/facts/path", json!("input")),
        ("verdict", "/evidence/0/source", json!("guess")),
        ("verdict", "/fixes/0/primary", json!("yes")),
        ("verdict", "/facts/set_by/0/via", json!("chance")),
        ("verdict", "/facts/device/ipv4/0", json!("10.0.0.1")),
        ("verdict", "/facts/netfilter/rules/0/position", json!(0)),
        ("anomaly", "/kind", json!("other")),
        ("anomaly", "/client/addr", json!("client")),
        ("repeat", "/count", json!(0)),
        ("repeat", "/devices", json!(65)),
        ("update", "/facts/followed/tuple/sport", json!(65536)),
        ("sysctl_write", "/process/pid", json!("1")),
        ("sysctl_write", "/new", json!(1)),
        ("summary", "/seconds", json!(-1.0)),
        ("summary", "/ledger/balanced", json!(1)),
        ("summary", "/ledger/seen", Value::Null),
    ] {
        let (_, mut line) = lines
            .iter()
            .find(|(_, l)| l["type"] == kind && l.pointer(at).is_some())
            .unwrap_or_else(|| panic!("no {kind} with {at}"))
            .clone();
        *line.pointer_mut(at).expect("a value") = wrong.clone();
        assert!(!validator.is_valid(&line), "{kind}: {at} may be {wrong}");
    }
}

#[test]
fn the_version_is_that_of_the_program() {
    let schema = schema();
    let version = &schema["$defs"]["StartLine"]["properties"]["schema"]["const"];
    assert_eq!(version, &json!(SCHEMA));
    let heading = format!("schema version {SCHEMA}");
    assert!(schema["title"].as_str().expect("text").ends_with(&heading));
    assert!(
        document("events.md")
            .lines()
            .next()
            .expect("a heading")
            .ends_with(&heading)
    );
}

/// The words in a text's code.
fn code_words(text: &str) -> BTreeSet<&str> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .flat_map(|code| code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .collect()
}

#[test]
fn the_page_names_every_property() {
    let schema = schema();
    let page = document("events.md");
    let all = code_words(&page);
    for (place, object) in objects(&schema) {
        for name in names(object) {
            assert!(all.contains(name), "docs/events.md: no {name} ({place})");
        }
    }
    // The properties of a line itself must stand in the row of its type; those of an object that verdicts have as well
    // stand below.
    for (kind, branch) in kinds(&schema) {
        let object = schema.pointer(place_of(branch)).expect("a schema");
        let row = page
            .lines()
            .find(|l| l.starts_with(&format!("| `{kind}` |")))
            .unwrap_or_else(|| panic!("docs/events.md: no row for {kind}"));
        let words = code_words(row);
        for name in names(object) {
            let elsewhere = ["type", "time"].contains(&name) || kind == "drop";
            assert!(
                elsewhere || words.contains(name),
                "{kind}: no {name} in {row}"
            );
        }
    }
}
