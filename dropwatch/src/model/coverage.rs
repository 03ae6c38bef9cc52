//! What this run can see, and which causes it can therefore judge.

use serde::{Deserialize, Serialize};

/// What became of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeStatus {
    /// Hook that the probe belongs to.
    pub hook: String,
    /// Probe.
    pub probe: String,
    /// Tracepoint, function or place it is attached to (or was meant for).
    pub symbol: String,
    /// How.
    pub flavour: Option<String>,
    /// Whether it is.
    pub attached: bool,
    /// Why not; of an attached one, when it is, if not always.
    pub why: Option<String>,
    /// The module that it waits for: until that is loaded there is nothing to see.
    #[serde(default)]
    pub awaits: Option<String>,
}

/// All probes, and what the kernel itself tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Probes.
    pub probes: Vec<ProbeStatus>,
    /// Whether the kernel names the reverse-path filter as a drop reason.
    pub rp_filter_reason: bool,
}

impl Coverage {
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
