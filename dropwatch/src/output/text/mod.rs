//! Text for people.

use std::{
    fmt::Write as _,
    io::{self, Write},
};

use super::{
    Names, Sink, Start, Summary,
    clock::Clock,
    lines::{Lines, Style, Terminal},
};
use crate::{
    correlate::{
        case::{Repeat, Report},
        follow::Update,
    },
    event::Event,
    model::{
        anchor::{Anchor, Drop},
        coverage::ProbeStatus,
        evidence::SysctlWrite,
        explanation::Fix,
        ipvs::IpvsReply,
        proto::Proto,
    },
};

mod summary;

/// Writes text, in colour on a terminal.
pub struct Text<W: Write> {
    lines: Lines<W>,
    clock: Clock,
}

impl<W: Write> Text<W> {
    /// A printer with this clock.
    pub fn new(out: W, clock: Clock, terminal: Terminal) -> Self {
        Self {
            lines: Lines::new(out, terminal),
            clock,
        }
    }

    /// The dropped packet that a case is about.
    fn packet(&mut self, drop: &Drop, names: &Names) -> io::Result<()> {
        let dev = drop
            .dev
            .as_ref()
            .map_or(String::new(), |d| format!(" on {} ({})", d.name, d.ifindex));
        let mark = match drop.mark {
            0 => String::new(),
            mark => format!(", mark {mark:#x}"),
        };
        let netns = names.words(drop.netns);
        let text = format!(
            "{}, {}{dev} in {netns}{mark}",
            what(drop),
            length(drop, " bytes")
        );
        self.lines.item("packet", &text)
    }

    fn fix(&mut self, fix: &Fix) -> io::Result<()> {
        let label = if fix.primary { "change" } else { "or" };
        self.lines.item(label, &fix.title)?;
        if let Some(file) = &fix.file {
            self.lines.item("", &format!("write {}:", file.path))?;
            for line in file.content.lines() {
                self.lines.code(&format!("    {line}"))?;
            }
        }
        for command in &fix.commands {
            self.lines.code(&format!("# {command}"))?;
        }
        match &fix.cost {
            Some(cost) => self.lines.item("", &format!("({cost})")),
            None => Ok(()),
        }
    }

    /// One line per drop, without `--explain`.
    fn dropped(&mut self, drop: &Drop, names: &Names) -> io::Result<()> {
        let time = self.clock.time_of_day(drop.time_ns);
        let dev = drop.dev.as_ref().map_or("-", |d| d.name.as_str());
        let mark = match drop.mark {
            0 => String::new(),
            mark => format!(" mark {mark:#x}"),
        };
        let netns = names.words(drop.netns);
        self.lines.text(format_args!(
            "{time} {netns} {dev} {} len {}{mark} ",
            what(drop),
            length(drop, "")
        ))?;
        self.lines.styled(Style::Bold, drop.reason.text())?;
        self.lines.line(format_args!(" {}", drop.location.text()))
    }

    fn probe(&mut self, status: &ProbeStatus, time_ns: u64) -> io::Result<()> {
        let time = self.clock.time_of_day(time_ns);
        let symbol = &status.symbol;
        match &status.flavour {
            Some(flavour) => self
                .lines
                .line(format_args!("{time} attached {symbol} ({flavour})"))?,
            None => {
                let why = status.why.as_deref().unwrap_or("unknown");
                self.lines
                    .line(format_args!("{time} could not attach {symbol}: {why}"))?;
            }
        }
        self.lines.flush()
    }

    fn sysctl_write(&mut self, write: &SysctlWrite, names: &Names) -> io::Result<()> {
        let SysctlWrite {
            key,
            old,
            new,
            process,
            ..
        } = write;
        let time = self.clock.time_of_day(write.time_ns);
        let netns = names.words(write.netns);
        self.lines.line(format_args!(
            "{time} {netns} {}[{}] wrote {key}: {old} -> {new}",
            process.comm, process.pid
        ))
    }
}

/// The packet's length: its own where the header tells it, then that of the buffer if that is another.
fn length(drop: &Drop, unit: &str) -> String {
    match drop.ip_len {
        Some(own) if u32::from(own) != drop.len => {
            format!("{own}{unit} ({} in the buffer)", drop.len)
        }
        _ => format!("{}{unit}", drop.len),
    }
}

/// The packet in words, or what stands in for it.
fn what(drop: &Drop) -> String {
    match &drop.packet {
        Some(packet) => packet.to_string(),
        None if drop.ethertype == 0 && drop.len == 0 => "buffer without a packet".to_owned(),
        None => match ethertype(drop.ethertype) {
            Some(name) => format!("{name} (ethertype {:#06x})", drop.ethertype),
            None => format!("ethertype {:#06x}", drop.ethertype),
        },
    }
}

/// The usual ones of include/uapi/linux/if_ether.h; IP is here for packets whose headers could not be read.
fn ethertype(number: u16) -> Option<&'static str> {
    Some(match number {
        0x0800 => "IPv4",
        0x0806 => "ARP",
        0x8100 => "VLAN",
        0x86dd => "IPv6",
        0x8847 | 0x8848 => "MPLS",
        0x8863 => "PPPoE discovery",
        0x8864 => "PPPoE",
        0x888e => "EAPOL",
        0x88a8 => "VLAN (802.1ad)",
        0x88cc => "LLDP",
        _ => return None,
    })
}

/// Probes that are not attached, those of one reason together.
fn missing(start: &Start) -> Vec<(&'static str, &str, Vec<String>)> {
    let mut groups: Vec<(&str, &str, Vec<String>)> = Vec::new();
    for probe in start.coverage.probes.iter().filter(|p| !p.attached) {
        let why = probe.why.as_deref().unwrap_or("unknown");
        let label = match probe.awaits {
            Some(_) => "not yet",
            None => "not there",
        };
        let name = format!("{} {}", probe.hook, probe.probe);
        let mut known = groups.iter_mut();
        match known.find(|group| (group.0, group.1) == (label, why)) {
            Some(group) => group.2.push(name),
            None => groups.push((label, why, vec![name])),
        }
    }
    groups
}

impl<W: Write> Sink for Text<W> {
    fn start(&mut self, start: &Start) -> io::Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        self.lines
            .line(format_args!("dropwatch {version} on {}", start.kernel))?;
        let mut attached = String::new();
        for probe in &start.coverage.probes {
            let Some(flavour) = &probe.flavour else {
                continue;
            };
            let comma = if attached.is_empty() { "" } else { ", " };
            let _ = write!(attached, "{comma}{} ({flavour}", probe.symbol);
            if let Some(why) = &probe.why {
                let _ = write!(attached, ", {why}");
            }
            attached.push(')');
        }
        self.lines.item("attached", &attached)?;
        for (label, why, probes) in missing(start) {
            self.lines
                .item(label, &format!("{}: {why}", probes.join(", ")))?;
        }
        for (cause, why) in &start.causes {
            if let Some(why) = why {
                self.lines.item("not judged", &format!("{cause}: {why}"))?;
            }
        }
        self.lines.flush()
    }

    fn event(&mut self, event: &Event, names: &Names) -> io::Result<()> {
        match event {
            Event::Drop(drop) => self.dropped(drop, names),
            Event::SysctlWrite(write) => self.sysctl_write(write, names),
            Event::IpvsReply(reply) => {
                let time = self.clock.time_of_day(reply.time_ns);
                let netns = names.words(reply.netns);
                let text = ipvs_reply(reply);
                self.lines.line(format_args!("{time} {netns} {text}"))
            }
            Event::Probe { status, time_ns } => self.probe(status, *time_ns),
            Event::IpvsReset(_) | Event::Fact { .. } | Event::Tick { .. } | Event::End { .. } => {
                Ok(())
            }
        }
    }

    fn report(&mut self, report: &Report, names: &Names) -> io::Result<()> {
        let e = &report.explanation;
        let time = self.clock.time_of_day(report.anchor.time_ns());
        self.lines.end()?;
        self.lines.text(format_args!("#{} {time} ", report.case))?;
        match report.cause {
            Some(cause) => self.lines.styled(Style::Cause, cause)?,
            None => self.lines.styled(Style::Bold, "drop")?,
        }
        self.lines.text(": ")?;
        self.lines.styled(Style::Bold, &e.title)?;
        self.lines.end()?;
        match &report.anchor {
            Anchor::Drop(drop) => self.packet(drop, names)?,
            Anchor::IpvsReply(reply) => {
                let text = format!("{} in {}", ipvs_reply(reply), names.words(reply.netns));
                self.lines.item("reply", &text)?;
            }
        }
        self.lines.item("why", &e.summary)?;
        for line in &e.evidence {
            self.lines.item(&line.label, &line.text)?;
        }
        for unknown in &e.unknown {
            self.lines.item("unknown", unknown)?;
        }
        if !report.blind.is_empty() {
            // Why stands at the beginning.
            let causes = report
                .blind
                .iter()
                .filter_map(|text| text.split(':').next());
            let causes: Vec<&str> = causes.collect();
            self.lines.item("not judged", &causes.join(", "))?;
        }
        for fix in &e.fixes {
            self.fix(fix)?;
        }
        self.lines.flush()
    }

    fn repeat(&mut self, repeat: &Repeat, time_ns: u64) -> io::Result<()> {
        let time = self.clock.time_of_day(time_ns);
        let devices = match repeat.devices {
            0 | 1 => String::new(),
            many => format!(" on {many} devices"),
        };
        self.lines.line(format_args!(
            "#{} {time} {} more {} (total {}{devices})",
            repeat.case,
            repeat.count,
            repeat.title,
            repeat.numbers.text()
        ))
    }

    fn update(&mut self, update: &Update, time_ns: u64) -> io::Result<()> {
        let time = self.clock.time_of_day(time_ns);
        self.lines
            .line(format_args!("#{} {time} {}", update.case, update.text))?;
        self.lines.flush()
    }

    fn summary(&mut self, summary: &Summary, names: &Names) -> io::Result<()> {
        summary::write(&mut self.lines, summary, names)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()
    }
}

/// A reply that leaves IPVS from where the client did not ask.
fn ipvs_reply(reply: &IpvsReply) -> String {
    let c = &reply.connection;
    let asked = std::net::SocketAddr::new(reply.asked.dst, reply.asked.dport);
    format!(
        "{} {} -> {}, who had asked {asked}; from real server {} by IPVS",
        Proto(c.proto),
        c.service,
        c.client,
        c.real_server
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One packet has one length, wherever it was dropped.
    #[test]
    fn the_packets_own_length_comes_first() {
        let mut drop = crate::model::anchor::tests::drop();
        let mut at = |len, ip_len| {
            (drop.len, drop.ip_len) = (len, ip_len);
            length(&drop, " bytes")
        };
        assert_eq!(at(29, Some(29)), "29 bytes");
        assert_eq!(at(9, Some(29)), "29 bytes (9 in the buffer)");
        assert_eq!(at(43, Some(29)), "29 bytes (43 in the buffer)");
        assert_eq!(at(9, None), "9 bytes");
    }
}
