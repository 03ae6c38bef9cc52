//! Per-CPU kernel counters: the kernel's half of the loss ledger.
//!
//! For drops: `SEEN = FILTERED + NOT_PACKET + SUPPRESSED + RING_FULL + SUBMITTED`, always, per CPU.

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $index:literal,)*) => {
        $($(#[$doc])* pub const $name: u32 = $index;)*
        /// All counters with their names, in index order.
        pub const ALL: &[(u32, &str)] = &[$(($name, stringify!($name)),)*];
        /// Number of counters.
        pub const COUNT: u32 = ALL.len() as u32;
    };
}

counters! {
    /// Runs of the drop anchor.
    SEEN = 0,
    /// Not of the selected netns or device.
    FILTERED = 1,
    /// Freed buffers that are no network packet (unix and vsock sockets).
    NOT_PACKET = 2,
    /// Counted, but over the detail budget of its key.
    SUPPRESSED = 3,
    /// The ring buffer had no room.
    RING_FULL = 4,
    /// Put into the ring buffer.
    SUBMITTED = 5,
    /// The table of drop keys was full: counted here and in SEEN, but under no key of its own.
    KEYS_FULL = 6,
    /// Refusals that a source-check function reported.
    RP_STASHED = 7,
    /// Refusals that were joined to their drop.
    RP_JOINED = 8,
    /// Refusals that could not be kept until their drop.
    RP_STASH_FAILED = 9,
    /// Writes to a watched sysctl.
    SYSCTL_SEEN = 10,
    /// Writes to a watched sysctl that did not fit into the ring buffer.
    SYSCTL_RING_FULL = 11,
    /// Packets sent to a queue program.
    QUEUE_SEEN = 12,
    /// Packets that came back from one.
    QUEUE_REINJECTED = 13,
    /// Packets whose way through a queue could not be kept.
    QUEUE_STASH_FAILED = 14,
    /// Clashes of conntrack entries.
    CLASH_SEEN = 15,
    /// Clashes that could not be kept until their drop.
    CLASH_STASH_FAILED = 16,
    /// Replies and resets of connections whose conntrack entry IPVS detached: all of them.
    IPVS_SEEN = 17,
    /// Those that were sent on: one reply and one reset of each connection.
    IPVS_SUBMITTED = 18,
    /// Those that did not fit into the ring buffer.
    IPVS_RING_FULL = 19,
    /// Connections that could not be remembered.
    IPVS_STASH_FAILED = 20,
    /// Of those put into the ring buffer: over the budget of their kind, but of a flow class not seen lately.
    NEW_FLOWS = 21,
}

/// What drops are counted by. The map holds it as `[u32; 6]`: see [`DropKey::words`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DropKey {
    /// Address in the kernel where the packet was freed.
    pub location: u64,
    /// Raw drop reason number of this kernel, 0 before 5.17.
    pub reason: u32,
    /// Device index, 0 when unknown.
    pub ifindex: u32,
    /// Network namespace inode number, 0 when unknown.
    pub netns: u32,
    /// [`crate::header::kind`] of the joined evidence, 0 for none.
    pub evidence: u32,
}

impl DropKey {
    /// The key as the map stores it.
    #[must_use]
    #[inline(always)]
    pub const fn words(&self) -> [u32; 6] {
        [
            self.location as u32,
            (self.location >> 32) as u32,
            self.reason,
            self.ifindex,
            self.netns,
            self.evidence,
        ]
    }

    /// The key in pairs of its words, the location first.
    #[must_use]
    #[inline(always)]
    pub const fn pairs(&self) -> [u64; 3] {
        [
            self.location,
            self.reason as u64 | (self.ifindex as u64) << 32,
            self.netns as u64 | (self.evidence as u64) << 32,
        ]
    }

    /// The key from its pairs.
    #[must_use]
    pub const fn from_pairs(pairs: [u64; 3]) -> Self {
        Self {
            location: pairs[0],
            reason: pairs[1] as u32,
            ifindex: (pairs[1] >> 32) as u32,
            netns: pairs[2] as u32,
            evidence: (pairs[2] >> 32) as u32,
        }
    }

    /// The key from the map's form.
    #[must_use]
    pub const fn from_words(w: [u32; 6]) -> Self {
        Self {
            location: w[0] as u64 | (w[1] as u64) << 32,
            reason: w[2],
            ifindex: w[3],
            netns: w[4],
            evidence: w[5],
        }
    }
}

/// Slots of the per-CPU value of a [`DropKey`], stored as `[u64; 3]`.
pub mod tally {
    /// All drops of the key.
    pub const COUNT: usize = 0;
    /// Those of them whose detail was suppressed.
    pub const SUPPRESSED: usize = 1;
    /// Budget: epoch in the high 32 bits, events left in the low 32 bits.
    pub const BUDGET: usize = 2;
}
