//! JSON lines: docs/events.md.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use serde_json::{Value, json};

use super::{Printer, Start, Summary, clock::Clock};
use crate::{
    correlate::{
        case::{Repeat, Told},
        follow::Update,
    },
    model::{
        anchor::{Anchor, Drop},
        coverage::ProbeStatus,
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
            "clash": drop.clash,
            "queue": drop.queue,
            "stack": drop.stack,
        })
    }

    fn ipvs_object(&self, reply: &IpvsReply) -> Value {
        let c = &reply.connection;
        json!({
            "kind": "ipvs_reply",
            "time": self.clock.rfc3339(reply.time_ns),
            "cpu": reply.cpu,
            "netns": { "inum": reply.netns, "name": self.netns.get(&reply.netns) },
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

    fn ipvs_reply(&mut self, reply: &IpvsReply) -> io::Result<()> {
        let fields = self.ipvs_object(reply);
        self.line("anomaly", reply.time_ns, fields)
    }

    fn probe(&mut self, status: &ProbeStatus, time_ns: u64) -> io::Result<()> {
        self.line("hook", time_ns, json!(status))?;
        self.flush()
    }

    fn told(&mut self, told: &Told) -> io::Result<()> {
        if let Some(name) = &told.netns_name {
            self.netns.insert(told.anchor.netns(), name.clone());
        }
        let e = &told.explanation;
        let (drop, anomaly) = match &told.anchor {
            Anchor::Drop(drop) => (self.drop_object(drop), Value::Null),
            Anchor::IpvsReply(reply) => (Value::Null, self.ipvs_object(reply)),
        };
        let fields = json!({
            "case": told.case,
            "cause": told.cause,
            "title": e.title,
            "summary": e.summary,
            "drop": drop,
            "anomaly": anomaly,
            "facts": e.facts,
            "evidence": e.evidence,
            "fixes": e.fixes,
            "unknown": e.unknown,
            "blind": told.blind,
        });
        self.line("verdict", told.anchor.time_ns(), fields)
    }

    fn repeat(&mut self, repeat: &Repeat, time_ns: u64) -> io::Result<()> {
        self.line("repeat", time_ns, json!(repeat))
    }

    fn update(&mut self, update: &Update, time_ns: u64) -> io::Result<()> {
        self.line("update", time_ns, json!(update))?;
        self.flush()
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
