//! Drop reason numbers and names of the running kernel.
//!
//! Numbers move between versions, and subsystem ids are renumbered (include/net/dropreason.h), so both come
//! from BTF. Names are kept without their `SKB_DROP_REASON_` prefix.

use std::{collections::BTreeMap, path::Path};

use btf_rs::{Btf, Type};

use super::btf::KernelBtf;

/// Bits of a reason that hold the subsystem: `SKB_DROP_REASON_SUBSYS_SHIFT` (6.4 and later).
const SUBSYS_SHIFT: u32 = 16;

const PREFIX: &str = "SKB_DROP_REASON_";

/// The enum that lists each subsystem's reasons, by the last part of the subsystem's name.
const SUBSYS_ENUMS: &[(&str, &str, &str)] = &[
    ("MAC80211_UNUSABLE", "mac80211_drop_reason", "mac80211"),
    ("MAC80211_MONITOR", "mac80211_drop_reason", "mac80211"),
    ("OPENVSWITCH", "ovs_drop_reason", "openvswitch"),
    ("QDISC", "qdisc_drop_reason", ""),
];

/// Names by number.
#[derive(Clone, Debug, Default)]
pub struct Reasons {
    names: BTreeMap<u32, String>,
}

impl Reasons {
    /// Reads them; empty on kernels before 5.17.
    #[must_use]
    pub fn from_btf(btf: &KernelBtf) -> Self {
        let mut names = BTreeMap::new();
        for (name, value) in btf.enumeration("skb_drop_reason") {
            let short = name.strip_prefix(PREFIX).unwrap_or(&name);
            // The end marks of the enum are no reasons.
            if !matches!(short, "MAX" | "SUBSYS_MASK") {
                names.insert(value, short.to_owned());
            }
        }
        for (name, id) in btf.enumeration("skb_drop_reason_subsys") {
            let subsys = name.rsplit("SUBSYS_").next().unwrap_or_default();
            let Some((_, kind, module)) = SUBSYS_ENUMS.iter().find(|(s, ..)| *s == subsys) else {
                continue;
            };
            let mut members = btf.enumeration(kind);
            if members.is_empty() && !module.is_empty() {
                members = module_enumeration(module, kind);
            }
            for (name, value) in members {
                // Members carry their subsystem already; those of other subsystems are skipped.
                if value >> SUBSYS_SHIFT == id {
                    let short = name.strip_prefix(PREFIX).unwrap_or(&name);
                    names.insert(value, short.to_owned());
                }
            }
        }
        Self { names }
    }

    /// Name of a reason.
    #[must_use]
    pub fn name(&self, number: u32) -> Option<&str> {
        self.names.get(&number).map(String::as_str)
    }

    /// Number of a reason by its name, with or without prefix.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u32> {
        let short = name.strip_prefix(PREFIX).unwrap_or(name);
        self.names
            .iter()
            .find(|(_, n)| *n == short)
            .map(|(v, _)| *v)
    }

    /// How many there are; none where this kernel gives no reasons.
    #[must_use]
    pub fn count(&self) -> usize {
        self.names.len()
    }
}

/// An enum from a loaded module's BTF; empty when the module is not loaded.
fn module_enumeration(module: &str, name: &str) -> Vec<(String, u32)> {
    let read = || -> Option<Vec<(String, u32)>> {
        let path = Path::new("/sys/kernel/btf").join(module);
        if !path.exists() {
            return None;
        }
        let base = Btf::from_file(super::btf::vmlinux_path()).ok()?;
        let btf = Btf::from_split_file(path, &base).ok()?;
        let types = btf.resolve_types_by_name(name).ok()?;
        types.into_iter().find_map(|t| match t {
            Type::Enum(e) => Some(
                e.members
                    .iter()
                    .filter_map(|m| Some((btf.resolve_name(m).ok()?, m.val())))
                    .collect(),
            ),
            _ => None,
        })
    };
    read().unwrap_or_default()
}
