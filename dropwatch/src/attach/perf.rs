//! Kprobes by perf_event_open(2), for programs that were loaded by hand.
//!
//! Limits: function entries only. It goes when aya can load programs for modules.

use std::{
    ffi::CString,
    fs, io, mem,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use aya_obj::generated::{PERF_FLAG_FD_CLOEXEC, perf_event_attr};

/// Number of the kprobe event source (4.17 and later, with CONFIG_KPROBE_EVENTS).
const TYPE: &str = "/sys/bus/event_source/devices/kprobe/type";

/// `PERF_EVENT_IOC_SET_BPF` and `PERF_EVENT_IOC_ENABLE` (include/uapi/linux/perf_event.h): `_IOW('$', 8, __u32)` and
/// `_IO('$', 0)`.
const SET_BPF: libc::c_ulong = 0x4004_2408;
const ENABLE: libc::c_ulong = 0x2400;

/// Runs a loaded program whenever a function is entered; closing the result ends that. `symbol` is a function of the
/// kernel, or `module:function`.
///
/// # Errors
///
/// The kernel's; `NotFound` without such a function or without kprobes.
pub fn attach_kprobe(program: BorrowedFd<'_>, symbol: &str) -> io::Result<OwnedFd> {
    let number = fs::read_to_string(TYPE)?;
    let symbol = CString::new(symbol)?;
    // SAFETY: integers and unions of them: zeroes are a valid value.
    let mut attr: perf_event_attr = unsafe { mem::zeroed() };
    attr.type_ = number.trim().parse().map_err(io::Error::other)?;
    attr.size = size_of::<perf_event_attr>() as u32;
    attr.__bindgen_anon_3.config1 = symbol.as_ptr() as u64;
    // SAFETY: the kernel reads the structure, whose size it is told, and the name, which ends with a NUL.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attr,
            // Every process on one CPU: probes fire on all of them all the same.
            -1,
            0,
            -1,
            libc::c_ulong::from(PERF_FLAG_FD_CLOEXEC),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    let event = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    ioctl(&event, SET_BPF, program.as_raw_fd() as libc::c_ulong)?;
    ioctl(&event, ENABLE, 0)?;
    Ok(event)
}

fn ioctl(event: &OwnedFd, request: libc::c_ulong, argument: libc::c_ulong) -> io::Result<()> {
    // SAFETY: both requests take a number.
    let result = unsafe { libc::ioctl(event.as_raw_fd(), request, argument) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
