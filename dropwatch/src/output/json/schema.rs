//! docs/events.schema.json: made of the types of the lines. `BLESS=1` writes it; a change is then reviewed like code.

use std::{fs, path::Path};

use schemars::{
    Schema,
    generate::SchemaSettings,
    transform::{Transform, transform_subschemas},
};
use serde_json::{Value, json};

use super::{Line, SCHEMA};
use crate::{causes, correlate::engine::together::CountedTogether, judge::PLAIN};

/// What the types give, said in the words of JSON Schema.
#[derive(Clone)]
struct InJson;

impl Transform for InJson {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        if let Some(Value::String(text)) = schema.get_mut("description") {
            *text = text.replace("`None`", "null").replace('\n', " ");
        }
        // What a reader of old captures takes for a missing field is nothing to a reader of lines.
        schema.remove("default");
        let Some(Value::String(format)) = schema.remove("format") else {
            return;
        };
        match (format.as_str(), range(&format)) {
            // They say which numbers.
            (_, Some(_)) if schema.get("enum").or(schema.get("const")).is_some() => {}
            // Where a field says more, that stands.
            (_, Some((least, most))) => {
                let fields = schema.ensure_object();
                fields.entry("minimum").or_insert(json!(least));
                fields.entry("maximum").or_insert(json!(most));
            }
            ("double", _) => {}
            ("ip", _) => {
                let either = json!([{ "format": "ipv4" }, { "format": "ipv6" }]);
                schema.insert("anyOf".into(), either);
            }
            ("date-time" | "ipv4" | "ipv6", _) => {
                schema.insert("format".into(), json!(format));
            }
            _ => panic!("format {format} means nothing to a validator"),
        }
    }
}

/// The numbers that a format of Rust stands for: a validator does not know it.
fn range(format: &str) -> Option<(i64, u64)> {
    Some(match format {
        "uint8" => (0, u8::MAX.into()),
        "uint16" => (0, u16::MAX.into()),
        "uint32" => (0, u32::MAX.into()),
        "uint64" | "uint" => (0, u64::MAX),
        "int32" => (i32::MIN.into(), i32::MAX.unsigned_abs().into()),
        _ => return None,
    })
}

/// The schema of a line.
fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .for_serialize()
        .with_transform(InJson);
    let mut generator = settings.into_generator();
    let of_causes = causes::facts(&mut generator);
    let together = generator.subschema_for::<CountedTogether>();
    let mut root = generator.into_root_schema_for::<Line<'_>>().to_value();
    root["title"] = json!(format!(
        "A line of dropwatch's JSON output, schema version {SCHEMA}"
    ));
    // Which facts a verdict has is said by its cause.
    let branches = of_causes.into_iter().map(|(id, facts)| {
        let (cause, facts) = match id {
            PLAIN => (Value::Null, json!({ "anyOf": [facts, together] })),
            id => (json!(id), facts.to_value()),
        };
        json!({
            "if": { "properties": { "cause": { "const": cause } } },
            "then": { "properties": { "facts": facts } },
        })
    });
    root["$defs"]["VerdictLine"]["allOf"] = branches.collect();
    root
}

/// Width of the file.
const WIDTH: usize = 120;

/// A value as text, what fits into a line in one: so it can be read.
fn written(value: &Value, indent: usize, before: usize) -> String {
    let (open, close, parts): (_, _, Vec<(String, &Value)>) = match value {
        Value::Object(fields) => {
            let fields = fields.iter();
            let named = fields.map(|(name, value)| (format!("{}: ", json!(name)), value));
            ('{', '}', named.collect())
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| (String::new(), item));
            ('[', ']', items.collect())
        }
        plain => return plain.to_string(),
    };
    let pad = if open == '{' { " " } else { "" };
    let flat = |(name, value): &(String, &Value)| name.clone() + &written(value, 0, 0);
    let short = parts.iter().map(flat).collect::<Vec<_>>().join(", ");
    let line = format!("{open}{pad}{short}{pad}{close}");
    if before + line.len() < WIDTH && !line.contains('\n') {
        return line;
    }
    let inner = indent + 2;
    let parts = parts.iter().map(|(name, value)| {
        let value = written(value, inner, inner + name.len());
        format!("\n{:inner$}{name}{value}", "")
    });
    let parts = parts.collect::<Vec<_>>().join(",");
    format!("{open}{parts}\n{:indent$}{close}", "")
}

#[test]
fn the_schema_in_docs_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events.schema.json");
    let found = written(&schema(), 0, 0) + "\n";
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &found).expect("writing the schema");
    }
    let kept = fs::read_to_string(&path).expect("docs/events.schema.json");
    let line = kept.lines().zip(found.lines()).position(|(a, b)| a != b);
    assert!(
        kept == found,
        "docs/events.schema.json is not what the types give, from line {:?} on; \
         BLESS=1 cargo test -p dropwatch --lib schema writes it",
        line.map(|line| line + 1)
    );
}

#[test]
fn every_cause_has_a_schema_of_its_facts() {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let with_schema = causes::facts(&mut generator).into_iter().map(|(id, _)| id);
    let all = causes::all();
    assert!(with_schema.eq(all.iter().map(|cause| cause.id())));
}
