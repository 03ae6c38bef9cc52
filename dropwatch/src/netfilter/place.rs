//! Where netfilter dropped a packet, from what the drop itself shows: the function that freed it and the ones that
//! called each other down to it.

use super::callers::{Caller, caller};
use crate::{
    facts::ruleset::{Family, Subsystem},
    model::{anchor::Drop, coverage::Coverage, hook::Hook},
};

/// Where a packet met netfilter for the last time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What freed it there.
    pub by: By,
    /// Family of the hook, if it is known.
    pub family: Option<Family>,
    /// The hook, if it is known.
    pub hook: Option<Hook>,
    /// Whether a bridge showed its frame to the hooks of IP (`br_netfilter`): then the devices that rules see are
    /// not the packet's own.
    pub bridged: bool,
}

/// What freed a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The runner of all hooks, as one of them said so: iptables-legacy, conntrack, NAT, IPVS; before 6.7 nf_tables
    /// too (6.1 has a backport).
    Hooks,
    /// nf_tables.
    NfTables,
    /// What takes a packet back from a queue program: by the program's verdict, or as a later chain of the same
    /// hook said so.
    Reinject,
    /// What sends a packet to a queue program, and could not.
    Queue,
    /// What splits a GSO packet for a queue program: the whole is freed when its segments are queued.
    Segments,
}

impl By {
    fn of(function: &str) -> Option<Self> {
        Some(match function {
            "nf_hook_slow" | "nf_hook_slow_list" => Self::Hooks,
            "nfqnl_reinject" | "nf_reinject" => Self::Reinject,
            "nf_queue" | "__nf_queue" => Self::Queue,
            "nfqnl_enqueue_packet" => Self::Segments,
            name if name == "nft_do_chain" || name.starts_with("nft_do_chain_") => Self::NfTables,
            _ => return None,
        })
    }
}

impl Place {
    /// Of a drop; `None` when it was not netfilter.
    #[must_use]
    pub fn of(drop: &Drop) -> Option<Self> {
        let by = By::of(plain(drop.location.symbol.as_deref()?))?;
        // What the kernel said when it queued the packet holds as long as the packet is at that hook.
        let queued = drop.queue.as_ref().filter(|_| at_queues_hook(by, drop));
        if let Some(trip) = queued {
            return Some(Self {
                by,
                family: match trip.l3 {
                    4 => Some(Family::Ip),
                    6 => Some(Family::Ip6),
                    _ => None,
                },
                hook: trip.hook,
                // The bridge is no longer on the stack.
                bridged: false,
            });
        }
        let names: Vec<&str> = drop.stack.iter().map(|name| plain(name)).collect();
        let is = |by| move |name: &&str| By::of(name) == Some(by);
        let runner = names.iter().position(is(By::Hooks));
        // A bridge runs its first hook by itself.
        let runner = runner.or_else(|| names.iter().rposition(is(By::NfTables)));
        let called = runner.and_then(|runner| caller(&names[runner + 1..]));
        let l3 = drop.packet.as_ref().map(|packet| packet.l3);
        Some(Self {
            by,
            family: called.and_then(|called| match called {
                Caller::Own(family, _) => Some(family),
                Caller::Bridged(_) => l3.map(|l3| if l3 == 4 { Family::Ip } else { Family::Ip6 }),
            }),
            hook: called.map(Caller::hook),
            bridged: matches!(called, Some(Caller::Bridged(_))),
        })
    }

    /// Whose rules can have done it; `None` for both.
    #[must_use]
    pub fn subsystem(&self, coverage: &Coverage) -> Option<Subsystem> {
        match self.by {
            By::NfTables => Some(Subsystem::NfTables),
            By::Hooks | By::Reinject if coverage.nft_frees => Some(Subsystem::IpTables),
            _ => None,
        }
    }
}

/// Whether the hook that the packet was queued at was still the one that it was dropped at.
fn at_queues_hook(by: By, drop: &Drop) -> bool {
    match by {
        By::Reinject | By::Queue | By::Segments => true,
        // A chain of the same hook is called by what takes packets back, not by a hook's runner.
        By::NfTables => {
            let names = drop.stack.iter().map(|name| plain(name));
            let mut callers = names.skip_while(|name| By::of(name) != Some(By::NfTables));
            callers.find_map(By::of_runner) == Some(By::Reinject)
        }
        By::Hooks => false,
    }
}

impl By {
    /// Only what runs hooks.
    fn of_runner(function: &str) -> Option<Self> {
        Self::of(function).filter(|by| matches!(by, Self::Hooks | Self::Reinject))
    }
}

/// What begins another packet's way, or another leg of this one's: behind these, the stack is another story.
const OTHER_STORIES: [&str; 22] = [
    "tcp_",
    "__tcp_",
    "udp",
    "__udp",
    "icmp",
    "__icmp",
    "raw",
    "sctp_",
    "dccp_",
    "igmp",
    "ndisc_",
    "mld_",
    "ip_send_",
    "dev_",
    "__dev_",
    "netif_",
    "__netif_",
    "napi_",
    "__napi_",
    "process_backlog",
    "net_rx_",
    "neigh_",
];
const SOFTIRQ: [&str; 4] = ["softirq", "local_bh_enable", "irq_exit", "sysvec_"];

/// Whether the packet came from a queue program just now: what takes packets back called, by netfilter and IP
/// alone, what freed it.
#[must_use]
pub fn after_queue(drop: &Drop) -> bool {
    let freed = drop.location.symbol.as_deref().map(plain);
    if freed.and_then(By::of) == Some(By::Reinject) {
        return true;
    }
    for name in drop.stack.iter().map(|name| plain(name)) {
        if By::of(name) == Some(By::Reinject) {
            return true;
        }
        let other = OTHER_STORIES.iter().any(|begin| name.starts_with(begin));
        if other || SOFTIRQ.iter().any(|part| name.contains(part)) {
            return false;
        }
    }
    false
}

/// A function's name without what the compiler added.
fn plain(symbol: &str) -> &str {
    symbol.split('.').next().unwrap_or(symbol)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel that gives reasons need not free what nf_tables drops in nf_tables: 5.17 to 6.6 do not.
    #[test]
    fn reasons_alone_do_not_tell_whose_rule_it_was() {
        let mut drop = crate::model::anchor::tests::drop();
        drop.location.symbol = Some("nf_hook_slow".into());
        drop.reason.name = Some("NETFILTER_DROP".into());
        let place = Place::of(&drop).expect("netfilter's");
        let on = |release| place.subsystem(&Coverage::default().of_release(release));
        assert_eq!(on("6.2.0"), None);
        assert_eq!(on("6.12.1"), Some(Subsystem::IpTables));
    }

    #[test]
    fn only_the_packet_itself_came_from_the_queue() {
        let dropped = |stack: &[&str]| {
            let mut drop = crate::model::anchor::tests::drop();
            drop.location.symbol = Some("nf_hook_slow".into());
            drop.stack = stack.iter().map(ToString::to_string).collect();
            after_queue(&drop)
        };
        assert!(dropped(&[
            "nf_hook_slow",
            "ip_forward",
            "nfqnl_reinject",
            "nfqnl_recv_verdict"
        ]));
        // An answer to it, and a stranger that came while it was handled.
        assert!(!dropped(&[
            "nf_hook_slow",
            "__ip_local_out",
            "tcp_v4_send_ack",
            "nfqnl_reinject"
        ]));
        assert!(!dropped(&[
            "nf_hook_slow",
            "ip_rcv",
            "process_backlog",
            "nfqnl_reinject"
        ]));
        assert!(!dropped(&[
            "nf_hook_slow",
            "ip_rcv",
            "handle_softirqs",
            "nf_reinject"
        ]));
        assert!(!dropped(&["nf_hook_slow", "ip_rcv"]));
    }
}
