//! One session, live or replayed: events in, judged, selected, printed and recorded.

use std::io;

use anyhow::{Error, Result};

use crate::{
    correlate::engine::{Engine, Output},
    event::Event,
    exit::Failure,
    facts::{Fact, FactKey},
    ingest::decode::Undecodable,
    model::{anchor::Drop, counts::Counted},
    output::{Names, Selection, Sink, Start, Summary},
    stats::Ledger,
};

mod naming;
mod taken;

use naming::{Held, Naming};
use taken::Taken;

/// What is shown, and how much of it.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Cases with explanations, rather than drops.
    pub explain: bool,
    /// Which cases.
    pub selection: Selection,
    /// Shown drops or cases to stop after.
    pub count: Option<u64>,
}

/// A session.
pub struct Session {
    engine: Engine,
    printer: Box<dyn Sink>,
    recorder: Option<Box<dyn Sink>>,
    wanted: Wanted,
    told: u64,
    asked: Vec<FactKey>,
    taken: Taken,
    naming: Naming,
    out: Vec<Output>,
    /// What could not be written: that ends the session, but not before its books are closed.
    failed: Option<Error>,
}

/// Takes the place of a printer that cannot write any more.
struct Silent;

impl Sink for Silent {}

impl Session {
    /// A session.
    #[must_use]
    pub fn new(engine: Engine, printer: Box<dyn Sink>, wanted: Wanted) -> Self {
        Self {
            engine,
            printer,
            recorder: None,
            wanted,
            told: 0,
            asked: Vec::new(),
            taken: Taken::default(),
            naming: Naming::default(),
            out: Vec::new(),
            failed: None,
        }
    }

    /// Records everything from now on.
    pub fn record(&mut self, recorder: Box<dyn Sink>) {
        self.recorder = Some(recorder);
    }

    /// Whether there is nothing more to do: the wanted count is reached, or something cannot be written.
    #[must_use]
    pub fn done(&self) -> bool {
        self.failed.is_some() || self.wanted.count.is_some_and(|count| self.told >= count)
    }

    /// Has the printer say something. When it cannot, it says nothing any more, and the session ends.
    fn say(&mut self, words: impl FnOnce(&mut dyn Sink, &Names) -> io::Result<()>) {
        if let Err(e) = words(self.printer.as_mut(), self.naming.names()) {
            self.printer = Box::new(Silent);
            let failed = Error::new(e).context("writing output");
            self.failed.get_or_insert(failed);
        }
    }

    /// Has the recorder, if there is one, take something. When it cannot, the capture ends there, and so does the session.
    fn keep(&mut self, what: impl FnOnce(&mut dyn Sink, &Names) -> io::Result<()>) {
        let Some(recorder) = &mut self.recorder else {
            return;
        };
        if let Err(e) = what(recorder.as_mut(), self.naming.names()) {
            self.recorder = None;
            // Not a reader that had enough, as of the output: somebody wants this.
            let failed = Failure::Runtime.because(format!("writing the capture: {e}"));
            self.failed.get_or_insert(failed);
        }
    }

    /// Drop records taken so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.taken.received
    }

    /// Drops so far whose source was refused.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.taken.refusals
    }

    /// Whether judgements wait for facts.
    #[must_use]
    pub fn waiting(&self) -> bool {
        self.engine.waiting() > 0
    }

    /// Questions that came up since the last call.
    pub fn questions(&mut self) -> Vec<FactKey> {
        std::mem::take(&mut self.asked)
    }

    /// Everything is attached.
    pub fn start(&mut self, start: &Start) {
        if let Some(why) = self.wanted.selection.blind(&start.causes) {
            log::warn!("{why}");
        }
        self.say(|printer, _| printer.start(start));
    }

    /// Whether drops are judged: a recording holds the facts for a later explanation, so it judges too.
    fn judges(&self) -> bool {
        self.wanted.explain || self.recorder.is_some()
    }

    /// Every namespace's name is answered once only: a capture of version 2.
    pub fn answers_once(&mut self) {
        self.naming.answers_once();
    }

    /// Takes what happened.
    pub fn take(&mut self, event: &Event) {
        let time_ns = event.time_ns();
        if let Event::Drop(drop) = event {
            self.taken.received += 1;
            if drop.is_route_query() {
                self.taken.route_queries += 1;
                return;
            }
            self.taken.refusals += u64::from(drop.source_check.is_some());
        }
        self.keep(|recorder, names| recorder.event(event, names));
        if let Event::Fact {
            key: FactKey::Netns { netns },
            fact,
            ..
        } = event
        {
            let name = match fact {
                Fact::Netns(known) => known.name.clone(),
                _ => None,
            };
            self.naming.learn(*netns, name);
        }
        self.list(event);
        if self.judges() {
            self.engine.take(event, &mut self.out);
            self.handle(time_ns);
        }
    }

    /// What is printed of an event by itself.
    fn list(&mut self, event: &Event) {
        match event {
            Event::Drop(drop) if !self.wanted.explain => {
                self.asked.extend(self.naming.hold_drop(drop));
                self.release(drop.time_ns);
            }
            Event::Fact {
                key: FactKey::Netns { .. },
                ..
            } => self.release(event.time_ns()),
            Event::IpvsReply(_) if self.wanted.explain || self.done() => {}
            // Writing what is there already changes nothing: it is remembered, but not worth a line.
            Event::SysctlWrite(write) if write.old == write.new => {}
            Event::SysctlWrite(write) => {
                self.asked.extend(self.naming.hold_write(write));
                self.release(write.time_ns);
            }
            Event::IpvsReply(_) | Event::Probe { .. } => self.print(event),
            _ => {}
        }
    }

    /// Prints the lines whose namespaces' names are known, or not known in time.
    fn release(&mut self, now_ns: u64) {
        while let Some(line) = self.naming.next(now_ns) {
            match line {
                Held::Drop(drop) => self.print_drop(drop),
                Held::Write {
                    write,
                    unsure: false,
                } => self.print(&Event::SysctlWrite(write)),
                Held::Write {
                    write,
                    unsure: true,
                } => {
                    let event = Event::SysctlWrite(write);
                    self.say(|printer, _| printer.event(&event, &Names::default()));
                }
            }
        }
    }

    fn print_drop(&mut self, drop: Box<Drop>) {
        if self.done() {
            self.taken.deselected += 1;
            return;
        }
        self.taken.shown += 1;
        self.told += 1;
        self.print(&Event::Drop(drop));
    }

    fn print(&mut self, event: &Event) {
        self.say(|printer, names| printer.event(event, names));
    }

    /// Takes a record that could not be decoded.
    pub fn undecodable(&mut self, what: Undecodable) {
        let so_far = self.taken.undecodable(what);
        log::warn!("a record could not be decoded ({so_far} so far)");
    }

    /// Lets time pass.
    pub fn advance(&mut self, time_ns: u64) {
        self.release(time_ns);
        if self.judges() {
            self.engine.advance(time_ns, &mut self.out);
            self.handle(time_ns);
        }
        self.flush();
    }

    /// Writes out what is buffered.
    pub fn flush(&mut self) {
        self.say(|printer, _| printer.flush());
    }

    /// The end of a live session. `ledger` holds the kernel's half.
    ///
    /// # Errors
    ///
    /// What could not be written, now or before.
    pub fn finish(
        &mut self,
        time_ns: u64,
        seconds: f64,
        mut ledger: Ledger,
        drops: Vec<Counted>,
    ) -> Result<()> {
        self.close(time_ns);
        self.taken.close(&mut ledger);
        let end = Event::End {
            time_ns,
            seconds,
            ledger: ledger.clone(),
            drops: drops.clone(),
        };
        self.keep(|recorder, names| {
            recorder.event(&end, names)?;
            recorder.flush()
        });
        self.summary(time_ns, seconds, Some(ledger), drops);
        self.failed.take().map_or(Ok(()), Err)
    }

    /// The end of a replay, with what the recording ended with.
    ///
    /// # Errors
    ///
    /// What could not be written, now or before.
    pub fn finish_replay(&mut self, end: Option<Event>, last_ns: u64) -> Result<()> {
        match end {
            Some(Event::End {
                time_ns,
                seconds,
                ledger,
                drops,
            }) => {
                if ledger.all_in_detail() {
                    self.engine.nothing_lost();
                }
                self.close(time_ns);
                self.summary(time_ns, seconds, Some(ledger), drops);
            }
            _ => {
                self.close(last_ns);
                self.summary(last_ns, 0.0, None, Vec::new());
            }
        }
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Judges and prints what is still open. Even past the wanted count: these drops were received and belong to the
    /// ledger.
    fn close(&mut self, time_ns: u64) {
        self.release(u64::MAX);
        if self.judges() {
            self.engine.finish(time_ns, &mut self.out);
            self.handle(time_ns);
        }
        if self.wanted.explain {
            let (shown, hidden) = self.engine.drops();
            self.taken.shown += shown;
            self.taken.deselected += hidden;
        }
    }

    fn summary(&mut self, time_ns: u64, seconds: f64, ledger: Option<Ledger>, drops: Vec<Counted>) {
        let explain = self.wanted.explain;
        let summary = Summary {
            time_ns,
            seconds,
            ledger,
            cases: if explain {
                self.engine.tallies()
            } else {
                Vec::new()
            },
            closed: self.engine.closed(),
            drops,
        };
        self.say(|printer, names| printer.summary(&summary, names));
    }

    /// Does what the engine wants.
    fn handle(&mut self, time_ns: u64) {
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::Ask(key) => self.asked.push(key),
                Output::Renewed(netns) => self.naming.forget(netns),
                Output::Report(report) => {
                    if !self.wanted.selection.shows(report.cause) || self.done() {
                        self.engine.hide(report.case);
                    } else if self.wanted.explain {
                        self.told += 1;
                        self.say(|printer, names| printer.report(&report, names));
                    }
                }
                Output::Repeat(repeat) => {
                    if self.wanted.explain && !self.engine.is_hidden(repeat.case) {
                        self.say(|printer, _| printer.repeat(&repeat, time_ns));
                    }
                }
                Output::Update(update) => {
                    if self.wanted.explain && !self.engine.is_hidden(update.case) {
                        self.say(|printer, _| printer.update(&update, time_ns));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
