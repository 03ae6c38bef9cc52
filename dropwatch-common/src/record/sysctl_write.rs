//! A process wrote a sysctl that matters to a cause.

use super::Section;
use crate::header::{SectionHeader, kind};

/// One write through `/proc/sys`, before it takes effect (cgroup sysctl hook, kernel 5.2 and later).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SysctlWrite {
    /// Kind [`kind::SYSCTL_WRITE`].
    pub header: SectionHeader,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Network namespace inode number of the writer, which is the one whose sysctl it is; 0 = unknown.
    pub netns: u32,
    /// Process id of the writer (init pid namespace).
    pub tgid: u32,
    /// Name of the writer, NUL padded.
    pub comm: [u8; 16],
    /// Name below `/proc/sys`, NUL padded: `net/ipv4/conf/eth0/rp_filter`.
    pub name: [u8; 64],
    /// Value before, as text, NUL padded.
    pub old: [u8; 16],
    /// Value written, as text, NUL padded.
    pub new: [u8; 16],
}

impl Section for SysctlWrite {
    const KIND: u16 = kind::SYSCTL_WRITE;
    const VERSION: u16 = 1;
}

const _: () = assert!(size_of::<SysctlWrite>() == 136 && align_of::<SysctlWrite>() == 8);
