//! Which hook it was, by the function that ran it: each runs one (net/ipv4, net/ipv6, net/bridge, net/core, 5.10
//! to 7.2).

use crate::{facts::ruleset::Family, model::hook::Hook};

/// How far from the hook's own frame its caller may be: what lies between is of netfilter or inlined.
const NEAR: usize = 4;

/// A hook by its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A family's own.
    Own(Family, Hook),
    /// IP's for a frame that a bridge carries (net/bridge/br_netfilter_hooks.c).
    Bridged(Hook),
}

impl Caller {
    pub(super) fn hook(self) -> Hook {
        match self {
            Self::Own(_, hook) | Self::Bridged(hook) => hook,
        }
    }
}

/// The function that called the hook, of those that called each other down to it, the innermost first.
pub(super) fn caller(names: &[&str]) -> Option<Caller> {
    let mut near = names.iter().take(NEAR).enumerate();
    near.find_map(|(distance, name)| {
        let known = layer3(name).or_else(|| bridge(name)).or_else(|| {
            // These call everything: only what stands alone between is netfilter's.
            let first = names[..distance].iter().all(|name| of_netfilter(name));
            device(name).filter(|_| first)
        });
        match known {
            Some(caller) => Some(Some(caller)),
            None if *name == "__br_forward" => Some(forwarded(&names[distance + 1..])),
            // What comes behind it is another hook's.
            None if ends(name) => Some(None),
            None => None,
        }
    })?
}

/// `__br_forward` serves two hooks: what comes through, and what this machine sends by the bridge (net/bridge/br_forward.c,
/// `local_orig`). It may come by others of the bridge, which copy a flooded frame.
fn forwarded(above: &[&str]) -> Option<Caller> {
    let own = |name: &&str| match *name {
        "br_handle_frame_finish" => Some(Caller::Own(Family::Bridge, Hook::Forward)),
        "br_dev_xmit" => Some(Caller::Own(Family::Bridge, Hook::Output)),
        _ => None,
    };
    let mut near = above.iter().take(NEAR + 1);
    near.find_map(own)
}

fn of_netfilter(name: &str) -> bool {
    ["nf_", "__nf_", "nft_", "NF_HOOK"]
        .iter()
        .any(|begin| name.starts_with(begin))
}

/// Whether it is of a bridge or a device, and calls no hook that is known.
fn ends(name: &str) -> bool {
    let others = [
        "br_", "__br_", "nf_br_", "dev_", "__dev_", "netif_", "__netif_",
    ];
    others.iter().any(|begin| name.starts_with(begin))
}

fn layer3(name: &str) -> Option<Caller> {
    Some(match name {
        "ip_rcv" | "ip_list_rcv" | "ip_sublist_rcv" => Caller::Own(Family::Ip, Hook::Prerouting),
        "ip_local_deliver" => Caller::Own(Family::Ip, Hook::Input),
        "ip_forward" => Caller::Own(Family::Ip, Hook::Forward),
        "__ip_local_out"
        | "ip_local_out"
        | "__ip_queue_xmit"
        | "ip_queue_xmit"
        | "ip_send_skb"
        | "ip_push_pending_frames"
        | "ip_build_and_send_pkt"
        | "ip_send_unicast_reply"
        | "raw_sendmsg" => Caller::Own(Family::Ip, Hook::Output),
        "ip_output" | "ip_mc_output" => Caller::Own(Family::Ip, Hook::Postrouting),
        "ipv6_rcv" | "ipv6_list_rcv" | "ip6_sublist_rcv" => {
            Caller::Own(Family::Ip6, Hook::Prerouting)
        }
        "ip6_input" | "ip6_mc_input" => Caller::Own(Family::Ip6, Hook::Input),
        "ip6_forward" => Caller::Own(Family::Ip6, Hook::Forward),
        "__ip6_local_out"
        | "ip6_local_out"
        | "ip6_xmit"
        | "ip6_send_skb"
        | "ip6_push_pending_frames"
        | "rawv6_sendmsg"
        | "ndisc_send_skb"
        | "mld_sendpack"
        | "igmp6_send" => Caller::Own(Family::Ip6, Hook::Output),
        "ip6_output" | "ip6_mc_output" => Caller::Own(Family::Ip6, Hook::Postrouting),
        "arp_rcv" => Caller::Own(Family::Arp, Hook::Input),
        "arp_xmit" => Caller::Own(Family::Arp, Hook::Output),
        _ => return None,
    })
}

fn bridge(name: &str) -> Option<Caller> {
    Some(match name {
        "br_handle_frame" => Caller::Own(Family::Bridge, Hook::Prerouting),
        "br_pass_frame_up" => Caller::Own(Family::Bridge, Hook::Input),
        "br_forward_finish" => Caller::Own(Family::Bridge, Hook::Postrouting),
        "br_send_bpdu" => Caller::Own(Family::Bridge, Hook::Output),
        "br_nf_pre_routing" | "br_nf_pre_routing_ipv6" => Caller::Bridged(Hook::Prerouting),
        "br_nf_forward_ip" | "br_nf_forward" => Caller::Bridged(Hook::Forward),
        "br_nf_forward_arp" => Caller::Own(Family::Arp, Hook::Forward),
        "br_nf_post_routing" => Caller::Bridged(Hook::Postrouting),
        _ => return None,
    })
}

fn device(name: &str) -> Option<Caller> {
    Some(match name {
        "__netif_receive_skb_core" => Caller::Own(Family::Netdev, Hook::Ingress),
        "__dev_queue_xmit" => Caller::Own(Family::Netdev, Hook::Egress),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(stack: &[&str]) -> Option<(Family, Hook)> {
        match caller(stack)? {
            Caller::Own(family, hook) => Some((family, hook)),
            Caller::Bridged(_) => None,
        }
    }

    /// As 6.18 and 6.12 have them.
    #[test]
    fn the_caller_of_the_innermost_hook_tells_it() {
        assert_eq!(
            at(&["ip_local_deliver", "ip_sublist_rcv_finish"]),
            Some((Family::Ip, Hook::Input))
        );
        assert_eq!(at(&["ip6_forward"]), Some((Family::Ip6, Hook::Forward)));
        assert_eq!(
            at(&["nf_hook_slow_list", "ip_sublist_rcv", "ip_list_rcv"]),
            Some((Family::Ip, Hook::Prerouting))
        );
        assert_eq!(
            at(&["__ip_local_out", "ip_push_pending_frames", "ip_output"]),
            Some((Family::Ip, Hook::Output))
        );
    }

    #[test]
    fn what_is_far_away_or_not_there_tells_nothing() {
        assert_eq!(at(&["a", "b", "c", "d", "ip_rcv"]), None);
        assert_eq!(at(&[]), None);
    }

    /// A bridge's own hooks, those of IP that it calls, and a device's, all beside each other on one stack.
    #[test]
    fn bridges_and_devices_have_hooks_of_their_own() {
        let receive = ["__netif_receive_skb_core", "__netif_receive_skb_one_core"];
        let stack = |first: &[&'static str]| [first, &receive].concat();
        assert_eq!(at(&receive), Some((Family::Netdev, Hook::Ingress)));
        assert_eq!(
            at(&["nf_hook_ingress", receive[0]]),
            Some((Family::Netdev, Hook::Ingress))
        );
        assert_eq!(
            at(&stack(&["something_else"])),
            None,
            "it has another caller"
        );
        assert_eq!(
            at(&stack(&["br_handle_frame"])),
            Some((Family::Bridge, Hook::Prerouting))
        );
        assert_eq!(
            caller(&stack(&["br_nf_pre_routing", "br_handle_frame"])),
            Some(Caller::Bridged(Hook::Prerouting))
        );
        assert_eq!(
            caller(&["br_nf_forward_ip", "nf_hook_slow", "__br_forward"]),
            Some(Caller::Bridged(Hook::Forward))
        );
        assert_eq!(
            at(&[
                "__br_forward",
                "br_handle_frame_finish",
                "br_nf_hook_thresh"
            ]),
            Some((Family::Bridge, Hook::Forward))
        );
        assert_eq!(
            at(&[
                "__br_forward",
                "deliver_clone",
                "br_flood",
                "br_handle_frame_finish"
            ]),
            Some((Family::Bridge, Hook::Forward))
        );
        // A frame of this machine's that answers one which came by the same bridge.
        assert_eq!(
            at(&[
                "__br_forward",
                "br_dev_xmit",
                "arp_process",
                "br_handle_frame_finish"
            ]),
            Some((Family::Bridge, Hook::Output))
        );
        assert_eq!(caller(&["__br_forward", "something_else"]), None);
        assert_eq!(
            at(&["__dev_queue_xmit", "ip_finish_output2"]),
            Some((Family::Netdev, Hook::Egress))
        );
        assert_eq!(
            at(&["br_dev_xmit", "dev_hard_start_xmit", "__dev_queue_xmit"]),
            None
        );
        assert_eq!(
            at(&["ip_vs_nat_xmit", "__dev_queue_xmit", "ip_output"]),
            None
        );
    }
}
