//! What a cause may see: the facts known so far, and the sysctl writes. Asking for a fact that is not known
//! yet notes the question, so that a cause reads as if everything were there.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    net::Ipv4Addr,
};

use super::{Words, store::Store};
use crate::{
    facts::{
        ConntrackEntry, ConntrackStats, DefaultRoutes, Fact, FactKey, Groups, Link, Neighbour,
        Netns, Owner, Route, RpFilterSettings, SysctlFiles, ipvs::IpvsState, queues::Queues,
        ruleset::Ruleset,
    },
    model::{coverage::Coverage, evidence::SysctlWrite, ipvs::Endpoint, tuple::Tuple},
};

/// A cause's view of the facts, for one judgement.
pub struct View<'a> {
    store: &'a Store,
    coverage: &'a Coverage,
    /// When the judgement began.
    opened_ns: u64,
    now_ns: u64,
    /// No more waiting: what is not known now is unknown.
    last_chance: bool,
    wanted: RefCell<HashSet<FactKey>>,
    unknown: RefCell<Vec<String>>,
    pending: Cell<bool>,
    /// Whether a fact was missing at the last chance.
    late: Cell<bool>,
    /// When it is worth to be asked again although no answer came.
    wake_ns: Cell<Option<u64>>,
    /// What another cause knows of the drop that no cause claims.
    words: RefCell<Option<Words>>,
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $kind:ident($fact:ty) = $key:expr;)*) => {
        $($(#[$doc])*
        #[must_use]
        pub fn $name(&self, $($arg: $ty),*) -> Option<&'a $fact> {
            match self.ask($key)? {
                Fact::$kind(fact) => Some(fact),
                Fact::Unknown { why } => {
                    self.note(why.clone());
                    None
                }
                other => {
                    self.note(format!("a wrong answer in the capture: {other:?}"));
                    None
                }
            }
        })*
    };
}

impl<'a> View<'a> {
    /// A view for a judgement that began at `opened_ns`.
    #[must_use]
    pub fn new(
        store: &'a Store,
        coverage: &'a Coverage,
        opened_ns: u64,
        now_ns: u64,
        last_chance: bool,
    ) -> Self {
        Self {
            store,
            coverage,
            opened_ns,
            now_ns,
            last_chance,
            wanted: RefCell::default(),
            unknown: RefCell::default(),
            pending: Cell::new(false),
            late: Cell::new(false),
            wake_ns: Cell::new(None),
            words: RefCell::default(),
        }
    }

    /// What this run can see.
    #[must_use]
    pub fn coverage(&self) -> &'a Coverage {
        self.coverage
    }

    /// The conntrack counters as last read before the judgement began, and how long before, in nanoseconds.
    #[must_use]
    pub fn conntrack_stats_before(&self, netns: u32) -> Option<(&'a ConntrackStats, u64)> {
        let (read_ns, stats) = self.store.conntrack_stats_before(netns, self.opened_ns)?;
        Some((stats, self.opened_ns - read_ns))
    }

    /// When the rule set of a namespace was read, relative to the beginning of the judgement, in nanoseconds: negative
    /// is before. `None` while it is not known.
    #[must_use]
    pub fn ruleset_read_after_ns(&self, netns: u32) -> Option<i64> {
        let (_, read_ns) = self
            .store
            .get(&FactKey::Ruleset { netns }, self.opened_ns)?;
        Some(read_ns as i64 - self.opened_ns as i64)
    }

    /// What another cause knows of this drop, for the plain explanation.
    #[must_use]
    pub fn words(&self) -> Option<Words> {
        self.words.borrow().clone()
    }

    /// Passes on what a cause knows of a drop that no cause claims.
    pub fn pass_words(&self, words: Words) {
        *self.words.borrow_mut() = Some(words);
    }

    /// Waits for something that may still happen, `patience_ns` after the judgement began at the latest.
    pub fn wait(&self, patience_ns: u64) {
        let until_ns = self.opened_ns.saturating_add(patience_ns);
        if self.now_ns < until_ns && !self.last_chance {
            self.pending.set(true);
            let earlier = self.wake_ns.get().unwrap_or(u64::MAX);
            self.wake_ns.set(Some(until_ns.min(earlier)));
        }
    }

    /// When the waiting ends.
    #[must_use]
    pub fn wake_ns(&self) -> Option<u64> {
        self.wake_ns.get()
    }

    getters! {
        /// Who and what a namespace is.
        netns(netns: u32) -> Netns(Netns) = FactKey::Netns { netns };
        /// Its `rp_filter` settings.
        rp_filter(netns: u32) -> RpFilter(RpFilterSettings) = FactKey::RpFilter { netns };
        /// A device.
        link(netns: u32, ifindex: u32) -> Link(Link) = FactKey::Link { netns, ifindex };
        /// A route.
        route(netns: u32, to: Ipv4Addr, from: Option<Ipv4Addr>) -> Route(Route) =
            FactKey::Route { netns, to, from, mark: 0, iif: 0, oif: 0 };
        /// A route with all that a look-up may ask for.
        route_of(netns: u32, to: Ipv4Addr, from: Option<Ipv4Addr>, mark: u32, iif: u32, oif: u32) -> Route(Route) =
            FactKey::Route { netns, to, from, mark, iif, oif };
        /// Whose an address is.
        owner(netns: u32, address: Ipv4Addr) -> Owner(Owner) = FactKey::Owner { netns, address };
        /// The neighbour entry of an address.
        neighbour(netns: u32, ifindex: u32, address: Ipv4Addr) -> Neighbour(Neighbour) =
            FactKey::Neighbour { netns, ifindex, address };
        /// Multicast groups of a device.
        groups(netns: u32, ifindex: u32) -> Groups(Groups) = FactKey::Groups { netns, ifindex };
        /// Devices of default routes.
        default_routes(netns: u32) -> DefaultRoutes(DefaultRoutes) = FactKey::DefaultRoutes { netns };
        /// The conntrack entry that holds a tuple.
        conntrack(netns: u32, tuple: Tuple, zone: u16) -> Conntrack(ConntrackEntry) =
            FactKey::Conntrack { netns, tuple, zone };
        /// Counters and size of the conntrack table.
        conntrack_stats(netns: u32) -> ConntrackStats(ConntrackStats) =
            FactKey::ConntrackStats { netns };
        /// IPVS, with one of its connections.
        ipvs(netns: u32, client: Endpoint, service: Endpoint) -> Ipvs(IpvsState) =
            FactKey::Ipvs { netns, client, service };
        /// Queues that programs listen on.
        queues(netns: u32) -> Queues(Queues) = FactKey::Queues { netns };
        /// The netfilter rule set.
        ruleset(netns: u32) -> Ruleset(Ruleset) = FactKey::Ruleset { netns };
        /// sysctl.d and udev lines.
        sysctl_files(device: &str) -> SysctlFiles(SysctlFiles) =
            FactKey::SysctlFiles { device: device.to_owned() };
    }

    /// How long after the case was opened a fact was read, in nanoseconds; 0 also for one from before. `None` while it
    /// is not here. What changes by itself is to be judged with that.
    #[must_use]
    pub fn read_after_ns(&self, key: &FactKey) -> Option<u64> {
        let (_, read_ns) = self.store.get(key, self.opened_ns)?;
        Some(read_ns.saturating_sub(self.opened_ns))
    }

    fn ask(&self, key: FactKey) -> Option<&'a Fact> {
        match self.store.get(&key, self.opened_ns) {
            Some((fact, _)) => Some(fact),
            _ if self.last_chance => {
                self.late.set(true);
                self.note(format!("{}: no answer in time", question(&key)));
                None
            }
            _ => {
                self.wanted.borrow_mut().insert(key);
                self.pending.set(true);
                None
            }
        }
    }

    fn note(&self, why: String) {
        let mut unknown = self.unknown.borrow_mut();
        if !unknown.contains(&why) {
            unknown.push(why);
        }
    }

    /// Whether an answer is still due.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.pending.get()
    }

    /// Whether something was judged without a fact that came too late.
    #[must_use]
    pub fn late(&self) -> bool {
        self.late.get()
    }

    /// The questions that are still open.
    #[must_use]
    pub fn wanted(&self) -> HashSet<FactKey> {
        self.wanted.take()
    }

    /// What was asked and could not be read, with the reasons.
    #[must_use]
    pub fn unknown(&self) -> Vec<String> {
        self.unknown.borrow().clone()
    }

    /// The last write to one of these keys in a namespace, before the judgement began.
    #[must_use]
    pub fn last_write(&self, netns: u32, keys: &[&str]) -> Option<&'a SysctlWrite> {
        self.store.last_write(netns, keys, self.opened_ns)
    }
}

/// A question in a few words.
fn question(key: &FactKey) -> String {
    match key {
        FactKey::Netns { netns } => format!("netns {netns}"),
        FactKey::RpFilter { netns } => format!("rp_filter settings of netns {netns}"),
        FactKey::Link { netns, ifindex } => format!("device {ifindex} in netns {netns}"),
        FactKey::Route { netns, to, .. } => format!("route to {to} in netns {netns}"),
        FactKey::Owner { netns, address } => format!("whose {address} is in netns {netns}"),
        FactKey::Neighbour { netns, address, .. } => {
            format!("neighbour entry of {address} in netns {netns}")
        }
        FactKey::Groups { netns, ifindex } => {
            format!("multicast groups of device {ifindex} in netns {netns}")
        }
        FactKey::DefaultRoutes { netns } => format!("default routes of netns {netns}"),
        FactKey::Conntrack { netns, tuple, .. } => {
            format!("conntrack entry of {tuple} in netns {netns}")
        }
        FactKey::ConntrackStats { netns } => format!("conntrack counters of netns {netns}"),
        FactKey::Followed { netns, tuple, .. } => format!("fate of {tuple} in netns {netns}"),
        FactKey::Ipvs { netns, .. } => format!("IPVS of netns {netns}"),
        FactKey::Queues { netns } => format!("queues of netns {netns}"),
        FactKey::Ruleset { netns } => format!("netfilter rules of netns {netns}"),
        FactKey::SysctlFiles { device } => format!("sysctl.d lines for {device}"),
    }
}
