//! One incident from drop to cure, told on a terminal.
//!
//! The explanation is what `dropwatch --explain` prints; the commands applied are those of its
//! advice, taken from a second tracer with JSON output. The demo succeeds only when everything it
//! tells was really seen.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::lab::Lab;
use crate::netns;
use crate::say;
use crate::scenarios;

mod ipvs_conntrack;
mod nfqueue_mark;
mod rp_filter;
mod shown;
mod snat_race;
mod stage;

/// Plays a demo.
type Play = fn(&Lab) -> Result<()>;

/// The demos, by the cause they show.
const DEMOS: &[(&str, Play)] = &[
    (scenarios::rp_filter::CAUSE, rp_filter::play),
    (scenarios::snat_race::CAUSE, snat_race::play),
    (scenarios::nfqueue_mark::CAUSE, nfqueue_mark::play),
    (scenarios::ipvs_conntrack::CAUSE, ipvs_conntrack::play),
];

/// Plays the demo of a cause.
pub fn run(cause: &str, dropwatch: &Path) -> Result<bool> {
    let Some((_, play)) = DEMOS.iter().find(|(shown, _)| *shown == cause) else {
        let causes: Vec<&str> = DEMOS.iter().map(|(cause, _)| *cause).collect();
        bail!("no demo of `{cause}`; there are {}", causes.join(", "));
    };
    netns::require_root()?;
    netns::remove_leftovers()?;
    let dropwatch = fs::canonicalize(dropwatch)
        .with_context(|| format!("no dropwatch at {}", dropwatch.display()))?;
    let folder = std::env::temp_dir().join(format!("dropwatch-demo-{}", std::process::id()));
    let lab = Lab::new(&dropwatch, &folder)?;
    let result = play(&lab);
    if result.is_err() {
        let said = fs::read_to_string(folder.join("text-stderr.txt")).unwrap_or_default();
        eprint!("{said}");
    }
    let _ = fs::remove_dir_all(&folder);
    result.map(|()| true)
}

fn step(text: &str) {
    say::line(format_args!("\n== {text}"));
}

fn tell(text: &str) {
    for line in text.lines() {
        say::line(format_args!("   {line}"));
    }
}
