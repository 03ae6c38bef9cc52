//! What is played on each kernel: every cause with its facts, in the ways that the kernel can differ in, and its twins
//! and decoys. What only differs in configuration, in the rule's tool or in options is played on one kernel.

use super::Scenario;

/// By their names.
pub const NAMES: &[&str] = &[
    // rp_filter
    "strict_local",
    "strict_forwarded",
    "loose_no_address",
    "no_route_strict",
    "no_route_loose",
    "value_changed",
    "twin_zero",
    "twin_loose_address",
    "twin_endpoint_route",
    // Other drops, each for another reason, and the rules that made them.
    "decoy_iptables_drop",
    "decoy_nft_drop",
    "decoy_closed_udp",
    "decoy_closed_tcp",
    "decoy_ttl",
    "decoy_no_route",
    "decoy_ipt_rpfilter",
    "decoy_rule_in_chain",
    "decoy_nft_in_chain",
    "decoy_nft_policy",
    "decoy_martian_own_on",
    "decoy_martian_loopback_on",
    "decoy_martian_multicast_on",
    // Attaching, losing, detaching.
    "hooks_all",
    "lookup_watched",
    "doctor",
    "kill9",
    "ledger_overflow",
    // snat_race
    "snat_fixed_port_udp",
    "snat_race_udp",
    "snat_race_tcp",
    "snat_race_dns",
    "snat_held",
    "twin_random_fully",
    "twin_sequential_ports",
    "twin_dns_pair",
    "decoy_ct_invalid",
    "decoy_nat_exhausted",
    "decoy_drop_after_snat",
    "decoy_same_syn_twice",
    "decoy_dnat_clash",
    "decoy_table_full",
    // nfqueue_mark
    "nfqueue_seed_legacy",
    "nfqueue_nft_drop",
    "nfqueue_nft_only",
    "nfqueue_forward",
    "nfqueue_late",
    "nfqueue_gso",
    "nfqueue_ipv6",
    "twin_queue_no_mark",
    "twin_queue_other_bit",
    "twin_queue_gso",
    "decoy_mark_rule",
    "decoy_mark_before_queue",
    "decoy_mark_after_queue",
    "decoy_queue_other_rule",
    "decoy_queue_drop",
    "decoy_queue_no_listener",
    "decoy_queue_next_no_listener",
    // ipvs_conntrack
    "ipvs_redirect_tcp",
    "ipvs_redirect_udp",
    "ipvs_on_director",
    "ipvs_client_drop",
    "ipvs_loaded_late",
    "ipvs_unloaded",
    "twin_ipvs_plain",
    "twin_ipvs_conntrack",
    "twin_ipvs_fwmark",
    "decoy_ipvs_refused",
    "decoy_redirect_closed",
    "decoy_ipvs_client_close",
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
