//! One session, live or replayed: events in, judged, selected, printed and recorded.

use std::collections::HashSet;

use anyhow::{Context as _, Result};

use crate::{
    correlate::{
        case::Repeat,
        engine::{Engine, Output},
        follow::Update,
    },
    facts::{Fact, FactKey},
    model::{
        anchor::Drop,
        coverage::ProbeStatus,
        evidence::SysctlWrite,
        ipvs::{IpvsReply, IpvsReset},
    },
    output::{
        Counted, Printer, Selection, Start, Summary,
        capture::{Line, Writer},
    },
    stats::Ledger,
};

/// A session.
pub struct Session {
    engine: Engine,
    printer: Box<dyn Printer>,
    recorder: Option<Writer>,
    explain: bool,
    selection: Selection,
    /// Shown drops or cases to stop after.
    count: Option<u64>,
    told: u64,
    asked: Vec<FactKey>,
    /// Cases that the selection leaves out.
    hidden: HashSet<u32>,
    received: u64,
    undecodable: u64,
    route_queries: u64,
    refusals: u64,
    shown: u64,
    out: Vec<Output>,
}

impl Session {
    /// A session; `count` is a limit on shown drops or, when explaining, cases.
    #[must_use]
    pub fn new(
        engine: Engine,
        printer: Box<dyn Printer>,
        explain: bool,
        selection: Selection,
        count: Option<u64>,
    ) -> Self {
        Self {
            engine,
            printer,
            recorder: None,
            explain,
            selection,
            count,
            told: 0,
            asked: Vec::new(),
            hidden: HashSet::new(),
            received: 0,
            undecodable: 0,
            route_queries: 0,
            refusals: 0,
            shown: 0,
            out: Vec::new(),
        }
    }

    /// Records everything from now on.
    pub fn record(&mut self, recorder: Writer) {
        self.recorder = Some(recorder);
    }

    /// Whether the wanted count is reached.
    #[must_use]
    pub fn done(&self) -> bool {
        self.count.is_some_and(|count| self.told >= count)
    }

    /// Drop records taken so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Drops so far whose source was refused.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// Whether cases wait for facts.
    #[must_use]
    pub fn waiting(&self) -> bool {
        self.engine.waiting() > 0
    }

    /// Questions that came up since the last call.
    pub fn questions(&mut self) -> Vec<FactKey> {
        std::mem::take(&mut self.asked)
    }

    /// Everything is attached.
    pub fn start(&mut self, start: &Start) -> Result<()> {
        self.printer.start(start).context("writing output")
    }

    /// Takes a drop.
    pub fn dropped(&mut self, drop: Box<Drop>) -> Result<()> {
        self.received += 1;
        if drop.is_route_query() {
            self.route_queries += 1;
            return Ok(());
        }
        self.refusals += u64::from(drop.source_check.is_some());
        self.keep(|| Line::Drop(drop.clone()))?;
        if !self.explain && !self.done() {
            self.printer.dropped(&drop).context("writing output")?;
            self.shown += 1;
            self.told += 1;
        }
        // A recording holds the facts for a later explanation, so it judges too.
        if self.explain || self.recorder.is_some() {
            let time_ns = drop.time_ns;
            self.engine.dropped(drop, &mut self.out);
            self.handle(time_ns)?;
        }
        Ok(())
    }

    /// Takes a record that could not be decoded.
    pub fn undecodable(&mut self) -> Result<()> {
        self.received += 1;
        self.undecodable += 1;
        log::warn!(
            "a record could not be decoded ({} so far)",
            self.undecodable
        );
        Ok(())
    }

    /// Takes a sysctl write.
    pub fn sysctl_write(&mut self, write: SysctlWrite) -> Result<()> {
        self.keep(|| Line::SysctlWrite(write.clone()))?;
        // Writing what is there already changes nothing; it is remembered, but not worth a line.
        if write.old != write.new {
            self.printer
                .sysctl_write(&write)
                .context("writing output")?;
        }
        self.engine.sysctl_write(write);
        Ok(())
    }

    /// Takes an anomaly of IPVS.
    pub fn ipvs_reply(&mut self, reply: Box<IpvsReply>) -> Result<()> {
        self.keep(|| Line::IpvsReply(reply.clone()))?;
        if !self.explain && !self.done() {
            self.printer.ipvs_reply(&reply).context("writing output")?;
        }
        let time_ns = reply.time_ns;
        self.engine.ipvs_reply(reply, &mut self.out);
        self.handle(time_ns)
    }

    /// Takes a reset that such an anomaly earned.
    pub fn ipvs_reset(&mut self, reset: IpvsReset) -> Result<()> {
        self.keep(|| Line::IpvsReset(reset.clone()))?;
        let time_ns = reset.time_ns;
        self.engine.ipvs_reset(reset, &mut self.out);
        self.handle(time_ns)
    }

    /// Takes the news of a probe: its module was loaded.
    pub fn probe(&mut self, status: ProbeStatus, time_ns: u64) -> Result<()> {
        self.keep(|| Line::Probe {
            time_ns,
            status: status.clone(),
        })?;
        self.printer
            .probe(&status, time_ns)
            .context("writing output")?;
        self.engine.probe(status);
        Ok(())
    }

    /// Takes an answer.
    pub fn fact(&mut self, key: FactKey, fact: Fact, time_ns: u64) -> Result<()> {
        self.keep(|| Line::Fact {
            time_ns,
            key: key.clone(),
            fact: fact.clone(),
        })?;
        self.engine.fact(key, fact, time_ns, &mut self.out);
        self.handle(time_ns)
    }

    /// Lets time pass.
    pub fn advance(&mut self, time_ns: u64) -> Result<()> {
        self.engine.advance(time_ns, &mut self.out);
        self.handle(time_ns)?;
        self.flush()
    }

    /// Writes out what is buffered.
    pub fn flush(&mut self) -> Result<()> {
        self.printer.flush().context("writing output")
    }

    /// The end. `ledger` holds the kernel's half.
    pub fn finish(
        &mut self,
        time_ns: u64,
        seconds: f64,
        mut ledger: Ledger,
        drops: Vec<Counted>,
    ) -> Result<()> {
        ledger.received = self.received;
        ledger.undecodable = self.undecodable;
        ledger.route_queries = self.route_queries;
        let mut cases = self.engine.finish(time_ns, &mut self.out);
        // Even past the wanted count: these drops were received and belong to the ledger.
        self.handle(time_ns)?;
        cases.retain(|c| !self.hidden.contains(&c.case));
        if self.explain {
            self.shown = cases.iter().map(|c| c.drops).sum();
        } else {
            cases.clear();
        }
        ledger.shown = self.shown;
        let told = self.undecodable + self.route_queries + self.shown;
        ledger.deselected = self.received.saturating_sub(told);
        ledger.close();
        self.keep(|| Line::End {
            time_ns,
            seconds,
            ledger: ledger.clone(),
        })?;
        if let Some(recorder) = &mut self.recorder {
            recorder.flush().context("writing the capture")?;
        }
        let summary = Summary {
            time_ns,
            seconds,
            ledger: Some(ledger),
            cases,
            drops,
        };
        self.printer.summary(&summary).context("writing output")
    }

    /// The end of a replay, with the recorded ledger.
    pub fn finish_replay(&mut self, end: Option<(u64, f64, Ledger)>, last_ns: u64) -> Result<()> {
        let (time_ns, seconds, ledger) = match end {
            Some((time_ns, seconds, ledger)) => (time_ns, seconds, Some(ledger)),
            None => (last_ns, 0.0, None),
        };
        let mut cases = self.engine.finish(time_ns, &mut self.out);
        self.handle(time_ns)?;
        cases.retain(|c| !self.hidden.contains(&c.case));
        if !self.explain {
            cases.clear();
        }
        let summary = Summary {
            time_ns,
            seconds,
            ledger,
            cases,
            drops: Vec::new(),
        };
        self.printer.summary(&summary).context("writing output")
    }

    fn keep(&mut self, line: impl FnOnce() -> Line) -> Result<()> {
        match &mut self.recorder {
            Some(recorder) => recorder.line(&line()).context("writing the capture"),
            None => Ok(()),
        }
    }

    /// Does what the engine wants.
    fn handle(&mut self, time_ns: u64) -> Result<()> {
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::Ask(key) => self.asked.push(key),
                Output::Told(told) => {
                    if !self.selection.shows(told.cause) || self.done() {
                        self.hidden.insert(told.case);
                    } else if self.explain {
                        self.told += 1;
                        self.printer.told(&told).context("writing output")?;
                    }
                }
                Output::Repeat(repeat) => self.repeat(&repeat, time_ns)?,
                Output::Update(update) => self.update(&update, time_ns)?,
            }
        }
        Ok(())
    }

    fn update(&mut self, update: &Update, time_ns: u64) -> Result<()> {
        if !self.explain || self.hidden.contains(&update.case) {
            return Ok(());
        }
        self.printer
            .update(update, time_ns)
            .context("writing output")
    }

    fn repeat(&mut self, repeat: &Repeat, time_ns: u64) -> Result<()> {
        if !self.explain || self.hidden.contains(&repeat.case) {
            return Ok(());
        }
        self.printer
            .repeat(repeat, time_ns)
            .context("writing output")
    }
}
