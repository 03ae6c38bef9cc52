//! Counters and size of the conntrack table.

use std::fs;
use std::time::Instant;

use super::super::netlink::{CT_GET_STATS, CT_GET_STATS_CPU, Request};
use super::super::netns::Namespaces;
use super::super::parse::attributes;
use super::{HEADER, be32, open};
use crate::facts::{ConntrackStats, ConntrackTimeouts, FactError};

const CTA_STATS_INSERT_FAILED: u16 = 9;
const CTA_STATS_DROP: u16 = 10;
const CTA_STATS_EARLY_DROP: u16 = 11;
const CTA_STATS_CLASH_RESOLVE: u16 = 14;
const CTA_STATS_GLOBAL_ENTRIES: u16 = 1;
const CTA_STATS_GLOBAL_MAX_ENTRIES: u16 = 2;

/// The counters of all CPUs, and the size of the table.
pub(in super::super) fn read(
    namespaces: &mut Namespaces,
    netns: u32,
    until: Instant,
) -> Result<ConntrackStats, FactError> {
    let Some(mut netlink) = open(namespaces, netns, until)? else {
        return Err(FactError::Gone("conntrack is not loaded".into()));
    };
    let mut stats = ConntrackStats::default();
    netlink.dump(&Request::new(CT_GET_STATS_CPU, &[0; HEADER]), |message| {
        add_cpu(&mut stats, message);
    })?;
    // Without the size, the counters are still worth having.
    if let Ok(message) = netlink.get(&Request::new(CT_GET_STATS, &[0; HEADER])) {
        add_size(&mut stats, &message);
    }
    let file = namespaces.open(netns);
    stats.timeouts = file
        .and_then(|file| namespaces.inside(netns, &file, || Ok::<_, FactError>(timeouts())))
        .ok();
    Ok(stats)
}

/// Time-outs of the namespace where the thread is.
fn timeouts() -> ConntrackTimeouts {
    let seconds = |name: &str| {
        let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    };
    ConntrackTimeouts {
        udp: seconds("udp_timeout"),
        udp_stream: seconds("udp_timeout_stream"),
        icmp: seconds("icmp_timeout"),
        tcp_syn_sent: seconds("tcp_timeout_syn_sent"),
        tcp_syn_recv: seconds("tcp_timeout_syn_recv"),
        tcp_established: seconds("tcp_timeout_established"),
    }
}

/// Adds one CPU's counters.
fn add_cpu(stats: &mut ConntrackStats, message: &[u8]) {
    for (kind, value) in attributes(message.get(HEADER..).unwrap_or_default()) {
        let Some(count) = be32(value).map(u64::from) else {
            continue;
        };
        match kind {
            CTA_STATS_INSERT_FAILED => stats.insert_failed += count,
            CTA_STATS_DROP => stats.drop += count,
            CTA_STATS_EARLY_DROP => stats.early_drop += count,
            CTA_STATS_CLASH_RESOLVE => *stats.clash_resolve.get_or_insert(0) += count,
            _ => {}
        }
    }
}

/// Adds the size of the table.
fn add_size(stats: &mut ConntrackStats, message: &[u8]) {
    for (kind, value) in attributes(message.get(HEADER..).unwrap_or_default()) {
        match kind {
            CTA_STATS_GLOBAL_ENTRIES => stats.entries = be32(value).map(u64::from),
            CTA_STATS_GLOBAL_MAX_ENTRIES => stats.max = be32(value).map(u64::from),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::parse::attribute;
    use super::*;

    #[test]
    fn counters_of_all_cpus_are_added() {
        let cpu = |attributes: &[(u16, u32)]| {
            let mut message = vec![0, 0, 0, 1];
            for (kind, count) in attributes {
                message.extend(attribute(*kind, &count.to_be_bytes()));
            }
            message
        };
        let mut stats = ConntrackStats::default();
        // Kernels before 5.9 do not count settled clashes.
        add_cpu(&mut stats, &cpu(&[(2, 65), (9, 16), (10, 17), (11, 18)]));
        assert_eq!(stats.clash_resolve, None);
        add_cpu(
            &mut stats,
            &cpu(&[(9, u32::MAX), (10, 1), (11, 2), (14, 3), (15, 9)]),
        );
        add_cpu(&mut stats, &[]);
        add_size(&mut stats, &cpu(&[(1, 5), (2, 262_144)]));
        let expected = ConntrackStats {
            insert_failed: 16 + u64::from(u32::MAX),
            drop: 18,
            early_drop: 20,
            clash_resolve: Some(3),
            entries: Some(5),
            max: Some(262_144),
            timeouts: None,
        };
        assert_eq!(stats, expected);
    }
}
