//! Wire structures to the model: names for numbers, `None` for what was not read.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use dropwatch_common::record::{
    ct_insert::{CtInsert, tuple as layout},
    rp_filter::{RpFilter, ran},
    skb_drop::SkbDrop,
};

use super::wire::{self, Wire};
use crate::{
    facts::sysctl_files::dotted_path,
    kernel::{reasons::Reasons, symbols::Symbols},
    model::{
        anchor::{Dev, Drop, Location, Reason, Task},
        evidence::{Insertion, Lookup, Mode, Refused, Returned, SourceCheck, SysctlWrite},
        packet::Packet,
        tuple::Tuple,
    },
};

/// One decoded entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A dropped packet.
    Drop(Box<Drop>),
    /// A sysctl write.
    SysctlWrite(SysctlWrite),
}

/// Decodes ring-buffer entries of this kernel.
pub struct Decoder {
    reasons: Reasons,
    symbols: Arc<OnceLock<Symbols>>,
    /// Whether source checks return minus the drop reason (6.14 and later) rather than an errno.
    reason_returns: bool,
}

impl Decoder {
    /// `symbols` may be filled later, in the background; decoding waits for it.
    #[must_use]
    pub fn new(reasons: Reasons, symbols: Arc<OnceLock<Symbols>>, reason_returns: bool) -> Self {
        Self {
            reasons,
            symbols,
            reason_returns,
        }
    }

    /// Decodes an entry; `None` when it is malformed or of no known kind.
    #[must_use]
    pub fn entry(&self, bytes: &[u8]) -> Option<Event> {
        let mut sections = wire::sections(bytes)?.into_iter();
        match sections.next()? {
            Wire::SkbDrop(record) => {
                let mut drop = self.drop(&record);
                for section in sections {
                    match section {
                        Wire::RpFilter(evidence) => {
                            drop.source_check = Some(self.source_check(&evidence));
                        }
                        Wire::CtInsert(evidence) => drop.insertion = insertion(&evidence),
                        Wire::SkbDrop(_) | Wire::SysctlWrite(_) => {}
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
            Wire::RpFilter(_) | Wire::CtInsert(_) => None,
        }
    }

    fn drop(&self, record: &SkbDrop) -> Drop {
        Drop {
            time_ns: record.time_ns,
            cpu: record.cpu,
            netns: record.netns,
            dev: (record.ifindex != 0).then(|| Dev {
                name: text(&record.dev),
                ifindex: record.ifindex,
            }),
            iif: record.iif,
            reason: self.reason(record.reason),
            location: self.location(record.location),
            mark: record.mark,
            len: record.skb_len,
            ethertype: record.ethertype,
            packet: Packet::from_flow(&record.flow, record.flags),
            task: Task {
                pid: record.tgid,
                comm: text(&record.comm),
            },
            source_check: None,
            insertion: None,
        }
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
        let found = self.symbols.wait().find(address);
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
                verdict: self.refused(record.ret),
                oif: record.oif,
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

    /// Decodes `fib_validate_source`'s return value.
    fn refused(&self, value: i32) -> Refused {
        if !self.reason_returns {
            return match -value {
                libc::EXDEV => Refused::ReversePath,
                libc::EINVAL => Refused::LocalOrInvalid,
                _ => Refused::Unrecognised,
            };
        }
        match self.reasons.name(value.unsigned_abs()) {
            Some("IP_RPFILTER") => Refused::ReversePath,
            Some("IP_LOCAL_SOURCE") => Refused::LocalSource,
            Some("IP_INVALID_SOURCE") => Refused::InvalidSource,
            _ => Refused::Unrecognised,
        }
    }
}

/// `None` when the tuples could not be read.
fn insertion(record: &CtInsert) -> Option<Insertion> {
    Some(Insertion {
        status: record.status,
        zone: record.zone as u16,
        original: tuple(&record.original)?,
        reply: tuple(&record.reply)?,
    })
}

fn tuple(raw: &[u8; layout::SIZE]) -> Option<Tuple> {
    let port = |at: usize| u16::from_be_bytes([raw[at], raw[at + 1]]);
    let family = u16::from_ne_bytes([raw[layout::FAMILY], raw[layout::FAMILY + 1]]);
    let address = |at: usize| -> Option<IpAddr> {
        let bytes = <[u8; 16]>::try_from(&raw[at..at + 16]).ok()?;
        match i32::from(family) {
            libc::AF_INET => Some([bytes[0], bytes[1], bytes[2], bytes[3]].into()),
            libc::AF_INET6 => Some(bytes.into()),
            _ => None,
        }
    };
    Some(Tuple {
        proto: raw[layout::PROTO],
        src: address(layout::SRC)?,
        dst: address(layout::DST)?,
        sport: port(layout::SRC_PORT),
        dport: port(layout::DST_PORT),
    })
}

/// Text up to the first NUL.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
