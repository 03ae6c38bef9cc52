//! A freed packet: what the drop anchor on `kfree_skb` saw.

use super::Section;
use crate::{
    flow::Flow,
    header::{SectionHeader, kind},
};

/// One call of the `kfree_skb` tracepoint (include/trace/events/skb.h; 5.10 to 7.2).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkbDrop {
    /// Kind [`kind::SKB_DROP`].
    pub header: SectionHeader,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Address of the code that freed the packet.
    pub location: u64,
    /// Address of the sk_buff: only an identity, recycled by the kernel at any time.
    pub skb: u64,
    /// Network namespace inode number; 0 = unknown.
    pub netns: u32,
    /// Index of the device at the drop; 0 = unknown.
    pub ifindex: u32,
    /// Index of the device it came in by (`skb_iif`); 0 = made here.
    pub iif: u32,
    /// Raw `enum skb_drop_reason` number; 0 on kernels without reasons.
    pub reason: u32,
    /// Packet mark.
    pub mark: u32,
    /// Length in bytes at the drop (headers already pulled are not in it).
    pub skb_len: u32,
    /// CPU.
    pub cpu: u32,
    /// Process id (init pid namespace) of the task that was running; often a bystander.
    pub tgid: u32,
    /// See [`flags`].
    pub flags: u32,
    /// EtherType, host byte order.
    pub ethertype: u16,
    /// Zero.
    pub pad: u16,
    /// Device name, NUL padded.
    pub dev: [u8; 16],
    /// Name of the running task, NUL padded.
    pub comm: [u8; 16],
    /// The packet's headers.
    pub flow: Flow,
    /// Cookie of the network namespace; 0 = unknown.
    pub netns_cookie: u64,
}

impl Section for SkbDrop {
    const KIND: u16 = kind::SKB_DROP;
    const VERSION: u16 = 2;
}

/// What could be read.
pub mod flags {
    /// `flow` holds an IP header.
    pub const L3: u32 = 1;
    /// `flow` holds ports or ICMP type.
    pub const L4: u32 = 2;
    /// The netns comes from the socket, since the device pointer was not valid.
    pub const NETNS_OF_SOCKET: u32 = 4;
    /// A header read failed.
    pub const READ_FAULT: u32 = 8;
}

const _: () = assert!(size_of::<SkbDrop>() == 168 && align_of::<SkbDrop>() == 8);
