//! Every probe: which hook it serves, and the ways of attaching it.
//!
//! A probe is one question to the kernel; its variants answer it in different ways, best first.

/// A way of attaching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// BTF-typed tracepoint.
    Btf,
    /// Raw tracepoint.
    Raw,
    /// Function entry, by trampoline.
    Fentry,
    /// Function return, by trampoline.
    Fexit,
    /// Function entry, by breakpoint or ftrace.
    Kprobe,
    /// Function return, likewise.
    Kretprobe,
    /// Cgroup sysctl program.
    CgroupSysctl,
}

impl Flavour {
    /// The name in output and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Btf => "tp_btf",
            Self::Raw => "raw_tp",
            Self::Fentry => "fentry",
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::Kretprobe => "kretprobe",
            Self::CgroupSysctl => "cgroup_sysctl",
        }
    }
}

/// One way of answering a probe's question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// How.
    pub flavour: Flavour,
    /// Program in the eBPF object.
    pub program: &'static str,
    /// Tracepoint or function.
    pub target: &'static str,
    /// Module that has the function, where the kernel itself does not.
    pub module: Option<&'static str>,
}

/// Whether and when a probe is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// If it can be; what depends on it is blind otherwise.
    Optional,
    /// Nothing works without it.
    Required,
    /// Only now and then, being too costly to be so always: when, in words.
    OnDemand(&'static str),
    /// Only where drop reasons do not say what it says, being on the way of every packet.
    WithoutReasons,
}

/// One question to the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Name, unique.
    pub name: &'static str,
    /// Hook it serves.
    pub hook: &'static str,
    /// Whether and when.
    pub need: Need,
    /// Ways, best first. What the kernel has itself comes before what its modules have.
    pub variants: &'static [Variant],
}

impl Probe {
    /// When it is attached, if not always.
    #[must_use]
    pub fn on_demand(&self) -> Option<&'static str> {
        match self.need {
            Need::OnDemand(when) => Some(when),
            Need::Optional | Need::Required | Need::WithoutReasons => None,
        }
    }
}

const fn variant(flavour: Flavour, program: &'static str, target: &'static str) -> Variant {
    Variant {
        flavour,
        program,
        target,
        module: None,
    }
}

const fn in_module(
    flavour: Flavour,
    program: &'static str,
    target: &'static str,
    module: &'static str,
) -> Variant {
    Variant {
        module: Some(module),
        ..variant(flavour, program, target)
    }
}

/// A probe that nothing but its own evidence depends on.
const fn probe(name: &'static str, hook: &'static str, variants: &'static [Variant]) -> Probe {
    Probe {
        name,
        hook,
        need: Need::Optional,
        variants,
    }
}

/// The drop anchor.
pub const DROP: Probe = Probe {
    name: "drop",
    hook: "skb_drop",
    need: Need::Required,
    variants: &[
        variant(Flavour::Btf, "skb_drop_btf", "kfree_skb"),
        variant(Flavour::Raw, "skb_drop_raw", "kfree_skb"),
    ],
};

/// That a source address was refused: runs only then.
pub const REFUSAL: Probe = probe(
    "refusal",
    "rp_filter",
    &[
        variant(
            Flavour::Fentry,
            "rp_filter_martian_fentry",
            "ip_handle_martian_source",
        ),
        variant(
            Flavour::Kprobe,
            "rp_filter_martian_kprobe",
            "ip_handle_martian_source",
        ),
    ],
);

/// Which check refused it. Runs for every routed packet.
pub const VERDICT: Probe = Probe {
    name: "verdict",
    hook: "rp_filter",
    need: Need::WithoutReasons,
    variants: &[
        variant(
            Flavour::Fexit,
            "rp_filter_route_fexit",
            "ip_route_input_noref",
        ),
        variant(
            Flavour::Kretprobe,
            "rp_filter_route_kretprobe",
            "ip_route_input_noref",
        ),
    ],
};

/// The reverse route that the kernel looked up. The tracepoint runs for every routed packet.
pub const LOOKUP: Probe = Probe {
    name: "lookup",
    hook: "rp_filter",
    need: Need::OnDemand("while sources are refused"),
    variants: &[
        variant(Flavour::Btf, "rp_filter_lookup_btf", "fib_table_lookup"),
        variant(Flavour::Raw, "rp_filter_lookup_raw", "fib_table_lookup"),
    ],
};

/// Who writes the sysctl.
pub const SYSCTL: Probe = probe(
    "sysctl",
    "sysctl_write",
    &[variant(
        Flavour::CgroupSysctl,
        "sysctl_write",
        "the root of the cgroup2 tree",
    )],
);

/// Which entry was in the way of another. Runs only when two clash.
pub const CLASH: Probe = probe(
    "clash",
    "ct_insert",
    &[
        in_module(
            Flavour::Fentry,
            "ct_clash_fentry",
            "nf_ct_resolve_clash",
            "nf_conntrack",
        ),
        in_module(
            Flavour::Kprobe,
            "ct_clash_kprobe",
            "nf_ct_resolve_clash",
            "nf_conntrack",
        ),
    ],
);

/// A packet goes to a queue program: mark before, queue number, hook.
pub const QUEUE: Probe = probe(
    "queue",
    "nfqueue",
    &[
        variant(Flavour::Fentry, "nfqueue_queue_fentry", "nf_queue"),
        variant(Flavour::Kprobe, "nfqueue_queue_kprobe", "nf_queue"),
    ],
);

/// The end of that call: what it kept is forgotten.
pub const QUEUE_END: Probe = probe(
    "queue_end",
    "nfqueue",
    &[
        variant(Flavour::Fexit, "nfqueue_queue_fexit", "nf_queue"),
        variant(Flavour::Kretprobe, "nfqueue_queue_kretprobe", "nf_queue"),
    ],
);

/// The entry that the packet waits in.
pub const QUEUE_ENTRY: Probe = probe(
    "queue_entry",
    "nfqueue",
    &[
        variant(
            Flavour::Fentry,
            "nfqueue_entry_fentry",
            "nf_queue_entry_get_refs",
        ),
        variant(
            Flavour::Kprobe,
            "nfqueue_entry_kprobe",
            "nf_queue_entry_get_refs",
        ),
    ],
);

/// It comes back: verdict, mark after, process. The kernel itself has the function up to 6.9.
pub const REINJECT: Probe = probe(
    "reinject",
    "nfqueue",
    &[
        variant(Flavour::Fentry, "nfqueue_reinject_fentry", "nf_reinject"),
        variant(Flavour::Kprobe, "nfqueue_reinject_kprobe", "nf_reinject"),
        in_module(
            Flavour::Fentry,
            "nfqueue_reinject_fentry",
            "nfqnl_reinject",
            "nfnetlink_queue",
        ),
        in_module(
            Flavour::Kprobe,
            "nfqueue_reinject_kprobe",
            "nfqnl_reinject",
            "nfnetlink_queue",
        ),
    ],
);

/// IPVS sends a client's packet to a real server.
pub const IPVS_XMIT: Probe = probe(
    "ipvs_xmit",
    "ipvs",
    &[
        in_module(
            Flavour::Fentry,
            "ipvs_xmit_fentry",
            "ip_vs_nat_xmit",
            "ip_vs",
        ),
        in_module(
            Flavour::Kprobe,
            "ipvs_xmit_kprobe",
            "ip_vs_nat_xmit",
            "ip_vs",
        ),
    ],
);

/// The same for IPv6.
pub const IPVS_XMIT6: Probe = probe(
    "ipvs_xmit6",
    "ipvs",
    &[
        in_module(
            Flavour::Fentry,
            "ipvs_xmit6_fentry",
            "ip_vs_nat_xmit_v6",
            "ip_vs",
        ),
        in_module(
            Flavour::Kprobe,
            "ipvs_xmit6_kprobe",
            "ip_vs_nat_xmit_v6",
            "ip_vs",
        ),
    ],
);

/// IPVS writes the service's address into a real server's reply.
pub const IPVS_RESPONSE: Probe = probe(
    "ipvs_response",
    "ipvs",
    &[
        in_module(
            Flavour::Fentry,
            "ipvs_response_fentry",
            "handle_response",
            "ip_vs",
        ),
        in_module(
            Flavour::Kprobe,
            "ipvs_response_kprobe",
            "handle_response",
            "ip_vs",
        ),
    ],
);

/// All probes in the order of attaching: what forgets before what keeps, and the anchor last, so that no drop
/// The modules that have hooked functions, and of each a function that no compiler can inline (5.10 to 7.2): where the
/// kernel itself has that, the module's code is built in.
pub const MODULES: [(&str, &str); 3] = [
    ("nf_conntrack", "nf_conntrack_in"),
    ("nfnetlink_queue", "nfqnl_enqueue_packet"),
    ("ip_vs", "ip_vs_conn_in_get"),
];

/// comes before its evidence.
pub const PROBES: [&Probe; 13] = [
    &VERDICT,
    &REFUSAL,
    &LOOKUP,
    &SYSCTL,
    &CLASH,
    &QUEUE_END,
    &QUEUE_ENTRY,
    &QUEUE,
    &REINJECT,
    &IPVS_XMIT,
    &IPVS_XMIT6,
    &IPVS_RESPONSE,
    &DROP,
];
