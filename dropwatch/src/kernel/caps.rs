//! What this process is allowed to do, and what kernel it runs on.

use std::{fs, path::Path};

/// Capabilities that attaching needs (include/uapi/linux/capability.h). CAP_BPF and CAP_PERFMON exist since
/// 5.8; CAP_SYS_ADMIN stands for both.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Names of the capabilities that are missing for attaching; empty when all are there.
#[must_use]
pub fn missing() -> Vec<&'static str> {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| effective(&status))
        .map_or_else(Vec::new, missing_in)
}

/// Whether what belongs to others may be looked at: their namespaces, and the kernel's list of BTF objects.
#[must_use]
pub fn is_admin() -> bool {
    let status = fs::read_to_string("/proc/self/status").ok();
    status
        .and_then(|status| effective(&status))
        .is_none_or(|caps| caps >> CAP_SYS_ADMIN & 1 == 1)
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn missing_in(effective: u64) -> Vec<&'static str> {
    let has = |cap: u32| effective >> cap & 1 == 1;
    let mut missing = Vec::new();
    for (cap, name) in [(CAP_BPF, "CAP_BPF"), (CAP_PERFMON, "CAP_PERFMON")] {
        if !has(cap) && !has(CAP_SYS_ADMIN) {
            missing.push(name);
        }
    }
    if !has(CAP_NET_ADMIN) {
        missing.push("CAP_NET_ADMIN");
    }
    missing
}

/// Whether the kernel can put programs on functions by kprobe (CONFIG_KPROBE_EVENTS).
#[must_use]
pub fn has_kprobes() -> bool {
    Path::new("/sys/bus/event_source/devices/kprobe").exists()
}

/// Release of the running kernel, as `uname -r` says it.
#[must_use]
pub fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".into(), |s| s.trim().to_owned())
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

    #[test]
    fn sys_admin_stands_for_bpf_and_perfmon() {
        assert_eq!(
            effective("Name:\tx\nCapEff:\t0000000000201000\n"),
            Some(0x20_1000)
        );
        assert!(missing_in(0x20_1000).is_empty());
        assert_eq!(missing_in(0), ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]);
        assert!(missing_in(1 << 38 | 1 << 39 | 1 << 12).is_empty());
    }
}
