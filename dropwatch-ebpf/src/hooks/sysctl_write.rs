//! Who writes a sysctl that a cause turns on.
//!
//! A cgroup sysctl program on the root of the cgroup2 tree runs for every access to `/proc/sys`, in the
//! context of the process that does it (5.2 and later). It always lets the access pass.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{BPF_F_SYSCTL_BASE_NAME, bpf_sysctl},
    helpers::generated::{
        bpf_get_current_task, bpf_ktime_get_ns, bpf_sysctl_get_current_value, bpf_sysctl_get_name,
        bpf_sysctl_get_new_value,
    },
    macros::cgroup_sysctl,
    programs::SysctlContext,
};
use dropwatch_common::{
    config::{SYSCTLS, word},
    counters,
    fields::Field,
    record::{Section, sysctl_write::SysctlWrite},
};

use crate::{
    emit,
    kread::{self, Probe, Ptr},
    maps::{config, count, sysctl_name},
};

/// Let the access happen.
const ALLOW: i32 = 1;

/// Entry point.
#[cgroup_sysctl]
pub fn sysctl_write(ctx: SysctlContext) -> i32 {
    let sysctl = ctx.sysctl;
    // SAFETY: the context of a cgroup sysctl program; the verifier knows its type.
    if unsafe { (*sysctl).write } != 0 && watched(sysctl) {
        // SAFETY: a helper without preconditions. Helpers for the current process are not offered to this
        // program type before 6.10.
        let task = Ptr::<Probe>::new(unsafe { bpf_get_current_task() });
        // The namespace of the writer is the one whose sysctl it is (net/sysctl_net.c).
        let netns: u32 = task
            .follow(Field::task_struct_nsproxy)
            .follow(Field::nsproxy_net_ns)
            .get(Field::net_ns_inum);
        let wanted = config(word::NETNS);
        if wanted == 0 || wanted == netns {
            count(counters::SYSCTL_SEEN);
            if !send(sysctl, task, netns) {
                count(counters::SYSCTL_RING_FULL);
            }
        }
    }
    ALLOW
}

/// Room for the last part of a name.
#[repr(C)]
struct Name([u64; 2]);

// SAFETY: two words.
unsafe impl kread::Words for Name {}

/// Whether the last part of the name is one that a cause asks for.
#[inline(always)]
fn watched(sysctl: *mut bpf_sysctl) -> bool {
    let mut place = MaybeUninit::<Name>::uninit();
    let Name(name) = kread::zero(&mut place);
    // SAFETY: the helper writes at most the 16 bytes given.
    let len = unsafe {
        bpf_sysctl_get_name(
            sysctl,
            name.as_mut_ptr().cast(),
            16,
            BPF_F_SYSCTL_BASE_NAME.into(),
        )
    };
    // A name that had no room is none of those: they have 15 bytes at most.
    len > 0 && (0..SYSCTLS).any(|at| name[0] != 0 && *name == sysctl_name(at))
}

#[inline(always)]
fn send(sysctl: *mut bpf_sysctl, task: Ptr<Probe>, netns: u32) -> bool {
    let Some(mut place) = emit::reserve::<SysctlWrite>() else {
        return false;
    };
    let record = place.record();
    record.header = SysctlWrite::header();
    record.netns = netns;
    record.tgid = task.get(Field::task_struct_tgid);
    // SAFETY: helpers that write at most the lengths given, which are those of the fields.
    unsafe {
        record.time_ns = bpf_ktime_get_ns();
        bpf_sysctl_get_name(sysctl, (&raw mut record.name).cast(), 64, 0);
        bpf_sysctl_get_current_value(sysctl, (&raw mut record.old).cast(), 16);
        bpf_sysctl_get_new_value(sysctl, (&raw mut record.new).cast(), 16);
    }
    let comm = task.name(Field::task_struct_comm);
    record.comm[..8].copy_from_slice(&comm[0].to_ne_bytes());
    record.comm[8..].copy_from_slice(&comm[1].to_ne_bytes());
    place.submit();
    true
}
