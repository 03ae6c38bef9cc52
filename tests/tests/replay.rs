//! Recorded captures, judged again: the text and JSON output must be what is in the files beside them.
//!
//! `tests/fixtures/replay/KERNEL/SCENARIO.jsonl` are recordings of the scenarios on real kernels.
//! `BLESS=1` writes the output instead of comparing it; a change is then reviewed like code.

mod common;
#[path = "replay/odd_numbers.rs"]
mod odd_numbers;

use std::collections::BTreeSet;
use std::fs;
use std::io;

use dropwatch::output::Selection;
use dropwatch::output::json::Json;
use dropwatch::output::lines::Terminal;
use dropwatch::output::text::Text;
use dropwatch::replay::replay;
use serde_json::Value;

use common::{captures, output, output_of_cut};

/// The first line that differs, with its number.
fn difference(wanted: &str, found: &str) -> Option<String> {
    let mut lines = (1..).zip(
        wanted
            .lines()
            .map(Some)
            .chain(std::iter::repeat(None))
            .zip(found.lines().map(Some).chain(std::iter::repeat(None))),
    );
    lines.find_map(|(number, pair)| match pair {
        (None, None) => Some(None),
        (wanted, found) if wanted == found => None,
        (wanted, found) => Some(Some(format!(
            "line {number}\n  wanted: {wanted:?}\n  found:  {found:?}"
        ))),
    })?
}

#[test]
fn recorded_captures_are_judged_as_blessed() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for capture in captures() {
        let text = output(&capture, true, |out, clock| {
            Box::new(Text::new(out, clock, Terminal::default()))
        });
        let json = output(&capture, true, |out, clock| Box::new(Json::new(out, clock)));
        let list = output(&capture, false, |out, clock| {
            Box::new(Text::new(out, clock, Terminal::default()))
        });
        for (kind, found) in [
            ("explain.txt", text),
            ("explain.json", json),
            ("list.txt", list),
        ] {
            let path = capture.with_extension(kind);
            if bless {
                fs::write(&path, &found).expect("writing blessed output");
                continue;
            }
            let wanted = fs::read_to_string(&path).unwrap_or_default();
            if let Some(difference) = difference(&wanted, &found) {
                wrong.push(format!("{}: {difference}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the scenarios say, checked against the recordings without any blessed file.
#[test]
fn only_what_the_kernel_called_so_is_blamed() {
    for capture in captures() {
        let json = output(&capture, true, |out, clock| Box::new(Json::new(out, clock)));
        let name = capture
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        // Without function hooks the way through a queue is not seen.
        let hooks = !capture.to_string_lossy().contains("-tracepoints/");
        let wanted: &[&str] = match (name.split('_').next(), hooks) {
            (Some("decoy" | "twin"), _) | (Some("nfqueue"), false) => &[],
            (Some("snat"), _) => &["snat_race"],
            (Some("nfqueue"), true) => &["nfqueue_mark"],
            (Some("ipvs"), _) => &["ipvs_conntrack"],
            (Some("causes"), false) => &["rp_filter", "snat_race"],
            (Some("causes"), true) => &["nfqueue_mark", "rp_filter", "snat_race"],
            _ => &["rp_filter"],
        };
        let blamed: BTreeSet<String> = json
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .filter(|line| line["type"] == "verdict")
            .filter_map(|line| line["cause"].as_str().map(str::to_owned))
            .collect();
        assert!(
            blamed.iter().map(String::as_str).eq(wanted.iter().copied()),
            "{}: {blamed:?} blamed, not {wanted:?}",
            capture.display()
        );
    }
}

#[test]
fn a_capture_that_was_cut_short_is_judged_as_far_as_it_goes() {
    let capture = captures()
        .into_iter()
        .find(|c| c.ends_with("loose_no_address.jsonl"))
        .expect("the incident");
    let text = output_of_cut(&capture, true, |out, clock| {
        Box::new(Text::new(out, clock, Terminal::default()))
    });
    assert!(text.contains("rp_filter:"), "{text}");
    assert!(text.contains("cut short"), "{text}");
}

#[test]
fn other_files_are_refused_with_one_line() {
    for bad in ["", "{}", "PK\u{3}\u{4}", "{\"dropwatch_capture\":99}"] {
        let error = replay("bad", bad.as_bytes(), true, Selection::default(), |clock| {
            Box::new(Text::new(io::sink(), clock, Terminal::default()))
        })
        .expect_err("not a capture");
        assert_eq!(dropwatch::exit::code(&error), 5);
        assert_eq!(dropwatch::exit::one_line(&error).lines().count(), 1);
    }
}
