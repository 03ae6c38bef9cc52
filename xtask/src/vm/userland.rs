//! The programs that a machine is given: this machine's own, or Debian's for another architecture.
//!
//! The latter are packages, unpacked into the cache: nothing is installed. Limits: a program of another architecture
//! cannot be asked which libraries it loads, so all that came with the packages go along.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::arch::Arch;
use super::archive::{self, Archive};
use crate::sh;

/// What has the tools; what these depend on comes along.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "conntrack",
    "dash",
    "ipset",
    "iproute2",
    "iptables",
    "iputils-ping",
    "ipvsadm",
    "kmod",
    "netcat-openbsd",
    "nftables",
    "procps",
    "systemd",
    "tcpdump",
    "util-linux",
];
/// Where packages have programs.
const PROGRAMS: &[&str] = &["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A tree of programs and libraries.
pub struct Userland {
    /// What its paths are below.
    root: PathBuf,
    arch: &'static Arch,
}

impl Userland {
    /// That of an architecture, downloaded and unpacked if it is neither this machine's nor in the cache.
    pub fn of(arch: &'static Arch) -> Result<Self> {
        if arch.is_here() {
            let root = PathBuf::from("/");
            return Ok(Self { root, arch });
        }
        let mut hasher = DefaultHasher::new();
        PACKAGES.hash(&mut hasher);
        let root = sh::cache_dir()?.join("userland").join(format!(
            "{}-{:016x}",
            arch.debian,
            hasher.finish()
        ));
        if !root.is_dir() {
            let archive = Archive::open(arch)?.context("there is no apt-get to download with")?;
            sh::say(format!("downloading Debian's tools for {}", arch.debian));
            let packages = archive.download_whole(PACKAGES)?;
            archive::make_whole(&root, |part| {
                packages
                    .iter()
                    .try_for_each(|deb| archive::unpack(deb, part))
            })?;
        }
        Ok(Self { root, arch })
    }

    /// Where a file of it is on this machine. Links are followed inside: an absolute one would lead out.
    pub fn file(&self, path: &str) -> PathBuf {
        let mut file = self.root.join(path.trim_start_matches('/'));
        while let Ok(to) = file.read_link()
            && let Ok(inside) = to.strip_prefix("/")
        {
            file = self.root.join(inside);
        }
        file
    }

    /// The file of a program.
    pub fn which(&self, program: &str) -> Option<PathBuf> {
        if self.arch.is_here() {
            return sh::which(program);
        }
        let mut files = PROGRAMS
            .iter()
            .map(|folder| self.file(&format!("{folder}/{program}")));
        files.find(|file| file.is_file())
    }

    /// The libraries that these programs and libraries load, by the paths they load them from.
    pub fn libraries(&self, files: &[PathBuf]) -> Result<BTreeSet<String>> {
        if self.arch.is_here() {
            return Ok(files.iter().flat_map(|file| loaded_by(file)).collect());
        }
        let triplet = format!("{}-linux-gnu", self.arch.rust);
        let mut libraries = BTreeSet::new();
        for top in ["/lib", "/usr/lib"] {
            for folder in ["", &triplet, "systemd"] {
                let folder = Path::new(top).join(folder).to_string_lossy().into_owned();
                for item in fs::read_dir(self.file(&folder)).into_iter().flatten() {
                    let name = item?.file_name().to_string_lossy().into_owned();
                    let path = format!("{}/{name}", folder.trim_end_matches('/'));
                    if name.contains(".so") && self.file(&path).is_file() {
                        libraries.insert(path);
                    }
                }
            }
        }
        Ok(libraries)
    }

    /// The folders that have extensions of iptables.
    pub fn extensions(&self) -> Vec<String> {
        let own = format!("/usr/lib/{}-linux-gnu/xtables", self.arch.rust);
        let mut folders = vec![own, "/usr/lib64/xtables".to_owned()];
        folders.retain(|folder| self.file(folder).is_dir());
        folders
    }
}

/// The libraries that a program or library of this machine loads; none if it is static.
fn loaded_by(file: &Path) -> Vec<String> {
    let listed = sh::capture(Command::new("ldd").arg(file)).unwrap_or_default();
    // "name => /path (address)", or "/path (address)" for the loader.
    listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(str::to_owned)
        .collect()
}
