//! The networks of `nfqueue_mark`: rules, program, traffic, and what must be said.
//!
//! The node's rules are lines for a shell.

use super::MARK;
use super::case::{Case, segments, whole};
use crate::expect::kernel_names_reasons;
use crate::helper::queue::{Answer, Mark, Program};
use crate::scenarios::rules::WantedRule;
use crate::traffic::queue::Traffic;

/// The incident's queue.
pub const QUEUE_WEB: &str =
    "iptables-legacy -w -t mangle -A INPUT -p tcp --dport 80 -j NFQUEUE --queue-num 80";
/// kube-proxy's chain.
pub const FIREWALL: &str = "iptables-legacy -w -N KUBE-FIREWALL";
/// Its rule.
pub const FIREWALL_DROP: &str = "iptables-legacy -w -A KUBE-FIREWALL -m comment --comment \
    'kubernetes firewall for dropping marked packets' -m mark --mark 0x8000/0x8000 -j DROP";
/// The jump to it.
pub const FIREWALL_WEB: &str = "iptables-legacy -w -A INPUT -p tcp --dport 80 -j KUBE-FIREWALL";
/// Lists its rule with counters.
pub const FIREWALL_LIST: &str = "iptables-legacy -w -v -S KUBE-FIREWALL";

/// The incident's queue, to be named.
pub const LEGACY_QUEUE: WantedRule = WantedRule {
    backend: "iptables-legacy",
    table: "mangle",
    chain: "INPUT",
    words: &["-A INPUT", "NFQUEUE", "80"],
};

/// kube-proxy's rule, to be named.
pub const LEGACY_DROP: WantedRule = WantedRule {
    backend: "iptables-legacy",
    table: "filter",
    chain: "KUBE-FIREWALL",
    words: &["-A KUBE-FIREWALL", "--mark 0x8000/0x8000", "DROP"],
};

/// Where a packet may be freed.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// By a rule of iptables, at the hook at which it was queued.
    SameHook,
    /// By a rule of iptables, at a later hook.
    LaterHook,
    /// By a rule of nf_tables, at any hook.
    NfTables,
    /// Where it could not be queued.
    NotQueued,
}

impl Place {
    /// The functions that free it.
    pub fn functions(self) -> &'static [&'static str] {
        match self {
            Self::SameHook => &["nfqnl_reinject", "nf_reinject"],
            Self::LaterHook => &["nf_hook_slow"],
            // nf_tables does so by itself since 6.7, and in Debian's 6.1.
            Self::NfTables if kernel_names_reasons() => &["nft_do_chain"],
            Self::NfTables => &["nf_reinject", "nf_hook_slow"],
            // nf_queue is inlined into nf_reinject on some kernels.
            Self::NotQueued => &["nf_queue", "__nf_queue", "nf_reinject"],
        }
    }
}

/// The incident.
pub const SEED: Case = Case {
    rules: &[QUEUE_WEB, FIREWALL, FIREWALL_DROP, FIREWALL_WEB],
    program: Program::accept(Mark::Set(MARK)),
    traffic: Traffic::Connect,
    hook: "input",
    family: "ip",
    queued: 0,
    reinjected: MARK,
    rule: LEGACY_DROP,
    mask: MARK,
    path: &[&["-A INPUT", "-j KUBE-FIREWALL"]],
    queue_rule: LEGACY_QUEUE,
    used_mask: MARK,
    place: Place::SameHook,
    drop_list: FIREWALL_LIST,
    drop_hook: "input",
    look: |_, _| Ok(()),
};

/// The incident by iptables-nft.
pub const SEED_NFT: Case = Case {
    rules: &[
        "iptables-nft -w -t mangle -A INPUT -p tcp --dport 80 -j NFQUEUE --queue-num 80",
        "iptables-nft -w -N KUBE-FIREWALL",
        "iptables-nft -w -A KUBE-FIREWALL -m comment --comment \
            'kubernetes firewall for dropping marked packets' -m mark --mark 0x8000/0x8000 -j DROP",
        "iptables-nft -w -A INPUT -p tcp --dport 80 -j KUBE-FIREWALL",
    ],
    rule: WantedRule {
        backend: "iptables-nft",
        table: "ip filter",
        words: &["8000", "DROP"],
        ..LEGACY_DROP
    },
    path: &[&["KUBE-FIREWALL", "80"]],
    queue_rule: WantedRule {
        backend: "iptables-nft",
        table: "ip mangle",
        words: &["QUEUE", "80"],
        ..LEGACY_QUEUE
    },
    place: Place::NfTables,
    drop_list: "iptables-nft -w -v -S KUBE-FIREWALL",
    ..SEED
};

/// iptables queues, nft drops in a chain that is jumped to.
pub const NFT: Case = Case {
    rules: &[
        QUEUE_WEB,
        "nft add table ip kube",
        "nft add chain ip kube firewall",
        "nft add rule ip kube firewall 'meta mark & 0x8000 == 0x8000 counter drop'",
        "nft add chain ip kube input '{ type filter hook input priority 0 ; }'",
        "nft add rule ip kube input tcp dport 80 jump firewall",
    ],
    rule: WantedRule {
        backend: "nft",
        table: "ip kube",
        chain: "firewall",
        words: &["mark", "8000", "drop"],
    },
    path: &[&["jump firewall", "80"]],
    place: Place::NfTables,
    drop_list: "nft list chain ip kube firewall",
    ..SEED
};

/// nft queues and drops, in one table of both families.
pub const NFT_ONLY: Case = Case {
    rules: &[
        "nft add table inet inspect",
        "nft add chain inet inspect early '{ type filter hook input priority -150 ; }'",
        "nft add chain inet inspect late '{ type filter hook input priority 0 ; }'",
        "nft add rule inet inspect late 'meta mark & 0x8000 == 0x8000 counter drop'",
        QUEUE_BY_NFT,
    ],
    rule: WantedRule {
        backend: "nft",
        table: "inet inspect",
        chain: "late",
        words: &["mark", "8000", "drop"],
    },
    path: &[],
    queue_rule: WantedRule {
        backend: "nft",
        table: "inet inspect",
        chain: "early",
        words: &["queue", "80"],
    },
    drop_list: "nft list chain inet inspect late",
    ..NFT
};

/// The statement that some kernels do not have.
pub const QUEUE_BY_NFT: &str = "nft add rule inet inspect early tcp dport 80 queue num 80";

/// Queued at PREROUTING, dropped at FORWARD.
pub const FORWARD: Case = Case {
    rules: &[
        "iptables-legacy -w -t mangle -A PREROUTING -p udp --dport 5353 -j NFQUEUE --queue-num 80",
        "iptables-legacy -w -A FORWARD -m mark --mark 0x8000/0x8000 -j DROP",
    ],
    traffic: Traffic::Forwarded,
    hook: "prerouting",
    rule: WantedRule {
        chain: "FORWARD",
        words: &["-A FORWARD", "--mark 0x8000/0x8000", "DROP"],
        ..LEGACY_DROP
    },
    path: &[],
    queue_rule: WantedRule {
        chain: "PREROUTING",
        words: &["-A PREROUTING", "NFQUEUE", "80"],
        ..LEGACY_QUEUE
    },
    place: Place::LaterHook,
    drop_list: "iptables-legacy -w -v -S FORWARD",
    drop_hook: "forward",
    ..SEED
};

/// The same with DNAT between the two, dropped by nft.
pub const SERVICE: Case = Case {
    rules: &[
        "iptables-legacy -w -t mangle -A PREROUTING -d 10.96.0.10 -p udp --dport 5353 \
            -j NFQUEUE --queue-num 80",
        "iptables-legacy -w -t nat -A PREROUTING -d 10.96.0.10 -p udp --dport 5353 \
            -j DNAT --to-destination 172.26.50.1:5300",
        "nft add table ip kube",
        "nft add chain ip kube forward '{ type filter hook forward priority 0 ; }'",
        "nft add rule ip kube forward 'meta mark & 0x8000 == 0x8000 counter drop'",
    ],
    traffic: Traffic::Service,
    rule: WantedRule {
        chain: "forward",
        ..NFT.rule
    },
    place: Place::NfTables,
    drop_list: "nft list chain ip kube forward",
    ..FORWARD
};

/// The verdict comes late.
pub const LATE: Case = Case {
    rules: &[
        "iptables-legacy -w -t mangle -A INPUT -p udp --dport 5353 -j NFQUEUE --queue-num 80",
        "iptables-legacy -w -N KUBE-FIREWALL",
        FIREWALL_DROP,
        "iptables-legacy -w -A INPUT -p udp --dport 5353 -j KUBE-FIREWALL",
    ],
    program: Program {
        delay_ms: 1500,
        ..SEED.program
    },
    traffic: Traffic::LateDatagram,
    ..SEED
};

/// Large packets, which the kernel segments for the queue.
pub const GSO: Case = Case {
    rules: &[
        "iptables-legacy -w -t mangle -A INPUT -p tcp --dport 80 -m length --length 1000:65535 \
            -j NFQUEUE --queue-num 80",
        FIREWALL,
        FIREWALL_DROP,
        FIREWALL_WEB,
    ],
    traffic: Traffic::Bulk,
    look: segments,
    ..SEED
};

/// Large packets, which the program takes whole.
pub const GSO_WHOLE: Case = Case {
    program: Program {
        whole: true,
        ..SEED.program
    },
    look: whole,
    ..GSO
};

/// The incident in IPv6.
pub const IPV6: Case = Case {
    rules: &[
        "ip6tables-legacy -w -t mangle -A INPUT -p tcp --dport 80 -j NFQUEUE --queue-num 80",
        "ip6tables-legacy -w -N KUBE-FIREWALL",
        "ip6tables-legacy -w -A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP",
        "ip6tables-legacy -w -A INPUT -p tcp --dport 80 -j KUBE-FIREWALL",
    ],
    traffic: Traffic::Connect6,
    family: "ip6",
    rule: WantedRule {
        table: "ip6 filter",
        ..LEGACY_DROP
    },
    queue_rule: WantedRule {
        table: "ip6 mangle",
        ..LEGACY_QUEUE
    },
    drop_list: "ip6tables-legacy -w -v -S KUBE-FIREWALL",
    ..SEED
};

/// The mark decides on a jump, and the chain that it leads to drops.
pub const JUMP: Case = Case {
    rules: &[
        QUEUE_WEB,
        FIREWALL,
        "iptables-legacy -w -A KUBE-FIREWALL -j DROP",
        "iptables-legacy -w -A INPUT -m mark --mark 0x8000/0x8000 -j KUBE-FIREWALL",
    ],
    rule: WantedRule {
        words: &["-A KUBE-FIREWALL", "DROP"],
        ..LEGACY_DROP
    },
    path: &[&["-A INPUT", "--mark 0x8000/0x8000", "-j KUBE-FIREWALL"]],
    ..SEED
};

/// Another bit is set before, which the program keeps.
pub const OTHER_BITS: Case = Case {
    rules: &[
        "iptables-legacy -w -t mangle -A PREROUTING -p tcp --dport 80 \
            -j MARK --set-xmark 0x1/0x1",
        QUEUE_WEB,
        FIREWALL,
        FIREWALL_DROP,
        FIREWALL_WEB,
    ],
    program: Program::accept(Mark::Masked(MARK, MARK)),
    queued: 1,
    reinjected: MARK | 1,
    used_mask: MARK | 1,
    ..SEED
};

/// The verdict is to repeat the hook; a mark keeps the packet from being queued again.
pub const REPEAT: Case = Case {
    rules: &[
        "iptables-legacy -w -t mangle -A INPUT -p tcp --dport 80 \
            -m mark ! --mark 0x10000/0x10000 -j NFQUEUE --queue-num 80",
        FIREWALL,
        FIREWALL_DROP,
        FIREWALL_WEB,
    ],
    program: Program {
        answer: Answer::Repeat,
        ..Program::accept(Mark::Set(MARK | 0x1_0000))
    },
    reinjected: MARK | 0x1_0000,
    used_mask: MARK | 0x1_0000,
    ..SEED
};
