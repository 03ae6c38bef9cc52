//! Wire structures to the model: names for numbers, `None` for what was not read.

use dropwatch_common::{
    header::kind,
    record::{
        rp_filter::{RpFilter, ran},
        skb_drop::SkbDrop,
    },
};

use super::{
    evidence::{self, text},
    ipvs,
    wire::{self, Wire},
};
use crate::{
    event::Event,
    facts::sysctl_files::dotted_path,
    kernel::{reasons::Reasons, symbols::Symbols},
    model::{
        anchor::{Dev, Drop, Location, Reason, Task},
        evidence::{Lookup, Mode, Refused, Returned, SourceCheck, SysctlWrite},
        packet::Packet,
    },
};

/// Why an entry could not be decoded, by what it was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecodable {
    /// A dropped packet, or nothing that can be told.
    Drop,
    /// Anything else.
    Other,
}

/// Decodes ring-buffer entries of this kernel.
pub struct Decoder {
    reasons: Reasons,
    /// `None` while they are read for the first time.
    symbols: Option<Symbols>,
}

impl Decoder {
    /// One that knows no symbols yet.
    #[must_use]
    pub fn new(reasons: Reasons) -> Self {
        Self {
            reasons,
            symbols: None,
        }
    }

    /// Whether places have names. Until then it is better to leave entries where they are.
    #[must_use]
    pub fn has_symbols(&self) -> bool {
        self.symbols.is_some()
    }

    /// Takes the symbols, or others: a module was loaded.
    pub fn take_symbols(&mut self, symbols: Symbols) {
        self.symbols = Some(symbols);
    }

    fn symbol(&self, address: u64) -> Option<(&str, u64)> {
        self.symbols.as_ref()?.find(address)
    }

    /// Decodes an entry.
    ///
    /// # Errors
    ///
    /// When it is malformed or of no known kind: what it was about, as far as its first section tells, since drops have a
    /// ledger of their own.
    pub fn entry(&self, bytes: &[u8]) -> Result<Event, Undecodable> {
        self.decoded(bytes)
            .ok_or_else(|| match wire::first_kind(bytes) {
                None | Some(kind::SKB_DROP) => Undecodable::Drop,
                Some(_) => Undecodable::Other,
            })
    }

    fn decoded(&self, bytes: &[u8]) -> Option<Event> {
        let mut sections = wire::sections(bytes)?.into_iter();
        match sections.next()? {
            Wire::SkbDrop(record) => {
                let mut drop = self.drop(&record);
                for section in sections {
                    match section {
                        Wire::RpFilter(evidence) => {
                            drop.source_check = Some(self.source_check(&evidence));
                        }
                        Wire::CtInsert(section) => {
                            drop.insertion = evidence::insertion(&section);
                        }
                        Wire::CtClash(section) => drop.clash = evidence::clash(&section),
                        Wire::Nfqueue(section) => drop.queue = Some(evidence::queue(&section)),
                        Wire::Stack(section) => drop.stack = self.stack(&section.frames),
                        Wire::SkbDrop(_) | Wire::SysctlWrite(_) | Wire::Ipvs(_) => {}
                    }
                }
                Some(Event::Drop(Box::new(drop)))
            }
            Wire::SysctlWrite(record) => Some(Event::SysctlWrite(SysctlWrite {
                time_ns: record.time_ns,
                netns: record.netns,
                key: dotted_path(&text(&record.name)),
                old: text(&record.old).trim().to_owned(),
                new: text(&record.new).trim().to_owned(),
                process: Task {
                    pid: record.tgid,
                    comm: text(&record.comm),
                },
            })),
            Wire::Ipvs(record) => ipvs::event(&record),
            Wire::RpFilter(_)
            | Wire::CtInsert(_)
            | Wire::CtClash(_)
            | Wire::Nfqueue(_)
            | Wire::Stack(_) => None,
        }
    }

    fn drop(&self, record: &SkbDrop) -> Drop {
        let location = self.location(record.location);
        let packet = Packet::from_flow(&record.flow, record.flags)
            .filter(|packet| packet.fits(location.symbol.as_deref(), record.skb_len))
            .map(|packet| packet.within(location.symbol.as_deref(), record.skb_len));
        Drop {
            time_ns: record.time_ns,
            cpu: record.cpu,
            netns: record.netns,
            netns_cookie: record.netns_cookie,
            dev: (record.ifindex != 0).then(|| Dev {
                name: text(&record.dev),
                ifindex: record.ifindex,
            }),
            iif: record.iif,
            reason: self.reason(record.reason),
            location,
            mark: record.mark,
            len: record.skb_len,
            ip_len: Some(record.flow.ip_len).filter(|len| *len != 0 && packet.is_some()),
            ethertype: record.ethertype,
            packet,
            task: Task {
                pid: record.tgid,
                comm: text(&record.comm),
            },
            source_check: None,
            insertion: None,
            clash: None,
            queue: None,
            stack: Vec::new(),
        }
    }

    /// Names of the functions on a stack, without those of tracing itself, which called us. Frames without a name (those of
    /// eBPF programs may have none) are left out.
    fn stack(&self, frames: &[u64]) -> Vec<String> {
        let names = frames.iter().filter_map(|address| self.symbol(*address));
        let own = |(name, _): &(&str, u64)| is_tracing(name);
        names
            .skip_while(own)
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// A reason with its name.
    #[must_use]
    pub fn reason(&self, number: u32) -> Reason {
        Reason {
            name: self.reasons.name(number).map(Into::into),
            number,
        }
    }

    /// An address with its symbol.
    #[must_use]
    pub fn location(&self, address: u64) -> Location {
        let found = self.symbol(address);
        Location {
            symbol: found.map(|(symbol, _)| symbol.into()),
            offset: found.map_or(0, |(_, offset)| offset),
            address,
        }
    }

    fn source_check(&self, record: &RpFilter) -> SourceCheck {
        let wrote = |group: u32| record.ran & group != 0;
        SourceCheck {
            martian_handler: wrote(ran::MARTIAN),
            returned: wrote(ran::RETURN).then(|| Returned {
                value: record.ret,
                verdict: refused(record.ret),
            }),
            mode: wrote(ran::MODE).then_some(Mode {
                all: record.mode_all,
                device: record.mode_device,
                has_address: record.has_address != 0,
            }),
            lookup: wrote(ran::LOOKUP).then_some(Lookup {
                table: record.lookup_table,
                oif: record.lookup_oif,
                error: record.lookup_err,
            }),
        }
    }
}

/// Whether a function is of the way from a tracepoint to a program (kernel/trace/bpf_trace.c, include/linux/tracepoint.h, 5.10
/// to 7.2), or a program: those have the name of whatever symbol lies before them when they are not in the table yet.
fn is_tracing(name: &str) -> bool {
    ["bpf_", "__bpf_", "__traceiter_", "trace_call_bpf"]
        .iter()
        .any(|begin| name.starts_with(begin))
}

/// Decodes `ip_route_input_noref`'s return value for a source that was refused.
fn refused(value: i32) -> Refused {
    const NO_WAY_BACK: i32 = -libc::EXDEV;
    const NO_SOURCE: i32 = -libc::EINVAL;
    match value {
        NO_WAY_BACK => Refused::ReversePath,
        NO_SOURCE => Refused::LocalOrInvalid,
        _ => Refused::Unrecognised,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_is_a_return_value() {
        assert_eq!(refused(-libc::EXDEV), Refused::ReversePath);
        assert_eq!(refused(-libc::EINVAL), Refused::LocalOrInvalid);
        assert_eq!(refused(i32::MIN), Refused::Unrecognised);
    }

    #[test]
    fn stacks_begin_behind_the_tracer() {
        let own = [
            "bpf_prog_75a0d9a3_sysctl_write",
            "bpf_trace_run4",
            "__bpf_trace_kfree_skb",
            "__traceiter_kfree_skb",
            "bpf_trampoline_6442",
        ];
        assert!(own.into_iter().all(is_tracing));
        assert!(!is_tracing("sk_skb_reason_drop") && !is_tracing("nf_hook_slow"));
    }
}
