//! Captures come from other machines: no number in one, however large, ends a replay in a panic.

use std::collections::BTreeMap;
use std::fs;

use dropwatch::event::Event;
use dropwatch::output::Selection;
use dropwatch::output::capture::Header;
use dropwatch::output::json::Json;
use dropwatch::output::lines::Terminal;
use dropwatch::output::text::Text;
use dropwatch::replay::replay;
use serde_json::Value;

use crate::common::captures;

/// The most that the kinds of numbers in captures can be, largest first.
const LARGEST: [u64; 4] = [u64::MAX, u32::MAX as u64, u16::MAX as u64, u8::MAX as u64];

/// Places of all numbers, without the indices of lists.
fn numbers(value: &Value, place: &str, found: &mut Vec<(String, String)>, pointer: &str) {
    match value {
        Value::Number(_) => found.push((place.to_owned(), pointer.to_owned())),
        Value::Array(list) => {
            for (at, one) in list.iter().enumerate() {
                numbers(one, place, found, &format!("{pointer}/{at}"));
            }
        }
        Value::Object(fields) => {
            for (name, one) in fields {
                numbers(
                    one,
                    &format!("{place}.{name}"),
                    found,
                    &format!("{pointer}/{name}"),
                );
            }
        }
        _ => {}
    }
}

/// The line with the largest number at each of these places that it can be read with.
fn with_largest(line: &Value, pointers: &[String], readable: fn(&str) -> bool) -> String {
    let mut line = line.clone();
    for pointer in pointers {
        let was = line.pointer(pointer).cloned().unwrap_or_default();
        let fits = LARGEST.into_iter().map(Value::from).chain([was]);
        for number in fits {
            if let Some(place) = line.pointer_mut(pointer) {
                *place = number;
            }
            if readable(&line.to_string()) {
                break;
            }
        }
    }
    line.to_string()
}

fn is_header(text: &str) -> bool {
    serde_json::from_str::<Header>(text).is_ok()
}

fn is_event(text: &str) -> bool {
    serde_json::from_str::<Event>(text).is_ok()
}

fn judge(capture: &str) {
    for json in [false, true] {
        // Whether it can be read does not matter here.
        let _ = replay(
            "odd",
            capture.as_bytes(),
            true,
            Selection::default(),
            |clock| {
                if json {
                    Box::new(Json::new(std::io::sink(), clock))
                } else {
                    Box::new(Text::new(std::io::sink(), clock, Terminal::default()))
                }
            },
        );
    }
}

/// The capture once for each place, with the largest numbers wherever it occurs.
fn odd(capture: &str, each: &mut impl FnMut(&str) -> bool, play: impl Fn(&str)) {
    let lines: Vec<&str> = capture.lines().collect();
    let mut places: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    let values: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_default())
        .collect();
    for (at, value) in values.iter().enumerate() {
        let kind = format!("{}{}", value["line"], value["key"]["ask"]);
        let mut found = Vec::new();
        numbers(value, &kind, &mut found, "");
        for (place, pointer) in found {
            places.entry(place).or_default().push((at, pointer.clone()));
            // All numbers of a kind of line at once: sums of them.
            let all = format!("{kind}.*");
            places.entry(all).or_default().push((at, pointer));
        }
    }
    for (place, occurs) in places {
        if !each(&place) {
            continue;
        }
        let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        for one_line in occurs.chunk_by(|one, other| one.0 == other.0) {
            let at = one_line[0].0;
            let pointers: Vec<String> = one_line.iter().map(|(_, p)| p.clone()).collect();
            let readable = if at == 0 { is_header } else { is_event };
            changed[at] = with_largest(&values[at], &pointers, readable);
        }
        play(&changed.join("\n"));
    }
}

#[test]
fn the_largest_numbers_are_taken() {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for path in captures() {
        let text = fs::read_to_string(&path).expect("a capture");
        if text.len() > 200_000 {
            continue;
        }
        let mut each = |place: &str| {
            let times = seen.entry(place.to_owned()).or_default();
            *times += 1;
            *times <= 4
        };
        odd(&text, &mut each, judge);
    }
    assert!(seen.len() > 100, "only {} places", seen.len());
}
