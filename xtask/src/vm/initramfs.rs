//! Packs the file system that a virtual machine starts from.
//!
//! It comes in two archives, one after the other. The base has a userland's tools, their
//! libraries and the kernel's network modules; it is cached. The other has what changes with every
//! run: the shipped binaries, extra files and the command to run.
//! Limits: only tools that scenarios need; a real tool is never shadowed by busybox's.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::cpio::Archive;
use super::kernel::Kernel;
use super::modules;
use super::userland::Userland;
use crate::sh;

/// Tools that are copied, with their libraries.
const TOOLS: &[&str] = &[
    "bridge",
    "conntrack",
    "dash",
    "ip",
    "ipset",
    "ipvsadm",
    "kmod",
    "nc.openbsd",
    "nft",
    "nsenter",
    "ping",
    "setpriv",
    "ss",
    "sysctl",
    "tc",
    "tcpdump",
    "unshare",
    "xtables-legacy-multi",
    "xtables-nft-multi",
];
/// The tools without which scenarios cannot run; others are taken if they are there.
const NEEDED: &[&str] = &[
    "ip",
    "ipvsadm",
    "kmod",
    "nft",
    "nsenter",
    "ping",
    "sysctl",
    "unshare",
    "xtables-legacy-multi",
    "xtables-nft-multi",
];
/// Names under which one program is several.
const NAMES: &[(&str, &[&str])] = &[
    (
        "kmod",
        &["depmod", "insmod", "lsmod", "modinfo", "modprobe", "rmmod"],
    ),
    (
        "xtables-legacy-multi",
        &[
            "iptables-legacy",
            "iptables-legacy-save",
            "iptables-legacy-restore",
            "ip6tables-legacy",
            "ip6tables-legacy-save",
            "ip6tables-legacy-restore",
        ],
    ),
    (
        "xtables-nft-multi",
        &[
            "iptables",
            "iptables-save",
            "iptables-restore",
            "iptables-nft",
            "iptables-nft-save",
            "iptables-nft-restore",
            "ip6tables-nft",
            "ip6tables-nft-save",
            "ip6tables-nft-restore",
            "ip6tables",
            "ip6tables-save",
            "ip6tables-restore",
        ],
    ),
    ("nc.openbsd", &["nc"]),
];
/// Programs that are copied to the very place they have here, if they are there.
const IN_PLACE: &[&str] = &["/usr/lib/systemd/systemd-sysctl"];
/// Small tables that tools read names from.
const TABLES: &[&str] = &["/etc/protocols", "/etc/services", "/etc/iproute2"];
const INIT: &str = include_str!("init.sh");
/// To be raised when what is packed changes without a change of the lists above.
const VERSION: u32 = 2;

/// The base archive for a kernel, packed if it is not in the cache.
pub fn base(kernel: &Kernel, userland: &Userland) -> Result<PathBuf> {
    let folder = sh::cache_dir()?.join("initramfs");
    let file = folder.join(format!(
        "{}-{:016x}.cpio",
        kernel.release,
        key(kernel, userland)
    ));
    if file.is_file() {
        return Ok(file);
    }
    sh::say(format!(
        "packing the base file system for {}",
        kernel.release
    ));
    let mut archive = Archive::default();
    skeleton(&mut archive);
    tools(&mut archive, userland)?;
    modules::add(&mut archive, kernel)?;
    fs::create_dir_all(&folder)?;
    let temporary = file.with_extension(format!("{}", std::process::id()));
    fs::write(&temporary, archive.bytes())?;
    // One base for each kernel is enough.
    for item in fs::read_dir(&folder)?.flatten() {
        let name = item.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&format!("{}-", kernel.release)) && name.ends_with(".cpio") {
            fs::remove_file(item.path())?;
        }
    }
    fs::rename(temporary, &file)?;
    Ok(file)
}

/// What the base depends on, in a number: the lists, the tools and the kernel's package.
fn key(kernel: &Kernel, userland: &Userland) -> u64 {
    let mut hasher = DefaultHasher::new();
    (
        VERSION,
        INIT,
        TOOLS,
        NAMES,
        TABLES,
        IN_PLACE,
        modules::WANTED,
    )
        .hash(&mut hasher);
    kernel.image.hash(&mut hasher);
    sh::stamp(&kernel.image).hash(&mut hasher);
    for tool in TOOLS.iter().chain(&["busybox"]) {
        userland
            .which(tool)
            .and_then(|file| sh::stamp(&file))
            .hash(&mut hasher);
    }
    // Libraries are not looked at one by one: whatever changes them changes this.
    sh::stamp(Path::new("/var/lib/dpkg/status")).hash(&mut hasher);
    hasher.finish()
}

fn skeleton(archive: &mut Archive) {
    for folder in [
        "dev",
        "etc",
        "data",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "usr/lib64",
        "var",
        "vm",
    ] {
        archive.folder(folder);
    }
    // One tree, whatever folder this machine has a file in.
    for (from, to) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/sbin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
    ] {
        archive.folder(to);
        archive.link(from, to);
    }
    archive.link("var/run", "/run");
    archive.link("etc/mtab", "/proc/self/mounts");
    archive.file(
        "etc/passwd",
        0o644,
        b"root:x:0:0:root:/root:/bin/sh\n".to_vec(),
    );
    archive.file("etc/group", 0o644, b"root:x:0:\n".to_vec());
    archive.file("etc/hosts", 0o644, b"127.0.0.1 localhost\n".to_vec());
    archive.file("init", 0o755, INIT.as_bytes().to_vec());
}

fn tools(archive: &mut Archive, userland: &Userland) -> Result<()> {
    let mut programs = Vec::new();
    for tool in TOOLS {
        let Some(file) = userland.which(tool) else {
            anyhow::ensure!(!NEEDED.contains(tool), "{tool} is not there");
            continue;
        };
        archive.copy(&file, &format!("usr/sbin/{tool}"))?;
        programs.push(file);
        for name in NAMES
            .iter()
            .filter(|(t, _)| t == tool)
            .flat_map(|(_, names)| *names)
        {
            archive.link(&format!("usr/sbin/{name}"), tool);
        }
    }
    for folder in userland.extensions() {
        let here = userland.file(&folder);
        archive.copy_tree(&here, &folder)?;
        programs.extend(fs::read_dir(here)?.flatten().map(|item| item.path()));
    }
    for path in IN_PLACE {
        // Packages are not all of one mind about /lib, which is a link to /usr/lib once they are installed.
        let places = [path, path.trim_start_matches("/usr")].map(|place| userland.file(place));
        if let Some(here) = places.into_iter().find(|file| file.is_file()) {
            archive.copy(&here, path)?;
            programs.push(here);
        }
    }
    for library in userland.libraries(&programs)? {
        archive.copy(&userland.file(&library), &in_one_tree(&library))?;
    }
    for table in TABLES.iter().map(Path::new) {
        let inside = table.to_string_lossy();
        if table.is_dir() {
            archive.copy_tree(table, &inside)?;
        } else if table.is_file() {
            archive.copy(table, &inside)?;
        }
    }

    let busybox = userland.which("busybox").context("busybox is not there")?;
    archive.copy(&busybox, "usr/bin/busybox")?;
    // busybox's own shell would run its applets before looking for real tools.
    let shell = if archive.contains("usr/sbin/dash") {
        "../sbin/dash"
    } else {
        "busybox"
    };
    archive.link("usr/bin/sh", shell);
    // This machine's own can be asked what it is able to do; another architecture's is packed the same way.
    for applet in sh::capture(Command::new("busybox").arg("--list"))?.lines() {
        if !archive.contains(&format!("usr/sbin/{applet}")) {
            archive.link(&format!("usr/lib/busybox/{applet}"), "/usr/bin/busybox");
        }
    }
    Ok(())
}

/// Where a file is in the archive, whose `/lib` is a link to `/usr/lib`.
fn in_one_tree(path: &str) -> String {
    if path.starts_with("/lib") {
        format!("/usr{path}")
    } else {
        path.to_owned()
    }
}

/// What a run adds to the base.
pub struct Extra<'a> {
    /// Programs, copied to `/usr/bin`.
    pub programs: Vec<&'a Path>,
    /// Files and folders, copied to `/data`.
    pub files: Vec<&'a Path>,
    /// The shell script to run.
    pub run: String,
}

/// Puts base and extra into one file, which the machine starts from.
pub fn combine(base: &Path, extra: &Extra<'_>, into: &Path) -> Result<()> {
    let mut archive = Archive::default();
    for program in &extra.programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        archive.copy(program, &format!("usr/bin/{name}"))?;
    }
    for file in &extra.files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let inside = format!("data/{name}");
        if file.is_dir() {
            archive.copy_tree(file, &inside)?;
        } else {
            archive.copy(file, &inside)?;
        }
    }
    archive.file("vm/run", 0o644, extra.run.clone().into_bytes());
    let mut all = fs::read(base)?;
    all.extend_from_slice(&archive.bytes());
    fs::write(into, all).with_context(|| format!("cannot write {}", into.display()))?;
    Ok(())
}

/// The smallest file system that shows a kernel to be running: it prints a line and powers off.
pub fn probe(line: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    let busybox = sh::which("busybox").context("busybox is not on this machine")?;
    archive.copy(&busybox, "bin/busybox")?;
    let script = format!("#!/bin/busybox sh\necho {line}\n/bin/busybox poweroff -f\n");
    archive.file("init", 0o755, script.into_bytes());
    Ok(archive.bytes())
}
