//! What the tests of recorded captures have in common.

use std::cell::RefCell;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use dropwatch::output::clock::Clock;
use dropwatch::output::{Selection, Sink};
use dropwatch::replay::replay;

/// A buffer that the printer and the test both hold.
#[derive(Clone, Default)]
pub struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All recordings, in order.
pub fn captures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/replay");
    let mut found: Vec<PathBuf> = fs::read_dir(root)
        .expect("fixtures")
        .flat_map(|kernel| fs::read_dir(kernel.expect("a folder").path()).expect("a folder"))
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    found.sort();
    assert!(found.len() >= 10, "only {} captures found", found.len());
    found
}

/// What a replay of a recording prints.
pub fn output(
    capture: &Path,
    explain: bool,
    printer: impl FnOnce(Shared, Clock) -> Box<dyn Sink>,
) -> String {
    let file = BufReader::new(fs::File::open(capture).expect("a capture"));
    output_of(file, explain, printer)
}

/// What the replay of a recording prints that ends before its last line.
pub fn output_of_cut(
    capture: &Path,
    explain: bool,
    printer: impl FnOnce(Shared, Clock) -> Box<dyn Sink>,
) -> String {
    let whole = fs::read_to_string(capture).expect("a capture");
    let end = whole.rfind("\"line\":\"end\"").expect("an end");
    output_of(&whole.as_bytes()[..end], explain, printer)
}

fn output_of(
    capture: impl BufRead,
    explain: bool,
    printer: impl FnOnce(Shared, Clock) -> Box<dyn Sink>,
) -> String {
    let shared = Shared::default();
    let out = shared.clone();
    replay("fixture", capture, explain, Selection::default(), |clock| {
        printer(out, clock)
    })
    .expect("a replay");
    String::from_utf8(shared.0.take()).expect("UTF-8")
}
