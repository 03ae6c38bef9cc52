//! One session, live or replayed: events in, judged, selected, printed and recorded.

use std::{
    collections::{HashSet, VecDeque},
    io,
};

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

/// How long a line waits for the name of its namespace.
const NAME_PATIENCE_NS: u64 = 200_000_000;

/// Most lines that wait.
const MOST_HELD: usize = 4096;

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

/// What was taken and what became of it: the reader's half of the ledger.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    received: u64,
    undecodable: u64,
    undecodable_events: u64,
    route_queries: u64,
    shown: u64,
    deselected: u64,
    refusals: u64,
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
    names: Names,
    /// Namespaces whose names were asked and not told yet.
    naming: HashSet<u32>,
    /// Whether what is asked again is not answered again, as in captures of version 2.
    answers_once: bool,
    /// Drops and writes whose lines wait for a name, oldest first.
    held: VecDeque<Event>,
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
            names: Names::default(),
            naming: HashSet::new(),
            answers_once: false,
            held: VecDeque::new(),
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
        if let Err(e) = words(self.printer.as_mut(), &self.names) {
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
        if let Err(e) = what(recorder.as_mut(), &self.names) {
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
        self.answers_once = true;
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
            self.names.learn(*netns, name);
            self.naming.remove(netns);
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
                let netns = drop.netns;
                let known = netns == 0 || self.names.is_known(netns);
                if !known && self.naming.insert(netns) {
                    self.asked.push(FactKey::Netns { netns });
                }
                self.held.push_back(event.clone());
                self.release(drop.time_ns);
            }
            Event::Fact {
                key: FactKey::Netns { .. },
                ..
            } => self.release(event.time_ns()),
            Event::IpvsReply(_) if self.wanted.explain || self.done() => {}
            // Writing what is there already changes nothing: it is remembered, but not worth a line.
            Event::SysctlWrite(write) if write.old == write.new => {}
            // Its record has no cookie: whether the number still belongs to the name that is known must be asked.
            Event::SysctlWrite(write) => {
                if write.netns != 0 && self.naming.insert(write.netns) {
                    self.asked.push(FactKey::Netns { netns: write.netns });
                }
                self.held.push_back(event.clone());
                self.release(write.time_ns);
            }
            Event::IpvsReply(_) | Event::Probe { .. } => self.print(event),
            _ => {}
        }
    }

    /// Prints the lines whose namespaces' names are known, or not known in time.
    fn release(&mut self, now_ns: u64) {
        while let Some(first) = self.held.front() {
            let mut unsure = false;
            let netns = match first {
                Event::Drop(drop) => drop.netns,
                Event::SysctlWrite(write) => write.netns,
                _ => 0,
            };
            let late = first.time_ns().saturating_add(NAME_PATIENCE_NS) <= now_ns
                || self.held.len() > MOST_HELD;
            if late {
                // Nobody waits for it a second time.
                unsure = self.naming.remove(&netns) && !self.answers_once;
                if !self.names.is_known(netns) {
                    self.names.learn(netns, None);
                }
            } else if self.naming.contains(&netns) {
                break;
            }
            match self.held.pop_front() {
                Some(Event::Drop(drop)) => self.print_drop(&drop),
                // Its number may have another owner than the name's by now.
                Some(write) if unsure => {
                    self.say(|printer, _| printer.event(&write, &Names::default()));
                }
                Some(other) => self.print(&other),
                None => break,
            }
        }
    }

    fn print_drop(&mut self, drop: &Drop) {
        if self.done() {
            self.taken.deselected += 1;
            return;
        }
        self.taken.shown += 1;
        self.told += 1;
        self.print(&Event::Drop(Box::new(drop.clone())));
    }

    fn print(&mut self, event: &Event) {
        self.say(|printer, names| printer.event(event, names));
    }

    /// Takes a record that could not be decoded.
    pub fn undecodable(&mut self, what: Undecodable) {
        match what {
            Undecodable::Drop => {
                self.taken.received += 1;
                self.taken.undecodable += 1;
            }
            Undecodable::Other => self.taken.undecodable_events += 1,
        }
        let so_far = self.taken.undecodable + self.taken.undecodable_events;
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
        ledger.received = self.taken.received;
        ledger.undecodable = self.taken.undecodable;
        ledger.undecodable_events = self.taken.undecodable_events;
        ledger.route_queries = self.taken.route_queries;
        ledger.deselected = self.taken.deselected;
        ledger.shown = self.taken.shown;
        ledger.close();
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
                Output::Renewed(netns) => self.names.forget(netns),
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
