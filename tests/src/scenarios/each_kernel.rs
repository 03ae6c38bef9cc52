//! What the tests play on each kernel: every cause with its facts, in the ways that kernels differ in, with twins and
//! decoys. The rest is played on one kernel; `cargo xtask vm --all --everything` takes its time and plays all on each.

use super::Scenario;

/// By their names.
pub const NAMES: &[&str] = &[
    // rp_filter
    "strict_local",
    "loose_no_address",
    "twin_loose_address",
    "decoy_ipt_rpfilter",
    "decoy_martian_own_on",
    // Other drops, and the rules that made them.
    "decoy_iptables_drop",
    "decoy_nft_in_chain",
    "decoy_closed_tcp",
    "decoy_no_route",
    // Everyday losses: kernels differ in reasons and places.
    "decoy_netem_loss",
    "decoy_qdisc_filter",
    "decoy_ping_answered",
    "decoy_server_closes",
    // Attaching, and what stands in where trampolines are refused: modules differ in it most.
    "lookup_watched",
    "doctor",
    "forced_clash_kprobe",
    "forced_queue_kprobe",
    "forced_ipvs_kprobe",
    // snat_race
    "snat_fixed_port_udp",
    "snat_race_tcp",
    "twin_random_fully",
    "decoy_nat_exhausted",
    "decoy_same_syn_twice",
    "decoy_dnat_clash",
    // nfqueue_mark
    "nfqueue_seed_legacy",
    "nfqueue_nft_drop",
    "nfqueue_gso",
    "twin_queue_other_bit",
    "decoy_mark_rule",
    "decoy_queue_drop",
    "decoy_queue_next_no_listener",
    // ipvs_conntrack
    "ipvs_redirect_tcp",
    "ipvs_redirect_udp",
    "ipvs_loaded_late",
    "twin_ipvs_conntrack",
    "twin_ipvs_fwmark",
    "decoy_ipvs_refused",
    // All of them.
    "causes_together",
];

/// Whether a scenario is played on each kernel.
pub fn has(scenario: &Scenario) -> bool {
    NAMES.contains(&scenario.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::all;

    #[test]
    fn all_of_them_exist() {
        for name in NAMES {
            assert!(all().any(|s| s.name == *name), "{name}");
        }
    }
}
