//! `cargo xtask setup`: finds or installs what building and testing need.
//!
//! Presence is judged by the files themselves, so it is quick and quiet when nothing is missing.
//! Limits: installs on Debian and its kin only, and packages only as root; elsewhere it says what is
//! missing. It removes nothing and changes no configuration.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::sh;
use crate::toolchain::{self, Compiler};

/// The linker that goes with the compilers; newer ones may want a newer LLVM.
const LINKER_VERSION: &str = "0.13.0";
/// Versions of LLVM the linker can be built with, best first. It must not be older than the
/// compiler's, which is 22 in Rust 1.95 to 1.97.
const LLVM_MAJORS: &[u32] = &[22, 23];
/// How long rustup may try: without a network it can take minutes to give up.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(60);

/// What belongs together: a task asks only for the groups it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// Compiling all crates.
    Build,
    /// Formatting and linting all crates.
    Lint,
    /// Running scenarios on this kernel.
    Scenarios,
    /// Running them in virtual machines.
    Vm,
}

/// Something that must be there: a file's name in PATH or its full path, and Debian's package.
pub type Need = (&'static str, &'static str);

const BUILD: &[Need] = &[("cc", "gcc"), ("/usr/include/stdlib.h", "libc6-dev")];
const SCENARIOS: &[Need] = &[
    ("ip", "iproute2"),
    ("iptables-legacy", "iptables"),
    ("iptables-nft", "iptables"),
    ("ipvsadm", "ipvsadm"),
    ("modprobe", "kmod"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
    ("sysctl", "procps"),
    // Only its systemd-sysctl is run, against which the advised files must win.
    ("/lib/systemd/systemd-sysctl", "systemd"),
];
/// Debian's names: the architecture that Rust calls aarch64 is arm64 there.
const CROSS: &[Need] = &[
    ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    (
        "/usr/aarch64-linux-gnu/include/stdlib.h",
        "libc6-dev-arm64-cross",
    ),
];
const VM: &[Need] = &[
    ("busybox", "busybox-static"),
    ("depmod", "kmod"),
    ("dpkg-deb", "dpkg"),
    ("qemu-system-x86_64", "qemu-system-x86"),
];

/// Makes sure that the groups are complete; silent if they are.
pub fn ensure(groups: &[Group]) -> Result<()> {
    Setup { check: false }.groups(groups)
}

/// Makes sure that programs for another architecture can be linked.
pub fn ensure_cross(arch: &str) -> Result<()> {
    if arch != "aarch64" {
        bail!("no cross linker is known for {arch}");
    }
    ensure_needs(CROSS)
}

/// Makes sure that these are there.
pub fn ensure_needs(needs: &[Need]) -> Result<()> {
    Setup { check: false }.needs(needs)
}

/// The task: all groups, or those named; `check` only reports.
pub fn task(groups: &[Group], check: bool) -> Result<()> {
    let groups = if groups.is_empty() {
        Group::value_variants()
    } else {
        groups
    };
    Setup { check }.groups(groups)?;
    if let Some(compiler) = toolchain::find_compiler() {
        sh::say(format!("eBPF compiler: {compiler}"));
    }
    sh::say("nothing is missing");
    Ok(())
}

struct Setup {
    /// Report instead of installing.
    check: bool,
}

impl Setup {
    fn groups(&self, groups: &[Group]) -> Result<()> {
        let mut needs = Vec::new();
        for group in groups {
            needs.extend(match group {
                Group::Build => BUILD.to_vec(),
                Group::Scenarios => SCENARIOS.to_vec(),
                // The machines get their tools from this one.
                Group::Vm => [VM, SCENARIOS].concat(),
                Group::Lint => Vec::new(),
            });
        }
        self.needs(&needs)?;
        if groups.contains(&Group::Build) || groups.contains(&Group::Lint) {
            self.compiler()?;
            self.linker()?;
        }
        if groups.contains(&Group::Lint) {
            self.linters()?;
        }
        Ok(())
    }

    fn needs(&self, needs: &[Need]) -> Result<()> {
        let missing = needs.iter().filter(|need| !is_there(need));
        let packages: BTreeSet<_> = missing.map(|(_, package)| *package).collect();
        self.install(&packages.into_iter().collect::<Vec<_>>())?;
        if let Some((name, package)) = needs.iter().find(|need| !is_there(need)) {
            bail!("{name} is not there although {package} is installed");
        }
        Ok(())
    }

    fn compiler(&self) -> Result<()> {
        if toolchain::find_compiler().is_some() {
            return Ok(());
        }
        if self.check {
            bail!("missing: a nightly Rust with rust-src, or Debian's rustc-web and rust-web-src");
        }
        if sh::which("rustup").is_some() && rustup_adds_nightly() {
            return Ok(());
        }
        self.install(&["rustc-web", "rust-web-src", "llvm-22-dev"])?;
        toolchain::find_compiler().context("the packages are there, but not a usable compiler")?;
        Ok(())
    }

    fn linker(&self) -> Result<()> {
        if toolchain::find_linker().is_some() {
            return Ok(());
        }
        if self.check {
            bail!("missing: bpf-linker {LINKER_VERSION}");
        }
        let major = match best_llvm() {
            Some(major) => major,
            // A ready-made one is quicker, where the program that fetches such is at hand.
            None if binstall() => return Ok(()),
            None => {
                self.install(&["llvm-22-dev"])
                    .context("bpf-linker needs the files of LLVM 22")?;
                best_llvm().context("the packages are there, but not a usable LLVM")?
            }
        };
        sh::say(format!(
            "installing bpf-linker {LINKER_VERSION} with cargo, one or two minutes"
        ));
        sh::run(
            sh::cargo()
                .args([
                    "install",
                    "--quiet",
                    "bpf-linker",
                    "--version",
                    LINKER_VERSION,
                ])
                .args([
                    "--no-default-features",
                    "--features",
                    &format!("llvm-{major}"),
                ])
                // It would take the first llvm-config in PATH, of whatever version.
                .env("LLVM_PREFIX", llvm(major))
                // What is meant for this project is none of the linker's business.
                .env_remove("CARGO_TARGET_DIR")
                .env_remove("RUSTFLAGS"),
        )
    }

    fn linters(&self) -> Result<()> {
        for component in ["rustfmt", "clippy"] {
            let name = if component == "rustfmt" {
                "cargo-fmt"
            } else {
                "cargo-clippy"
            };
            // rustup's proxy for a missing component exists, but fails.
            let works = sh::which(name)
                .is_some_and(|file| sh::capture(Command::new(file).arg("--version")).is_ok());
            if !works {
                if self.check {
                    bail!("missing: the Rust component {component}");
                }
                sh::run(Command::new("rustup").args(["component", "add", component]))?;
            }
        }
        let system = matches!(toolchain::find_compiler(), Some(Compiler::System(_)));
        if system && !Path::new("/usr/bin/clippy-driver").is_file() {
            self.install(&["rust-web-clippy"])?;
        }
        Ok(())
    }

    /// Installs Debian packages, or tells who can.
    fn install(&self, packages: &[&str]) -> Result<()> {
        if packages.is_empty() {
            return Ok(());
        }
        let list = packages.join(" ");
        if sh::which("apt-get").is_none() {
            bail!("missing, under the names Debian gives them: {list}");
        }
        if self.check {
            bail!("missing packages: {list}");
        }
        if !sh::is_root() {
            bail!("run as root: apt-get install --no-install-recommends {list}");
        }
        sh::say(format!("installing {list}"));
        if self.apt_install(packages).is_err() {
            // Package lists that are absent or out of date are the usual reason.
            sh::say("updating the package lists and trying again");
            sh::run(apt().args(["-qq", "update"]))?;
            self.apt_install(packages)?;
        }
        Ok(())
    }

    fn apt_install(&self, packages: &[&str]) -> Result<()> {
        sh::capture(
            apt()
                .args(["-qq", "-y", "--no-install-recommends", "install"])
                .args(packages),
        )?;
        Ok(())
    }
}

/// Where Debian and its kin have the files of an LLVM.
fn llvm(major: u32) -> String {
    format!("/usr/lib/llvm-{major}")
}

/// The best LLVM that programs can be built with here.
fn best_llvm() -> Option<u32> {
    LLVM_MAJORS
        .iter()
        .copied()
        .find(|m| Path::new(&llvm(*m)).join("include/llvm-c").exists())
}

/// Has cargo-binstall fetch the linker, if it is there.
fn binstall() -> bool {
    if sh::which("cargo-binstall").is_none() {
        return false;
    }
    sh::say(format!(
        "fetching bpf-linker {LINKER_VERSION} with cargo-binstall"
    ));
    let linker = format!("bpf-linker@{LINKER_VERSION}");
    sh::run(sh::cargo().args(["binstall", "--no-confirm", &linker])).is_ok()
}

/// apt-get that asks nothing, not even where the program prefers a dialogue.
pub fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Whether a needed file exists.
fn is_there((name, _): &Need) -> bool {
    match name.starts_with('/') {
        true => Path::new(name).exists(),
        false => sh::which(name).is_some(),
    }
}

/// Has rustup add nightly with its sources, within reason.
fn rustup_adds_nightly() -> bool {
    sh::say("asking rustup for nightly with rust-src, up to a minute");
    let start = Instant::now();
    let steps: [&[&str]; 2] = [
        &[
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
            "--component",
            "clippy",
        ],
        &["component", "add", "rust-src", "--toolchain", "nightly"],
    ];
    let has_nightly = sh::capture(Command::new("rustup").args(["toolchain", "list"]))
        .is_ok_and(|list| list.lines().any(|l| l.starts_with("nightly")));
    for step in &steps[usize::from(has_nightly)..] {
        if !within(
            Command::new("rustup").args(*step),
            RUSTUP_PATIENCE.saturating_sub(start.elapsed()),
        ) {
            sh::say("rustup cannot: taking the distribution's compiler");
            return false;
        }
    }
    toolchain::find_compiler().is_some()
}

/// Whether the command succeeds within the time; it is ended when the time is over.
fn within(command: &mut Command, time: Duration) -> bool {
    let Ok(mut child) = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
    else {
        return false;
    };
    let end = Instant::now() + time;
    while Instant::now() < end {
        match child.try_wait() {
            Ok(None) => thread::sleep(Duration::from_millis(50)),
            Ok(Some(status)) => return status.success(),
            Err(_) => break,
        }
    }
    // Both fail only if it has ended meanwhile.
    let _ = child.kill();
    let _ = child.wait();
    false
}
