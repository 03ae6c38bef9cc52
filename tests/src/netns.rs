//! Network namespaces: made by `ip netns`, entered by a thread or a child, removed by a guard.
//!
//! Names carry the pid of this run, so two runs do not meet and leftovers of a killed one can be
//! told apart and removed ([`remove_leftovers`]). Only the network namespace is changed: what runs
//! inside sees the same files and processes as its parent, as `ip netns exec` would show it minus
//! the remounted `/sys`.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sched::{CloneFlags, setns};

use crate::exec;

const DIRECTORY: &str = "/run/netns";
const PREFIX: &str = "dw-";

/// A network namespace that disappears when this value does.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
    inum: u64,
}

impl Netns {
    /// Creates `dw-ROLE-PID` with quiet defaults: no IPv6, no reverse-path filter, `lo` up.
    ///
    /// Which settings a new namespace inherits differs between kernels, so all are written.
    pub fn create(role: &str) -> Result<Self> {
        let name = format!("{PREFIX}{role}-{}", std::process::id());
        let _ = exec::output(Command::new("ip").args(["netns", "del", &name]));
        exec::output(Command::new("ip").args(["netns", "add", &name]))?;
        let path = path(&name);
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        let inum = file.metadata()?.ino();
        let netns = Self { name, file, inum };
        for conf in ["all", "default", "lo"] {
            netns.sysctl(&format!("net/ipv4/conf/{conf}/rp_filter"), "0")?;
        }
        for conf in ["all", "default"] {
            // Absent on kernels without IPv6: then there is nothing to silence.
            let _ = netns.sysctl(&format!("net/ipv6/conf/{conf}/disable_ipv6"), "1");
        }
        exec::ip_batch(&netns.name, "link set lo up\n")?;
        Ok(netns)
    }

    /// The name under `/run/netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace's inode number, its identity for the kernel.
    pub fn inum(&self) -> u64 {
        self.inum
    }

    /// Runs `work` on a thread of its own inside the namespace.
    ///
    /// Sockets that `work` returns stay in the namespace and can be used by any thread.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("entering {}", self.name))?;
                work()
            });
            thread
                .join()
                .map_err(|_| anyhow!("a thread inside {} panicked", self.name))?
        })
    }

    /// A command that will run inside the namespace.
    pub fn command(&self, program: impl AsRef<Path>) -> Result<Command> {
        let mut command = Command::new(program.as_ref());
        enter(
            &mut command,
            self.file.try_clone()?,
            CloneFlags::CLONE_NEWNET,
        );
        Ok(command)
    }

    /// Runs a command line (split at blanks) inside, returns its output.
    pub fn exec(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let program = words.next().context("empty command")?;
        exec::output(self.command(program)?.args(words))
            .with_context(|| format!("in {}", self.name))
    }

    /// Runs `ip` command lines inside, one per line.
    pub fn ip(&self, lines: &str) -> Result<()> {
        exec::ip_batch(&self.name, lines)
    }

    /// Writes a sysctl given as a path below `/proc/sys`.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.run(|| fs::write(&path, value).with_context(|| format!("writing {}", path.display())))
    }

    /// The index of a device inside.
    pub fn ifindex(&self, device: &str) -> Result<u32> {
        self.run(|| {
            nix::net::if_::if_nametoindex(device).with_context(|| format!("no device {device}"))
        })
    }

    /// A counter of `/proc/net/netstat` inside, such as `TcpExt` `IPReversePathFilter`.
    pub fn netstat(&self, section: &str, counter: &str) -> Result<u64> {
        self.counter("netstat", section, counter)
    }

    /// A counter of `/proc/net/snmp` inside, such as `Tcp` `OutRsts`.
    pub fn snmp(&self, section: &str, counter: &str) -> Result<u64> {
        self.counter("snmp", section, counter)
    }

    fn counter(&self, file: &str, section: &str, counter: &str) -> Result<u64> {
        // `/proc/net` follows the process; `thread-self` follows the thread that entered.
        let path = Path::new("/proc/thread-self/net").join(file);
        let text = self.run(|| Ok(fs::read_to_string(path)?))?;
        let prefix = format!("{section}:");
        let mut lines = text.lines().filter(|line| line.starts_with(&prefix));
        let (names, values) = (lines.next(), lines.next());
        let (names, values) = names
            .zip(values)
            .with_context(|| format!("no section {section} in {file}"))?;
        let mut pairs = names.split_whitespace().zip(values.split_whitespace());
        let (_, value) = pairs
            .find(|(name, _)| *name == counter)
            .with_context(|| format!("no {counter}"))?;
        Ok(value.parse()?)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = exec::output(Command::new("ip").args(["netns", "del", &self.name]));
    }
}

/// Makes `command` join a namespace before it starts.
pub fn enter(command: &mut Command, namespace: File, flags: CloneFlags) {
    // SAFETY: the closure runs in the forked child and makes one system call on a descriptor it
    // owns; it neither allocates nor takes locks.
    unsafe {
        command.pre_exec(move || Ok(setns(namespace.as_fd(), flags)?));
    }
}

/// Removes namespaces whose run is no longer alive; returns how many.
pub fn remove_leftovers() -> Result<usize> {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return Ok(0); // no namespace was ever named on this machine
    };
    let mut removed = 0;
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let Some(pid) = rest
            .rsplit('-')
            .next()
            .and_then(|pid| pid.parse::<u32>().ok())
        else {
            continue;
        };
        if !Path::new(&format!("/proc/{pid}")).exists() {
            exec::output(Command::new("ip").args(["netns", "del", &name]))?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Fails unless namespaces can be made here.
pub fn require_root() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "this needs root: it makes network namespaces"
    );
    Ok(())
}

fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}
