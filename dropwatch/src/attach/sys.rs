//! The few bpf(2) calls that the loader library does not make: programs on functions of modules.
//!
//! Limits: only what `module.rs` needs. It goes when aya can name a module's BTF to the kernel.

use std::{
    ffi::{CStr, CString},
    io, mem,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use aya_obj::generated::{
    bpf_attach_type, bpf_attr, bpf_btf_info, bpf_cmd, bpf_insn, bpf_prog_type,
};

/// Room for the verifier's words when it refuses a program.
const LOG_BYTES: usize = 1 << 20;

/// Levels of its log: every step, or only how much it had to do (include/linux/bpf_verifier.h, 5.2 and later).
const LOG_ALL: u32 = 1;
const LOG_STATISTICS: u32 = 4;

/// A program to load.
pub struct Program<'a> {
    /// Name, cut to 15 bytes.
    pub name: &'a str,
    /// Its license, as the object declares it.
    pub license: &'a CStr,
    /// Instructions, map references and calls resolved.
    pub instructions: &'a [bpf_insn],
    /// What it is to run on.
    pub kind: Kind<'a>,
}

/// What a program runs on.
#[derive(Clone, Copy)]
pub enum Kind<'a> {
    /// A function, by trampoline.
    Tracing {
        /// `BPF_TRACE_FENTRY` or `BPF_TRACE_FEXIT`.
        attach_type: u32,
        /// The function's id in the module's BTF, counted on from that of vmlinux.
        btf_id: u32,
        /// The module's BTF object; `None` for the kernel itself.
        btf: Option<BorrowedFd<'a>>,
    },
    /// A perf event: which, is told when it is attached.
    Kprobe,
    /// Accesses to sysctls.
    CgroupSysctl,
}

/// Loads it.
///
/// # Errors
///
/// The kernel's; the verifier's log goes to the debug log.
pub fn load(program: &Program<'_>) -> io::Result<OwnedFd> {
    let first = try_load(program, 0, &mut []);
    let Err(error) = first else { return first };
    let mut log = vec![0_u8; LOG_BYTES];
    // Once more, for its reasons.
    if try_load(program, LOG_ALL, &mut log).is_err() {
        log::debug!("{}: {}", program.name, text(&log));
    }
    Err(error)
}

/// Loads it for the verifier's statistics only, and gives them back: `processed 123 insns (limit 1000000) …`.
///
/// # Errors
///
/// The kernel's.
pub fn statistics(program: &Program<'_>) -> io::Result<String> {
    let mut log = vec![0_u8; 4096];
    try_load(program, LOG_STATISTICS, &mut log)?;
    Ok(text(&log))
}

fn text(log: &[u8]) -> String {
    let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
    String::from_utf8_lossy(&log[..end]).into_owned()
}

fn try_load(program: &Program<'_>, level: u32, log: &mut [u8]) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    // SAFETY: all bytes of the union are zero, which is a valid value of each of its members.
    let load = unsafe { &mut attr.__bindgen_anon_3 };
    load.insns = program.instructions.as_ptr() as u64;
    load.insn_cnt = program.instructions.len() as u32;
    load.license = program.license.as_ptr() as u64;
    match program.kind {
        Kind::Tracing {
            attach_type,
            btf_id,
            btf,
        } => {
            load.prog_type = bpf_prog_type::BPF_PROG_TYPE_TRACING as u32;
            load.expected_attach_type = attach_type;
            load.attach_btf_id = btf_id;
            if let Some(btf) = btf {
                load.__bindgen_anon_1.attach_btf_obj_fd = btf.as_raw_fd() as u32;
            }
        }
        Kind::Kprobe => load.prog_type = bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32,
        Kind::CgroupSysctl => {
            load.prog_type = bpf_prog_type::BPF_PROG_TYPE_CGROUP_SYSCTL as u32;
            load.expected_attach_type = bpf_attach_type::BPF_CGROUP_SYSCTL as u32;
        }
    }
    for (to, from) in load.prog_name.iter_mut().zip(program.name.bytes().take(15)) {
        *to = from as _;
    }
    if !log.is_empty() {
        load.log_level = level;
        load.log_buf = log.as_mut_ptr() as u64;
        load.log_size = log.len() as u32;
    }
    descriptor(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// Attaches a loaded tracing program to its function; closing the result detaches it.
///
/// # Errors
///
/// The kernel's.
pub fn attach(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut attr = zeroed();
    attr.raw_tracepoint.prog_fd = program.as_raw_fd() as u32;
    descriptor(bpf_cmd::BPF_RAW_TRACEPOINT_OPEN, &mut attr)
}

/// The BTF object of a loaded module.
///
/// # Errors
///
/// The kernel's; `NotFound` when no such module has BTF, `PermissionDenied` without `CAP_SYS_ADMIN`.
pub fn module_btf(module: &str) -> io::Result<OwnedFd> {
    let mut id = 0;
    loop {
        let mut attr = zeroed();
        attr.__bindgen_anon_6.__bindgen_anon_1.start_id = id;
        match call(bpf_cmd::BPF_BTF_GET_NEXT_ID, &mut attr) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            other => other?,
        };
        // SAFETY: the kernel wrote it, and any number will do.
        id = unsafe { attr.__bindgen_anon_6.next_id };
        let mut attr = zeroed();
        attr.__bindgen_anon_6.__bindgen_anon_1.btf_id = id;
        // It may have gone meanwhile.
        let btf = match descriptor(bpf_cmd::BPF_BTF_GET_FD_BY_ID, &mut attr) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => continue,
            other => other?,
        };
        if name_of(&btf)?.as_bytes() == module.as_bytes() {
            return Ok(btf);
        }
    }
}

fn name_of(btf: &OwnedFd) -> io::Result<CString> {
    let mut name = [0_u8; 64];
    let mut info = bpf_btf_info {
        btf: 0,
        btf_size: 0,
        id: 0,
        name: name.as_mut_ptr() as u64,
        name_len: name.len() as u32,
        kernel_btf: 0,
    };
    let mut attr = zeroed();
    attr.info.bpf_fd = btf.as_raw_fd() as u32;
    attr.info.info = (&raw mut info) as u64;
    attr.info.info_len = size_of_val(&info) as u32;
    call(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
    // Programs' own BTF can bear any name; only the kernel's counts.
    Ok(if info.kernel_btf == 0 {
        CString::default()
    } else {
        name.to_owned()
    })
}

/// Writes the only value of an array map and makes the map read-only for good.
///
/// # Errors
///
/// The kernel's.
pub fn write_and_freeze(map: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
    let key = 0_u32;
    let mut attr = zeroed();
    // SAFETY: as in `try_load`.
    let update = unsafe { &mut attr.__bindgen_anon_2 };
    update.map_fd = map.as_raw_fd() as u32;
    update.key = (&raw const key) as u64;
    update.__bindgen_anon_1.value = value.as_ptr() as u64;
    call(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attr)?;
    let mut attr = zeroed();
    attr.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
    call(bpf_cmd::BPF_MAP_FREEZE, &mut attr).map(|_| ())
}

fn zeroed() -> bpf_attr {
    // SAFETY: integers and unions of them: zeroes are a valid value.
    unsafe { mem::zeroed() }
}

fn descriptor(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = call(command, attr)?;
    // SAFETY: these commands return a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn call(command: bpf_cmd, attr: &mut bpf_attr) -> io::Result<i64> {
    // SAFETY: the kernel reads and writes at most the length given; pointers in it are to live memory of the
    // lengths beside them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_mut(attr),
            size_of::<bpf_attr>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
