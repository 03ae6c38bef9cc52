//! Text for people.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use super::{Printer, Start, Summary, clock::Clock, sanitize::sanitize};
use crate::{
    correlate::{
        case::{Repeat, Told},
        follow::{Outcomes, Update},
    },
    model::{
        anchor::{Anchor, Drop},
        coverage::ProbeStatus,
        evidence::SysctlWrite,
        explanation::Fix,
        ipvs::IpvsReply,
        packet::protocol,
    },
    stats::Ledger,
};

/// Lines of exact counts in the summary.
const MOST_COUNTS: usize = 10;

/// Writes text, in colour on a terminal.
pub struct Text<W: Write> {
    out: W,
    clock: Clock,
    colour: bool,
    netns: HashMap<u32, String>,
}

impl<W: Write> Text<W> {
    /// A printer with this clock.
    pub fn new(out: W, clock: Clock, colour: bool) -> Self {
        Self {
            out,
            clock,
            colour,
            netns: HashMap::new(),
        }
    }

    /// `text` in an SGR style.
    fn style(&self, sgr: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{sgr}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn netns(&self, inum: u32) -> String {
        match (inum, self.netns.get(&inum)) {
            (0, _) => "netns ?".into(),
            (_, Some(name)) => format!("netns {name}"),
            (_, None) => format!("netns {inum}"),
        }
    }

    /// `label  text` under a head line.
    fn item(&mut self, label: &str, text: &str) -> io::Result<()> {
        let label = self.style("2", &format!("{label:<11}"));
        writeln!(self.out, "  {label} {}", sanitize(text))
    }

    /// The dropped packet that a case is about.
    fn packet(&mut self, drop: &Drop) -> io::Result<()> {
        let packet = match &drop.packet {
            Some(packet) => packet.to_string(),
            None => format!("ethertype {:#06x}", drop.ethertype),
        };
        let dev = drop
            .dev
            .as_ref()
            .map_or(String::new(), |d| format!(" on {} ({})", d.name, d.ifindex));
        let mark = if drop.mark == 0 {
            String::new()
        } else {
            format!(", mark {:#x}", drop.mark)
        };
        let netns = self.netns(drop.netns);
        self.item(
            "packet",
            &format!("{packet}, {} bytes{dev} in {netns}{mark}", drop.len),
        )
    }

    fn fix(&mut self, fix: &Fix) -> io::Result<()> {
        let label = if fix.primary { "change" } else { "or" };
        self.item(label, &fix.title)?;
        if let Some(file) = &fix.file {
            self.item("", &format!("write {}:", file.path))?;
            for line in file.content.lines() {
                let line = self.style("36", &format!("    {}", sanitize(line)));
                writeln!(self.out, "              {line}")?;
            }
        }
        for command in &fix.commands {
            let command = self.style("36", &format!("# {}", sanitize(command)));
            writeln!(self.out, "              {command}")?;
        }
        match &fix.cost {
            Some(cost) => self.item("", &format!("({cost})")),
            None => Ok(()),
        }
    }

    fn ledger(&mut self, l: &Ledger) -> io::Result<()> {
        let parts = [
            (l.shown, "shown"),
            (l.suppressed, "suppressed"),
            (l.lost_ring_full, "lost (ring full)"),
            (l.filtered, "filtered"),
            (l.not_packet, "not packets"),
            (l.route_queries, "route queries"),
            (l.deselected, "not selected"),
            (l.undecodable, "undecodable"),
        ];
        let parts: Vec<_> = parts
            .into_iter()
            // The first three are always said, also when they are 0: they are what is asked for.
            .enumerate()
            .filter(|(at, (count, _))| *at < 3 || *count > 0)
            .map(|(_, (count, what))| format!("{count} {what}"))
            .collect();
        let text = format!("{} seen = {}", l.seen, parts.join(" + "));
        self.item("ledger", &text)?;
        if l.lost_recursion > 0 {
            self.item(
                "",
                &format!(
                    "{} more calls were skipped by the kernel (recursion)",
                    l.lost_recursion
                ),
            )?;
        }
        if l.lost_events + l.lost_evidence > 0 {
            self.item(
                "",
                &format!(
                    "{} other events did not fit into the ring buffer, {} pieces of evidence into their tables",
                    l.lost_events, l.lost_evidence
                ),
            )?;
        }
        if !l.balanced {
            self.item("", "THE LEDGER DOES NOT ADD UP: please report this")?;
        }
        Ok(())
    }
}

impl<W: Write> Printer for Text<W> {
    fn start(&mut self, start: &Start) -> io::Result<()> {
        writeln!(
            self.out,
            "dropwatch {} on {}",
            env!("CARGO_PKG_VERSION"),
            start.kernel
        )?;
        let attached: Vec<_> = start
            .coverage
            .probes
            .iter()
            .filter_map(|p| {
                let when = p
                    .why
                    .as_ref()
                    .map_or(String::new(), |why| format!(", {why}"));
                Some(format!("{} ({}{when})", p.symbol, p.flavour.as_ref()?))
            })
            .collect();
        self.item("attached", &attached.join(", "))?;
        for probe in start.coverage.probes.iter().filter(|p| !p.attached) {
            let why = probe.why.as_deref().unwrap_or("unknown");
            self.item(
                if probe.awaits.is_some() {
                    "not yet"
                } else {
                    "not there"
                },
                &format!("{} {}: {why}", probe.hook, probe.probe),
            )?;
        }
        for (cause, why) in &start.causes {
            if let Some(why) = why {
                self.item("blind", &format!("{cause}: {why}"))?;
            }
        }
        self.flush()
    }

    fn dropped(&mut self, drop: &Drop) -> io::Result<()> {
        let time = self.clock.time_of_day(drop.time_ns);
        let dev = drop.dev.as_ref().map_or("-", |d| d.name.as_str());
        let packet = match &drop.packet {
            Some(packet) => packet.to_string(),
            None => format!("ethertype {:#06x}", drop.ethertype),
        };
        let mark = if drop.mark == 0 {
            String::new()
        } else {
            format!(" mark {:#x}", drop.mark)
        };
        writeln!(
            self.out,
            "{time} {} {} {packet} len {}{mark} {} {}",
            self.netns(drop.netns),
            sanitize(dev),
            drop.len,
            self.style("1", &drop.reason.text()),
            drop.location.text(),
        )
    }

    fn ipvs_reply(&mut self, reply: &IpvsReply) -> io::Result<()> {
        let time = self.clock.time_of_day(reply.time_ns);
        let netns = self.netns(reply.netns);
        writeln!(self.out, "{time} {netns} {}", ipvs_words(reply))
    }

    fn probe(&mut self, status: &ProbeStatus, time_ns: u64) -> io::Result<()> {
        let time = self.clock.time_of_day(time_ns);
        let symbol = &status.symbol;
        match &status.flavour {
            Some(flavour) => writeln!(self.out, "{time} attached {symbol} ({flavour})")?,
            None => {
                let why = status.why.as_deref().unwrap_or("unknown");
                writeln!(
                    self.out,
                    "{time} could not attach {symbol}: {}",
                    sanitize(why)
                )?;
            }
        }
        self.flush()
    }

    fn told(&mut self, told: &Told) -> io::Result<()> {
        if let Some(name) = &told.netns_name {
            self.netns.insert(told.anchor.netns(), name.clone());
        }
        let e = &told.explanation;
        let time = self.clock.time_of_day(told.anchor.time_ns());
        let head = match told.cause {
            Some(cause) => self.style("1;31", cause),
            None => self.style("1", "drop"),
        };
        let title = self.style("1", &sanitize(&e.title));
        writeln!(self.out, "\n#{} {time} {head}: {title}", told.case)?;
        match &told.anchor {
            Anchor::Drop(drop) => self.packet(drop)?,
            Anchor::IpvsReply(reply) => {
                let netns = self.netns(reply.netns);
                self.item("reply", &format!("{} in {netns}", ipvs_words(reply)))?;
            }
        }
        self.item("why", &e.summary)?;
        for line in &e.evidence {
            self.item(&line.label, &line.text)?;
        }
        for unknown in &e.unknown {
            self.item("unknown", unknown)?;
        }
        for blind in &told.blind {
            self.item("not judged", blind)?;
        }
        for fix in &e.fixes {
            self.fix(fix)?;
        }
        self.flush()
    }

    fn repeat(&mut self, repeat: &Repeat, time_ns: u64) -> io::Result<()> {
        let time = self.clock.time_of_day(time_ns);
        writeln!(
            self.out,
            "#{} {time} {} more {} (total {})",
            repeat.case,
            repeat.count,
            sanitize(&repeat.title),
            repeat.total
        )
    }

    fn update(&mut self, update: &Update, time_ns: u64) -> io::Result<()> {
        let time = self.clock.time_of_day(time_ns);
        writeln!(
            self.out,
            "#{} {time} {}",
            update.case,
            sanitize(&update.text)
        )?;
        self.flush()
    }

    fn sysctl_write(&mut self, write: &SysctlWrite) -> io::Result<()> {
        let time = self.clock.time_of_day(write.time_ns);
        writeln!(
            self.out,
            "{time} {} {}[{}] wrote {}: {} -> {}",
            self.netns(write.netns),
            sanitize(&write.process.comm),
            write.process.pid,
            sanitize(&write.key),
            sanitize(&write.old),
            sanitize(&write.new)
        )
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        writeln!(self.out, "\n{:.1} s", summary.seconds)?;
        for case in &summary.cases {
            let cause = case.cause.unwrap_or("drop");
            self.item(
                &format!("#{}", case.case),
                &format!(
                    "{cause}: {} {}{}",
                    case.total,
                    case.title,
                    case.outcomes.as_ref().map_or(String::new(), fates)
                ),
            )?;
        }
        for drop in summary.drops.iter().take(MOST_COUNTS) {
            let detail = if drop.suppressed > 0 {
                format!(" ({} of them without detail)", drop.suppressed)
            } else {
                String::new()
            };
            let netns = self.netns(drop.netns);
            self.item(
                "counted",
                &format!(
                    "{} {} in {}, {netns} ifindex {}{detail}",
                    drop.count, drop.reason, drop.location, drop.ifindex
                ),
            )?;
        }
        if summary.drops.len() > MOST_COUNTS {
            self.item(
                "",
                &format!("and {} kinds more", summary.drops.len() - MOST_COUNTS),
            )?;
        }
        match &summary.ledger {
            Some(ledger) => self.ledger(ledger)?,
            None => self.item("ledger", "unknown: the capture was cut short")?,
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What became of a case's connections, as a clause.
fn fates(outcomes: &Outcomes) -> String {
    let seconds = |ms: u64| format!("{:.1}", ms as f64 / 1e3);
    let delays = [outcomes.min_ms, outcomes.median_ms, outcomes.max_ms];
    let after = match delays.map(|ms| ms.map(seconds)) {
        [Some(min), Some(median), Some(max)] => {
            format!(" after {min} to {max} s (median {median})")
        }
        _ => String::new(),
    };
    let parts = [
        (outcomes.through, format!("got through{after}")),
        (outcomes.never, "did not".to_owned()),
        (outcomes.open, "open at the end".to_owned()),
        (outcomes.not_followed, "not followed".to_owned()),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<_> = parts.map(|(n, what)| format!("{n} {what}")).collect();
    if parts.is_empty() {
        return String::new();
    }
    format!("; of its connections {}", parts.join(", "))
}

/// A reply that leaves IPVS from where the client did not ask.
fn ipvs_words(reply: &IpvsReply) -> String {
    let c = &reply.connection;
    let asked = std::net::SocketAddr::new(reply.asked.dst, reply.asked.dport);
    format!(
        "{} {} -> {}, who had asked {asked}; from real server {} by IPVS",
        protocol(c.proto),
        c.service,
        c.client,
        c.real_server
    )
}
