//! What the kernel tells of a loaded program.

use std::{fs, os::fd::RawFd};

/// A number from the fdinfo of one of this process's descriptors (`bpf_prog_show_fdinfo`, kernel/bpf/syscall.c);
/// `None` where the kernel does not tell it: `recursion_misses` since 5.12, `verified_insns` since 5.16.
#[must_use]
pub fn fdinfo(fd: RawFd, key: &str) -> Option<u64> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
    let value = info
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    value.trim().parse().ok()
}
