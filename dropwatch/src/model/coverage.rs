//! What this run can see, and which causes it can therefore judge.

use serde::{Deserialize, Serialize};

/// What became of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProbeStatus {
    /// Hook that the probe belongs to.
    pub hook: String,
    /// Name of the probe.
    pub probe: String,
    /// Tracepoint, function or place that it is attached to, or was meant for.
    pub symbol: String,
    /// How it is attached: `tp_btf`, `raw_tp`, `fentry`, `fexit`, `kprobe`, `kretprobe` or `cgroup_sysctl`.
    pub flavour: Option<String>,
    /// Whether it is attached.
    pub attached: bool,
    /// Why it is not attached; of an attached one, when it is, if not always.
    pub why: Option<String>,
    /// The module that it waits for: until that is loaded there is nothing to see.
    #[serde(default)]
    pub awaits: Option<String>,
}

/// All probes, and what the kernel itself tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Probes.
    pub probes: Vec<ProbeStatus>,
    /// Whether the kernel names the reverse-path filter as a drop reason.
    pub rp_filter_reason: bool,
    /// Whether the kernel tells the names of its functions, without which places of drops are numbers.
    #[serde(default = "yes")]
    pub symbols: bool,
    /// Whether nf_tables is sure to free itself what it drops; the kernel's release tells, see
    /// [`Coverage::of_release`].
    #[serde(skip)]
    pub nft_frees: bool,
}

fn yes() -> bool {
    true
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            probes: Vec::new(),
            rp_filter_reason: false,
            symbols: true,
            nft_frees: false,
        }
    }
}

impl Coverage {
    /// Fills in what a kernel's release (`uname -r`) tells.
    #[must_use]
    pub fn of_release(self, release: &str) -> Self {
        Self {
            // e0d4593140b0 ("netfilter: make nftables drops visible in net dropmonitor"), v6.7. Older kernels may have
            // it as well; then both rule sets are looked at where one would do.
            nft_frees: at_least(release, [6, 7]),
            ..self
        }
    }

    /// Why places of drops cannot be told, as causes say it; `None` when they can.
    #[must_use]
    pub fn no_places(&self) -> Option<String> {
        let why =
            "the kernel hides the addresses of its functions (kernel.kptr_restrict, CAP_SYSLOG)";
        (!self.symbols).then(|| why.to_owned())
    }

    /// Whether a probe is attached.
    #[must_use]
    pub fn has(&self, probe: &str) -> bool {
        self.status(probe).is_some_and(|p| p.attached)
    }

    /// Whether a probe is attached, or will be before there is anything to see.
    #[must_use]
    pub fn will_see(&self, probe: &str) -> bool {
        self.status(probe)
            .is_some_and(|p| p.attached || p.awaits.is_some())
    }

    /// Takes the news of a probe.
    pub fn update(&mut self, status: ProbeStatus) {
        match self.probes.iter_mut().find(|p| p.probe == status.probe) {
            Some(known) => *known = status,
            None => self.probes.push(status),
        }
    }

    /// Status of a probe.
    #[must_use]
    pub fn status(&self, probe: &str) -> Option<&ProbeStatus> {
        self.probes.iter().find(|p| p.probe == probe)
    }
}

/// Whether a release like `6.12.117+deb12-amd64` is of this series or a later one.
#[must_use]
pub fn at_least(release: &str, series: [u32; 2]) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    [next(), next()] >= series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_frees_what_nf_tables_drops_is_known_by_the_release() {
        let frees = |release| Coverage::default().of_release(release).nft_frees;
        assert!(frees("6.7.0") && frees("6.12.117+deb12-amd64") && frees("7.2.13+deb14-amd64"));
        assert!(!frees("6.6.30-lts") && !frees("6.1.0-56-amd64") && !frees("5.14.0-503.el9"));
        assert!(!frees("unknown"));
    }
}
