//! Configuration files that only the tracer sees: a private mount namespace over the machine's.
//!
//! The machine's own files are never touched. Folders that hold sysctl.d and udev rules are covered
//! by empty tmpfs mounts in the child, and the scenario's files are written there. A folder that
//! does not exist (in a VM) is made first; an empty folder is all that may stay behind.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// A file: path and content.
pub type FileSpec = (&'static str, &'static str);

/// The seed's sysctl file.
pub const SYSCTL_FILE: &str = "/etc/sysctl.d/10-network-security.conf";
/// The seed's udev rule file.
pub const UDEV_FILE: &str = "/usr/lib/udev/rules.d/99-systemd.rules";

/// The rule by which udev applies sysctl.d again for each new device; line 3 of its file.
pub const UDEV_RULES: &str = r#"# What udev does for new network devices
SUBSYSTEM=="tty", TAG+="systemd"
ACTION=="add", SUBSYSTEM=="net", KERNEL!="lo", RUN+="/lib/systemd/systemd-sysctl --prefix=/net/ipv4/conf/$name --prefix=/net/ipv4/neigh/$name --prefix=/net/ipv6/conf/$name --prefix=/net/ipv6/neigh/$name"
"#;

const COVERED: [&str; 6] = [
    "/etc/sysctl.d",
    "/run/sysctl.d",
    "/usr/local/lib/sysctl.d",
    "/usr/lib/sysctl.d",
    "/etc/udev/rules.d",
    "/usr/lib/udev/rules.d",
];

/// Makes `command` start in a mount namespace of its own with exactly these files.
pub fn cover(command: &mut Command, files: &[FileSpec]) -> Result<()> {
    let mut mounts = Vec::new();
    for folder in COVERED {
        // `/etc` must be writable for the file a fix brings along, so that folder is always there.
        let needed = folder == "/etc/sysctl.d" || files.iter().any(|(path, _)| in_(path, folder));
        if needed && !Path::new(folder).exists() {
            fs::create_dir_all(folder).with_context(|| format!("making {folder}"))?;
        }
        if Path::new(folder).exists() {
            mounts.push(CString::new(folder)?);
        }
    }
    let files = files.to_vec();
    // SAFETY: runs in the forked child before exec. It does allocate (paths), which glibc allows
    // after fork; it takes no lock that another thread of the parent could have held.
    unsafe {
        command.pre_exec(move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let none = None::<&str>;
            // Slave, not private: namespaces named later still appear below /run/netns.
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SLAVE, none)?;
            for folder in &mounts {
                mount(
                    Some("tmpfs"),
                    folder.as_c_str(),
                    Some("tmpfs"),
                    MsFlags::empty(),
                    Some("mode=755,size=1m"),
                )?;
            }
            for (path, content) in &files {
                write(path, content)?;
            }
            Ok(())
        });
    }
    Ok(())
}

/// Takes programs away from a command that was given files by [`cover`]: where they are looked for, no file is found.
pub fn hide(command: &mut Command, programs: &[&str]) -> Result<()> {
    let mut places = Vec::new();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    for folder in std::env::split_paths(&path).chain(usual) {
        for program in programs {
            // A link's other end may be hidden by another name already: once is enough.
            let Ok(path) = fs::canonicalize(folder.join(program)) else {
                continue;
            };
            let path = CString::new(path.into_os_string().into_encoded_bytes())?;
            if !places.contains(&path) {
                places.push(path);
            }
        }
    }
    // SAFETY: as above; it makes system calls only.
    unsafe {
        command.pre_exec(move || {
            for place in &places {
                let nothing = Some(c"/dev/null");
                mount(
                    nothing,
                    place.as_c_str(),
                    None::<&str>,
                    MsFlags::MS_BIND,
                    None::<&str>,
                )?;
            }
            Ok(())
        });
    }
    Ok(())
}

fn write(path: &str, content: &str) -> std::io::Result<()> {
    let mut file: File = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(path)?;
    file.write_all(content.as_bytes())
}

fn in_(path: &str, folder: &str) -> bool {
    Path::new(path).parent() == Some(Path::new(folder))
}
