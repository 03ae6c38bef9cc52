//! JSON lines: docs/events.md.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Serializer, Value, json, ser::Formatter};

use super::{Names, Sink, Start, Summary, clock::Clock, sanitize::bad};
use crate::{
    correlate::{
        case::{Repeat, Report},
        follow::Update,
    },
    event::Event,
    model::{
        anchor::{Anchor, Drop},
        evidence::SysctlWrite,
        ipvs::IpvsReply,
        packet,
    },
};

/// Version of the schema.
pub const SCHEMA: u32 = 2;

/// Writes JSON lines.
pub struct Json<W: Write> {
    out: W,
    clock: Clock,
}

impl<W: Write> Json<W> {
    /// A printer with this clock.
    pub fn new(out: W, clock: Clock) -> Self {
        Self { out, clock }
    }

    fn line(&mut self, kind: &str, time_ns: u64, fields: Value) -> io::Result<()> {
        let mut line = json!({ "type": kind, "time": self.clock.rfc3339(time_ns) });
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields);
        }
        line.serialize(&mut Serializer::with_formatter(&mut self.out, Plain))?;
        self.out.write_all(b"\n")
    }

    fn drop_object(&self, drop: &Drop, names: &Names) -> Value {
        json!({
            "time": self.clock.rfc3339(drop.time_ns),
            "cpu": drop.cpu,
            "netns": { "inum": drop.netns, "name": names.get(drop.netns) },
            "netns_cookie": cookie(drop.netns_cookie),
            "dev": drop.dev,
            "iif": drop.iif,
            "reason": drop.reason,
            "location": drop.location,
            "mark": drop.mark,
            "len": drop.len,
            "ethertype": drop.ethertype,
            "packet": drop.packet,
            "task": drop.task,
            "source_check": drop.source_check,
            "insertion": drop.insertion,
            "clash": drop.clash,
            "queue": drop.queue,
            "stack": drop.stack,
        })
    }

    fn ipvs_object(&self, reply: &IpvsReply, names: &Names) -> Value {
        let c = &reply.connection;
        json!({
            "kind": "ipvs_reply",
            "time": self.clock.rfc3339(reply.time_ns),
            "cpu": reply.cpu,
            "netns": { "inum": reply.netns, "name": names.get(reply.netns) },
            "hook": reply.hook,
            "af": if c.client.addr.is_ipv4() { 4 } else { 6 },
            "proto": packet::protocol(c.proto),
            "client": c.client,
            "service": c.service,
            "real_server": c.real_server,
            "flags": c.flags,
            "fwmark": c.fwmark,
            "asked": { "addr": reply.asked.dst, "port": reply.asked.dport },
        })
    }

    fn sysctl_write(&mut self, write: &SysctlWrite, names: &Names) -> io::Result<()> {
        let fields = json!({
            "netns": { "inum": write.netns, "name": names.get(write.netns) },
            "key": write.key,
            "old": write.old,
            "new": write.new,
            "process": write.process,
        });
        self.line("sysctl_write", write.time_ns, fields)
    }
}

impl<W: Write> Sink for Json<W> {
    fn start(&mut self, start: &Start) -> io::Result<()> {
        let hooks: Vec<_> = start.coverage.probes.iter().collect();
        let causes: Vec<_> = start
            .causes
            .iter()
            .map(|(cause, why)| json!({ "cause": cause, "judged": why.is_none(), "why": why }))
            .collect();
        self.line(
            "start",
            start.time_ns,
            json!({
                "schema": SCHEMA,
                "version": env!("CARGO_PKG_VERSION"),
                "kernel": start.kernel,
                "netns": start.netns,
                "hooks": hooks,
                "causes": causes,
            }),
        )
    }

    fn event(&mut self, event: &Event, names: &Names) -> io::Result<()> {
        match event {
            Event::Drop(drop) => {
                let fields = self.drop_object(drop, names);
                self.line("drop", drop.time_ns, fields)
            }
            Event::IpvsReply(reply) => {
                let fields = self.ipvs_object(reply, names);
                self.line("anomaly", reply.time_ns, fields)
            }
            Event::SysctlWrite(write) => self.sysctl_write(write, names),
            Event::Probe { status, time_ns } => {
                self.line("hook", *time_ns, json!(status))?;
                self.flush()
            }
            Event::IpvsReset(_) | Event::Fact { .. } | Event::Tick { .. } | Event::End { .. } => {
                Ok(())
            }
        }
    }

    fn report(&mut self, report: &Report, names: &Names) -> io::Result<()> {
        let e = &report.explanation;
        let (drop, anomaly) = match &report.anchor {
            Anchor::Drop(drop) => (self.drop_object(drop, names), Value::Null),
            Anchor::IpvsReply(reply) => (Value::Null, self.ipvs_object(reply, names)),
        };
        let fields = json!({
            "case": report.case,
            "cause": report.cause,
            "title": e.title,
            "summary": e.summary,
            "drop": drop,
            "anomaly": anomaly,
            "facts": e.facts,
            "evidence": e.evidence,
            "fixes": e.fixes,
            "unknown": e.unknown,
            "blind": report.blind,
        });
        self.line("verdict", report.anchor.time_ns(), fields)
    }

    fn repeat(&mut self, repeat: &Repeat, time_ns: u64) -> io::Result<()> {
        self.line("repeat", time_ns, json!(repeat))
    }

    fn update(&mut self, update: &Update, time_ns: u64) -> io::Result<()> {
        self.line("update", time_ns, json!(update))?;
        self.flush()
    }

    fn summary(&mut self, summary: &Summary, _names: &Names) -> io::Result<()> {
        let fields = json!({
            "seconds": summary.seconds,
            "ledger": summary.ledger,
            "cases": summary.cases,
            "closed": { "cases": summary.closed.cases, "drops": summary.closed.drops },
            "drops": summary.drops,
        });
        self.line("summary", summary.time_ns, fields)?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// `null` where the kernel has none.
fn cookie(cookie: u64) -> Option<u64> {
    (cookie != 0).then_some(cookie)
}

/// Compact JSON whose texts hold no character that a terminal acts on: JSON itself escapes only the first 32.
struct Plain;

impl Formatter for Plain {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| bad(*c)) {
            out.write_all(&rest.as_bytes()[..at])?;
            // All of them are below U+10000: one code unit.
            write!(out, "\\u{:04x}", u32::from(c))?;
            rest = &rest[at + c.len_utf8()..];
        }
        out.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_on_is_written_raw() {
        let text = "a\u{9b}31m\u{202e}b\u{7f}\u{1b}ß\u{2028}";
        let mut bytes = Vec::new();
        text.serialize(&mut Serializer::with_formatter(&mut bytes, Plain))
            .expect("JSON");
        let json = String::from_utf8(bytes).expect("UTF-8");
        assert_eq!(json, r#""a\u009b31m\u202eb\u007f\u001bß\u2028""#);
        assert_eq!(serde_json::from_str::<String>(&json).expect("JSON"), text);
    }
}
