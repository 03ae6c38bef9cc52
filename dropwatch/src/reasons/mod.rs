//! What every kernel drop reason means, and where to look next.
//!
//! Texts are found by name, never by number: the numbers change with every kernel (see
//! `names.txt`). What a reason means was taken from the comments in Linux
//! `include/net/dropreason-core.h` and `dropreason-qdisc.h` (7.2, and the development tree after
//! it), `net/openvswitch/drop.h`, `net/mac80211/drop.h`, and from the functions that use it.
//! A text says what is certain; where a reason has several causes it names them all.
//!
//! Where reason and function, or these and the headers, say more than the reason alone, [`thing()`] has the
//! words; they come first. For kernels before 5.17, and for `NOT_SPECIFIED`, [`location_hint()`] says what it
//! means that a packet was freed in a certain function.

use serde::Serialize;

mod device;
pub mod hint;
mod ip;
mod location;
mod qdisc;
mod socket;
mod tcp;
#[cfg(test)]
mod tests;
mod things;
mod tunnel;

pub use location::{Hint, function, location_hint};
pub use things::{Thing, thing};

/// What kind of thing dropped the packet: for grouping and for the tone of an explanation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Class {
    /// A setting of the kernel or of a device says so.
    Config,
    /// A firewall or a security policy says so.
    Firewall,
    /// A program loaded into the kernel says so: XDP, TC, cgroup or socket filter.
    Program,
    /// The receiving socket does not exist or does not want the packet.
    Socket,
    /// No route, or an address that must not occur.
    Routing,
    /// The packet breaks a protocol's rules.
    Malformed,
    /// Memory, a queue or a table is full.
    Resource,
    /// TCP's state machine refuses the segment.
    Tcp,
    /// The link-layer address of the next hop is not known.
    Neighbour,
    /// A tunnel, bridge or virtual device refuses the packet.
    Device,
    /// No fault: nothing was lost that anybody here waited for.
    Normal,
    /// The kernel does not say.
    Unknown,
}

/// The explanation of one drop reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ReasonText {
    /// Name without the prefix `SKB_DROP_REASON_`; a family of names ends with `*`.
    pub name: &'static str,
    /// One sentence: what happened, and why the kernel does so.
    pub what: &'static str,
    /// Where to look next, with commands in backquotes, whose values [`hint::fill`] writes.
    pub look: &'static str,
    /// What kind of reason it is.
    pub class: Class,
}

/// Shorthand for the tables.
const fn text(
    name: &'static str,
    class: Class,
    what: &'static str,
    look: &'static str,
) -> ReasonText {
    ReasonText {
        name,
        what,
        look,
        class,
    }
}

/// The tables, each sorted by name.
const TABLES: [&[ReasonText]; 6] = [
    device::TABLE,
    ip::TABLE,
    qdisc::TABLE,
    socket::TABLE,
    tcp::TABLE,
    tunnel::TABLE,
];

/// What a drop reason means, or `None` if this version does not know it.
///
/// The name may carry the prefix `SKB_DROP_REASON_` and leading underscores (as members of
/// `enum ___mac80211_drop_reason` do).
pub fn explain(name: &str) -> Option<&'static ReasonText> {
    let name = name.trim_start_matches('_');
    let name = name.strip_prefix("SKB_DROP_REASON_").unwrap_or(name);
    TABLES
        .iter()
        .find_map(|table| Some(&table[table.binary_search_by_key(&name, |t| t.name).ok()?]))
        .or_else(|| device::family(name))
}
