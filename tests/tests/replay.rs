//! Recorded captures, judged again: the text and JSON output must be what is in the files beside them.
//!
//! `tests/fixtures/replay/KERNEL/SCENARIO.jsonl` are recordings of the scenarios on real kernels.
//! `BLESS=1` writes the output instead of comparing it; a change is then reviewed like code.

use std::cell::RefCell;
use std::fs;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use dropwatch::output::clock::Clock;
use dropwatch::output::json::Json;
use dropwatch::output::text::Text;
use dropwatch::output::{Printer, Selection};
use dropwatch::replay::replay;

#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn output(
    capture: &Path,
    explain: bool,
    printer: impl FnOnce(Shared, Clock) -> Box<dyn Printer>,
) -> String {
    let shared = Shared::default();
    let file = BufReader::new(fs::File::open(capture).expect("a capture"));
    let out = shared.clone();
    replay("fixture", file, explain, Selection::default(), |clock| {
        printer(out, clock)
    })
    .expect("a replay");
    String::from_utf8(shared.0.take()).expect("UTF-8")
}

fn captures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/replay");
    let mut found: Vec<PathBuf> = fs::read_dir(root)
        .expect("fixtures")
        .flat_map(|kernel| fs::read_dir(kernel.expect("a folder").path()).expect("a folder"))
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    found.sort();
    found
}

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
    let captures = captures();
    assert!(
        captures.len() >= 10,
        "only {} captures found",
        captures.len()
    );
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for capture in captures {
        let text = output(&capture, true, |out, clock| {
            Box::new(Text::new(out, clock, false))
        });
        let json = output(&capture, true, |out, clock| Box::new(Json::new(out, clock)));
        let list = output(&capture, false, |out, clock| {
            Box::new(Text::new(out, clock, false))
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
        let blamed = json
            .lines()
            .filter(|l| l.contains("\"cause\":\"rp_filter\"") && l.contains("\"type\":\"verdict\""))
            .count();
        let innocent = name.starts_with("decoy_") || name.starts_with("twin_");
        assert_eq!(
            blamed > 0,
            !innocent,
            "{}: {blamed} cases blamed",
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
    let whole = fs::read_to_string(&capture).expect("a capture");
    let end = whole.rfind("\"line\":\"end\"").expect("an end");
    let cut = &whole.as_bytes()[..end];
    let shared = Shared::default();
    let out = shared.clone();
    replay("cut", cut, true, Selection::default(), |clock| {
        Box::new(Text::new(out, clock, false))
    })
    .expect("a replay");
    let text = String::from_utf8(shared.0.take()).expect("UTF-8");
    assert!(text.contains("rp_filter:"), "{text}");
    assert!(text.contains("cut short"), "{text}");
}

#[test]
fn other_files_are_refused_with_one_line() {
    for bad in ["", "{}", "PK\u{3}\u{4}", "{\"dropwatch_capture\":99}"] {
        let error = replay("bad", bad.as_bytes(), true, Selection::default(), |clock| {
            Box::new(Text::new(io::sink(), clock, false))
        })
        .expect_err("not a capture");
        assert_eq!(dropwatch::exit::code(&error), 5);
        assert_eq!(dropwatch::exit::one_line(&error).lines().count(), 1);
    }
}
