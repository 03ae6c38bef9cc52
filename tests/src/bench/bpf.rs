//! What the kernel knows of a process's BPF objects: ids, run counts, run times.
//!
//! Read from `/proc/PID/fdinfo`; whether an id is still alive is asked with `bpf(2)`. Run statistics
//! are only counted while `kernel.bpf_stats_enabled` is 1: [`Stats`] sets it and puts it back.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
const BPF_PROG_GET_FD_BY_ID: i64 = 13;
const BPF_LINK_GET_FD_BY_ID: i64 = 30;
const BPF_OBJ_GET_INFO_BY_FD: i64 = 15;

/// A kind of BPF object.
#[derive(Clone, Copy, Debug)]
pub enum Object {
    /// A program.
    Program,
    /// A link.
    Link,
}

/// The ids of objects that a process holds; `key` is `prog_id`, `link_id` or `map_id`.
pub fn ids(pid: u32, key: &str) -> Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    for text in fdinfo(pid)? {
        if let Some(id) = field(&text, key) {
            ids.insert(u32::try_from(id)?);
        }
    }
    Ok(ids)
}

/// Whether an object is still in the kernel.
pub fn exists(object: Object, id: u32) -> bool {
    open(object, id).is_some()
}

fn open(object: Object, id: u32) -> Option<OwnedFd> {
    let command = match object {
        Object::Program => BPF_PROG_GET_FD_BY_ID,
        Object::Link => BPF_LINK_GET_FD_BY_ID,
    };
    // `union bpf_attr` for these commands: id, next_id, open_flags.
    let attributes = [id, 0, 0, 0];
    // SAFETY: the kernel reads `size_of_val(&attributes)` bytes of a live array and writes nothing.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: a new descriptor that nobody else owns.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The name of a program.
fn name(id: u32) -> Option<String> {
    let program = open(Object::Program, id)?;
    // `struct bpf_prog_info` begins: type, id, tag[8], four words of lengths and pointers to
    // instructions, load time, uid, map count, map pointer; the name follows at byte 64.
    let mut info = [0_u8; 128];
    // `union bpf_attr`: bpf_fd, info_len, info (a pointer).
    let pointer = info.as_mut_ptr() as u64;
    let attributes = [
        u64::from(program.as_raw_fd().cast_unsigned()) | (info.len() as u64) << 32,
        pointer,
    ];
    // SAFETY: `attributes` is live and names a live buffer with its true length, which is all the
    // kernel writes to; its pointer fields are zero, so no other memory is asked for.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_OBJ_GET_INFO_BY_FD,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if result != 0 {
        return None;
    }
    let name: Vec<u8> = info[64..80]
        .iter()
        .copied()
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8(name).ok().filter(|name| !name.is_empty())
}

/// What one program did so far.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Its id.
    pub id: u32,
    /// Its name, cut to 15 characters by the kernel; its id where the kernel does not say.
    pub name: String,
    /// How often it ran.
    pub count: u64,
    /// How long it ran altogether.
    pub nanoseconds: u64,
}

/// Run statistics of all programs that a process holds.
pub fn runs(pid: u32) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for text in fdinfo(pid)? {
        let (Some(id), Some(count), Some(nanoseconds)) = (
            field(&text, "prog_id"),
            field(&text, "run_cnt"),
            field(&text, "run_time_ns"),
        ) else {
            continue; // a link also shows its program's id, without statistics
        };
        let id = u32::try_from(id)?;
        let run = Run {
            id,
            name: name(id).unwrap_or_else(|| id.to_string()),
            count,
            nanoseconds,
        };
        if runs.iter().all(|known| known.id != run.id) {
            runs.push(run);
        }
    }
    Ok(runs)
}

/// Keeps run statistics on; puts the setting back when dropped.
#[derive(Debug)]
pub struct Stats(String);

impl Stats {
    /// Turns them on.
    pub fn on() -> Result<Self> {
        let before = fs::read_to_string(STATS).with_context(|| format!("reading {STATS}"))?;
        fs::write(STATS, "1").with_context(|| format!("writing {STATS}"))?;
        Ok(Self(before))
    }
}

impl Drop for Stats {
    fn drop(&mut self) {
        let _ = fs::write(STATS, self.0.trim());
    }
}

fn fdinfo(pid: u32) -> Result<Vec<String>> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut texts = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))? {
        // Descriptors come and go while we look.
        texts.extend(fs::read_to_string(entry?.path()));
    }
    Ok(texts)
}

fn field(text: &str, key: &str) -> Option<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    value.trim().parse().ok()
}
