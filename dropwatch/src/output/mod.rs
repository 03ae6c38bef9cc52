//! Output: sinks of what happens and what is said of it, one file per format, over any writer.

use std::io;

use crate::{
    correlate::{
        case::{Repeat, Report, Tally},
        cases::Closed,
        follow::Update,
    },
    event::Event,
    model::{counts::Counted, coverage::Coverage},
    stats::Ledger,
};

pub mod capture;
pub mod capture_file;
pub mod capture_reader;
pub mod clock;
pub mod json;
pub mod lines;
pub mod names;
pub mod sanitize;
pub mod text;

pub use names::Names;

/// What a session begins with.
#[derive(Clone, Debug)]
pub struct Start {
    /// When everything was attached: `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Kernel release.
    pub kernel: String,
    /// The tracer's own namespace.
    pub netns: u32,
    /// What is attached.
    pub coverage: Coverage,
    /// Causes with the reason why they cannot be judged, if so.
    pub causes: Vec<(&'static str, Option<String>)>,
}

/// What a session ends with.
#[derive(Clone, Debug)]
pub struct Summary {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// How long it took.
    pub seconds: f64,
    /// The ledger; `None` in a replay of a capture that was cut short.
    pub ledger: Option<Ledger>,
    /// Cases.
    pub cases: Vec<Tally>,
    /// Cases that were closed before the end.
    pub closed: Closed,
    /// Exact counts by the kernel, the largest first.
    pub drops: Vec<Counted>,
}

/// Where a session's news go: a printer, a recorder, an exporter. What a sink does not care about it leaves out.
pub trait Sink {
    /// Everything is attached.
    fn start(&mut self, _start: &Start) -> io::Result<()> {
        Ok(())
    }

    /// Something happened. Printers are given what is to be shown, the recorder everything.
    fn event(&mut self, _event: &Event, _names: &Names) -> io::Result<()> {
        Ok(())
    }

    /// A case was explained.
    fn report(&mut self, _report: &Report, _names: &Names) -> io::Result<()> {
        Ok(())
    }

    /// There is more of a case.
    fn repeat(&mut self, _repeat: &Repeat, _time_ns: u64) -> io::Result<()> {
        Ok(())
    }

    /// What became of a connection of a case.
    fn update(&mut self, _update: &Update, _time_ns: u64) -> io::Result<()> {
        Ok(())
    }

    /// The end.
    fn summary(&mut self, _summary: &Summary, _names: &Names) -> io::Result<()> {
        Ok(())
    }

    /// Nothing more to come for now.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Which cases to show.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    cause: Option<String>,
}

impl Selection {
    /// Only one cause, or `none`.
    #[must_use]
    pub fn new(cause: Option<String>) -> Self {
        Self { cause }
    }

    /// Whether anything is left out.
    #[must_use]
    pub fn is_narrow(&self) -> bool {
        self.cause.is_some()
    }

    /// Why nothing can be shown, if so: `causes` are all, each with the reason why it cannot be judged.
    #[must_use]
    pub fn blind(&self, causes: &[(&str, Option<String>)]) -> Option<String> {
        let wanted = self.cause.as_deref()?;
        let found = causes.iter().find(|(id, _)| *id == wanted)?;
        let why = found.1.as_deref()?;
        Some(format!("--cause {wanted}: it cannot be judged here: {why}"))
    }

    /// Whether a case of this cause is shown.
    #[must_use]
    pub fn shows(&self, cause: Option<&str>) -> bool {
        self.cause
            .as_deref()
            .is_none_or(|wanted| wanted == cause.unwrap_or("none"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_knows_drops_of_no_cause() {
        assert!(Selection::default().shows(None));
        let none = Selection::new(Some("none".into()));
        assert!(none.shows(None) && !none.shows(Some("rp_filter")));
        let one = Selection::new(Some("rp_filter".into()));
        assert!(one.shows(Some("rp_filter")) && !one.shows(None));
    }

    #[test]
    fn who_asks_for_a_blind_cause_is_told() {
        let causes = [
            ("rp_filter", None),
            ("snat_race", Some("no way".to_owned())),
        ];
        let blind = |cause: &str| Selection::new(Some(cause.into())).blind(&causes);
        assert!(blind("snat_race").is_some_and(|why| why.ends_with(": no way")));
        assert_eq!(blind("rp_filter"), None);
        assert_eq!(blind("none"), None);
        assert_eq!(Selection::default().blind(&causes), None);
    }
}
