//! What this process is allowed to do, and what kernel it runs on.

use std::{fs, path::Path};

use rustix::{
    process::geteuid,
    system::uname,
    thread::{CapabilitySet, capabilities},
};

/// What the link of the machine's first user namespace says (`PROC_USER_INIT_INO`, include/linux/proc_ns.h).
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

/// `CAP_NET_ADMIN` as a bit (include/uapi/linux/capability.h).
const NET_ADMIN: u64 = 1 << 12;

/// What this process may do. CAP_BPF and CAP_PERFMON exist since 5.8; CAP_SYS_ADMIN stands for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privileges {
    effective: CapabilitySet,
    /// Whether the capabilities are those of a user namespace of its own, which count for nothing in the kernel as a whole.
    pub in_user_namespace: bool,
    /// Whether programs that it runs have CAP_NET_ADMIN: they do not get it from a binary's file capabilities.
    pub children_are_admins: bool,
}

impl Privileges {
    /// Those of the calling thread.
    #[must_use]
    pub fn own() -> Self {
        let effective = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
        let namespace = fs::read_link("/proc/self/ns/user").ok();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            effective,
            in_user_namespace: namespace
                .is_some_and(|link| link != Path::new(FIRST_USER_NAMESPACE)),
            children_are_admins: geteuid().is_root() || ambient(&status) & NET_ADMIN != 0,
        }
    }

    /// Names of the capabilities that are missing for attaching; empty when all are there.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let for_all = CapabilitySet::SYS_ADMIN;
        let needed = [
            (CapabilitySet::BPF | for_all, "CAP_BPF"),
            (CapabilitySet::PERFMON | for_all, "CAP_PERFMON"),
            (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
        ];
        let missing = needed
            .iter()
            .filter(|(either, _)| self.in_user_namespace || !self.effective.intersects(*either));
        missing.map(|(_, name)| *name).collect()
    }

    /// Capabilities that attaching does not need but facts do, of those that are missing, and what stays unknown
    /// without each.
    #[must_use]
    pub fn missing_for_facts(&self) -> Vec<(&'static str, &'static str)> {
        let wanted = [
            (
                CapabilitySet::SYS_ADMIN,
                "CAP_SYS_ADMIN",
                "other network namespaces cannot be looked into, and functions of modules can be watched by kprobe at \
                 most",
            ),
            (
                CapabilitySet::SYS_PTRACE,
                "CAP_SYS_PTRACE",
                "namespaces and sockets of other users' processes cannot be found",
            ),
            (
                CapabilitySet::SYSLOG,
                "CAP_SYSLOG",
                "functions have no names, so that rules are not found",
            ),
        ];
        let missing = wanted
            .into_iter()
            .filter(|(one, ..)| self.in_user_namespace || !self.effective.contains(*one));
        missing.map(|(_, name, without)| (name, without)).collect()
    }
}

fn ambient(status: &str) -> u64 {
    let line = status.lines().find_map(|l| l.strip_prefix("CapAmb:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

/// Whether the kernel can put programs on functions by kprobe (CONFIG_KPROBE_EVENTS).
#[must_use]
pub fn has_kprobes() -> bool {
    Path::new("/sys/bus/event_source/devices/kprobe").exists()
}

/// Release of the running kernel, as `uname -r` says it.
#[must_use]
pub fn release() -> String {
    uname().release().to_string_lossy().into_owned()
}

/// Inode number of this thread's network namespace, 0 when unknown.
#[must_use]
pub fn own_netns() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/thread-self/ns/net").map_or(0, |m| m.ino() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(effective: CapabilitySet) -> Privileges {
        Privileges {
            effective,
            in_user_namespace: false,
            children_are_admins: true,
        }
    }

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon() {
        let admin = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
        assert!(with(admin).missing().is_empty());
        let all = ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"];
        assert_eq!(with(CapabilitySet::empty()).missing(), all);
        let few = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::NET_ADMIN;
        assert!(with(few).missing().is_empty());
        let facts = with(few).missing_for_facts();
        assert_eq!(facts.len(), 3);
        assert!(with(CapabilitySet::all()).missing_for_facts().is_empty());
    }

    #[test]
    fn capabilities_of_a_user_namespace_do_not_count() {
        let inside = Privileges {
            in_user_namespace: true,
            ..with(CapabilitySet::all())
        };
        assert_eq!(inside.missing().len(), 3);
        assert_eq!(inside.missing_for_facts().len(), 3);
    }

    #[test]
    fn only_ambient_capabilities_are_passed_on() {
        assert_eq!(
            ambient("CapEff:\t0000000000001000\nCapAmb:\t0000000000001000\n"),
            0x1000
        );
        assert_eq!(ambient("CapEff:\t0000000000001000\n"), 0);
    }
}
