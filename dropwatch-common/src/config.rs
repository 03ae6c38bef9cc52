//! Settings that the loader writes into the eBPF object before loading it.
//!
//! Both sides use the same names and sizes. The maps of globals are frozen after that, so the verifier
//! treats every value as a constant and removes what is switched off.

/// Index of each word in the `CONFIG` global.
pub mod word {
    /// Number of arguments of the `kfree_skb` tracepoint: 2 (5.10), 3 (6.1) or 4 (6.12 and later).
    pub const KFREE_SKB_ARGS: usize = 0;
    /// Detailed events per drop key, CPU and epoch; 0 = no limit.
    pub const BUDGET: usize = 1;
    /// Only this network namespace (inode number); 0 = all.
    pub const NETNS: usize = 2;
    /// 1 when [`super::DEV_WORDS`] select a device name.
    pub const DEV: usize = 3;
    /// This kernel's number of IP_RPFILTER; [`super::ABSENT`] when it has none.
    pub const REASON_RPFILTER: usize = 4;
    /// IP_LOCAL_SOURCE.
    pub const REASON_LOCAL_SOURCE: usize = 5;
    /// IP_INVALID_SOURCE.
    pub const REASON_INVALID_SOURCE: usize = 6;
    /// NOT_SPECIFIED.
    pub const REASON_NOT_SPECIFIED: usize = 7;
    /// A hook keeps refusals for the drop anchor to join.
    pub const STASH: usize = 8;
    /// NETFILTER_DROP.
    pub const REASON_NETFILTER_DROP: usize = 9;
    /// 1 where programs of one CPU may interrupt each other, because the kernel does not keep them from it (before 6.1).
    pub const NESTS: usize = 10;
    /// Number of words.
    pub const COUNT: usize = 16;
}

/// Index of each word in the `LIVE` array, which changes while the programs run.
pub mod live {
    /// The budget epoch: a new one gives every drop key a new budget.
    pub const EPOCH: u32 = 0;
    /// Generation of the watch on route look-ups; 0 while it is off. What an earlier generation kept is
    /// stale.
    pub const LOOKUPS: u32 = 1;
    /// 1 once a packet was sent to a queue program; written by the programs.
    pub const QUEUES: u32 = 2;
    /// 1 once IPVS detached an entry that a translation needs; written by the programs.
    pub const DETACHED: u32 = 3;
    /// Number of words.
    pub const COUNT: u32 = 4;
}

/// Four words: the wanted device name's 16 bytes as two u64, and the mask of the bytes that count.
pub const DEV_WORDS: usize = 4;

/// Most sysctls that are watched: the last part of each name, 15 bytes at most with NULs behind, as two u64. A name that is all
/// zeros is none.
pub const SYSCTLS: usize = 4;

/// "This kernel does not have it": of an offset or a reason number.
pub const ABSENT: u32 = u32::MAX;
