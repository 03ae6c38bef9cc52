//! JSON lines: docs/events.md.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use serde_json::{Value, json};

use super::{Printer, Start, Summary, clock::Clock};
use crate::{
    correlate::case::{Repeat, Told},
    model::{anchor::Drop, evidence::SysctlWrite},
};

/// Version of the schema.
pub const SCHEMA: u32 = 1;

/// Writes JSON lines.
pub struct Json<W: Write> {
    out: W,
    clock: Clock,
    /// Names of namespaces, learnt from explained cases.
    netns: HashMap<u32, String>,
}

impl<W: Write> Json<W> {
    /// A printer with this clock.
    pub fn new(out: W, clock: Clock) -> Self {
        Self {
            out,
            clock,
            netns: HashMap::new(),
        }
    }

    fn line(&mut self, kind: &str, time_ns: u64, fields: Value) -> io::Result<()> {
        let mut line = json!({ "type": kind, "time": self.clock.rfc3339(time_ns) });
        if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
            line.extend(fields);
        }
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")
    }

    fn drop_object(&self, drop: &Drop) -> Value {
        json!({
            "time": self.clock.rfc3339(drop.time_ns),
            "cpu": drop.cpu,
            "netns": { "inum": drop.netns, "name": self.netns.get(&drop.netns) },
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
        })
    }
}

impl<W: Write> Printer for Json<W> {
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

    fn dropped(&mut self, drop: &Drop) -> io::Result<()> {
        let fields = self.drop_object(drop);
        self.line("drop", drop.time_ns, fields)
    }

    fn told(&mut self, told: &Told) -> io::Result<()> {
        if let Some(name) = &told.netns_name {
            self.netns.insert(told.drop.netns, name.clone());
        }
        let e = &told.explanation;
        let fields = json!({
            "case": told.case,
            "cause": told.cause,
            "title": e.title,
            "summary": e.summary,
            "drop": self.drop_object(&told.drop),
            "facts": e.facts,
            "evidence": e.evidence,
            "fixes": e.fixes,
            "unknown": e.unknown,
            "blind": told.blind,
        });
        self.line("verdict", told.drop.time_ns, fields)
    }

    fn repeat(&mut self, repeat: &Repeat, time_ns: u64) -> io::Result<()> {
        self.line("repeat", time_ns, json!(repeat))
    }

    fn sysctl_write(&mut self, write: &SysctlWrite) -> io::Result<()> {
        let fields = json!({
            "netns": { "inum": write.netns, "name": self.netns.get(&write.netns) },
            "key": write.key,
            "old": write.old,
            "new": write.new,
            "process": write.process,
        });
        self.line("sysctl_write", write.time_ns, fields)
    }

    fn summary(&mut self, summary: &Summary) -> io::Result<()> {
        let fields = json!({
            "seconds": summary.seconds,
            "ledger": summary.ledger,
            "cases": summary.cases,
            "drops": summary.drops,
        });
        self.line("summary", summary.time_ns, fields)?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
