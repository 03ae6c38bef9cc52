//! Finds the toolchain that compiles the eBPF crate, and builds the commands that use it.
//!
//! Purpose: one place that knows how the eBPF crate is compiled. `dropwatch/build.rs` includes this
//! same file by path, so it uses the standard library only.
//!
//! Limits: it *detects*, it never installs anything (`cargo xtask setup` does). Two flavours are
//! known: a rustup nightly with `rust-src`, and a distribution's `/usr/bin/rustc` with its library
//! sources, told by `RUSTC_BOOTSTRAP` to accept the unstable flags that building `core` needs.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target of the eBPF crate.
pub const TARGET: &str = "bpfel-unknown-none";
/// The package that is built for [`TARGET`].
pub const PACKAGE: &str = "dropwatch-ebpf";
/// What to tell whoever lacks the toolchain.
const ADVICE: &str = "run `cargo xtask setup`";
/// Where distributions keep their compiler. Named in full, as rustup's proxies come first in PATH.
const SYSTEM_RUSTC: &str = "/usr/bin/rustc";
/// The oldest minor version of `rustc` 1.x that knows edition 2024.
const OLDEST_MINOR: u32 = 85;

/// Which compiler builds the eBPF crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// rustup's nightly, with the component `rust-src`.
    Nightly,
    /// The distribution's compiler with its library sources; the string is its version.
    System(String),
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nightly => f.write_str("rustup nightly with rust-src"),
            Self::System(version) => write!(f, "{SYSTEM_RUSTC} {version}"),
        }
    }
}

/// A complete toolchain for the eBPF crate.
#[derive(Debug, Clone)]
pub struct Toolchain {
    /// The compiler.
    pub compiler: Compiler,
    /// The linker, by its full path.
    pub linker: PathBuf,
}

/// What the command is to do with the crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Compile and link it.
    Build,
    /// Lint it, with warnings as errors.
    Clippy,
}

impl Toolchain {
    /// Finds a usable compiler and linker; the error is one line.
    pub fn detect() -> Result<Self, String> {
        let compiler = find_compiler()
            .ok_or_else(|| format!("no Rust compiler with library sources for eBPF: {ADVICE}"))?;
        let linker = find_linker().ok_or_else(|| format!("bpf-linker not found: {ADVICE}"))?;
        Ok(Self { compiler, linker })
    }

    /// cargo with this compiler, told to do something; it may build the standard library from its sources
    /// (`-Zbuild-std`), for targets whose compiled one nobody has installed.
    pub fn cargo(&self, action: Action) -> Command {
        match &self.compiler {
            Compiler::Nightly => {
                let mut c = clean(Command::new("rustup"));
                // rustup decides which cargo and rustc are meant, so nothing may decide before it.
                c.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN").args([
                    "run",
                    "nightly",
                    "cargo",
                    verb(action),
                ]);
                c
            }
            Compiler::System(_) => {
                let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
                let mut c = match action {
                    Action::Build => clean(Command::new(cargo)),
                    // This front end takes the clippy driver beside itself, which is the one
                    // that matches the compiler; rustup's would refuse the library sources.
                    Action::Clippy => {
                        let mut c = clean(Command::new("/usr/bin/cargo-clippy"));
                        c.env("CARGO", cargo);
                        c
                    }
                };
                c.env("RUSTC", SYSTEM_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1")
                    .arg(verb(action));
                c
            }
        }
    }

    /// The command that builds or lints the eBPF crate of the workspace at `root` into `target_dir`.
    ///
    /// `arch` is the architecture of the kernel that will run the programs (`x86_64`): it decides
    /// the layout of the registers that probes read.
    pub fn command(&self, action: Action, root: &Path, target_dir: &Path, arch: &str) -> Command {
        let mut command = self.cargo(action);
        command
            .current_dir(root)
            .args([
                "--release",
                "--package",
                PACKAGE,
                "-Zbuild-std=core",
                "--target",
                TARGET,
            ])
            .arg("--target-dir")
            .arg(target_dir)
            .env("PATH", self.path())
            .env(
                "RUSTFLAGS",
                // The debug information is what the linker makes the BTF of.
                format!("--cfg=bpf_target_arch=\"{arch}\" -C debuginfo=2 -C link-arg=--btf"),
            );
        if action == Action::Clippy {
            command.args(["--", "--deny", "warnings"]);
        }
        command
    }

    /// The object that [`Action::Build`] leaves in `target_dir`.
    pub fn object(target_dir: &Path) -> PathBuf {
        target_dir.join(TARGET).join("release").join(PACKAGE)
    }

    /// PATH with the linker's folder, as rustc looks the linker up by name.
    fn path(&self) -> OsString {
        let old = env::var_os("PATH").unwrap_or_default();
        let folder = self.linker.parent().unwrap_or(Path::new("/"));
        if env::split_paths(&old).any(|p| p == folder) {
            return old;
        }
        env::join_paths(env::split_paths(&old).chain([folder.to_path_buf()])).unwrap_or(old)
    }
}

/// cargo's word for an action.
fn verb(action: Action) -> &'static str {
    match action {
        Action::Build => "build",
        Action::Clippy => "clippy",
    }
}

/// Removes what an outer cargo says about *its* build, which would bend the inner one.
fn clean(mut command: Command) -> Command {
    const NAMES: &[&str] = &[
        "CARGO_BUILD_RUSTC",
        "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_RUSTC_WRAPPER",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CARGO_MAKEFLAGS",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_DIR",
        "CLIPPY_ARGS",
        "CLIPPY_CONF_DIR",
        "DEBUG",
        "HOST",
        "MAKEFLAGS",
        "MFLAGS",
        "NUM_JOBS",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTC",
        "RUSTC_LINKER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "TARGET",
    ];
    const PREFIXES: &[&str] = &[
        "CARGO_CFG_",
        "CARGO_FEATURE_",
        "CARGO_PKG_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_BPF",
    ];
    for name in NAMES {
        command.env_remove(name);
    }
    for (name, _) in env::vars_os() {
        if PREFIXES
            .iter()
            .any(|p| name.to_string_lossy().starts_with(p))
        {
            command.env_remove(name);
        }
    }
    command
}

/// The first flavour that is complete.
pub fn find_compiler() -> Option<Compiler> {
    if has_nightly_sources() {
        return Some(Compiler::Nightly);
    }
    system_version().map(Compiler::System)
}

/// Whether rustup has a nightly with library sources.
fn has_nightly_sources() -> bool {
    let mut command = clean(Command::new("rustup"));
    command
        .env_remove("RUSTUP_TOOLCHAIN")
        .args(["run", "nightly", "rustc", "--print", "sysroot"]);
    output(&mut command).is_some_and(|sysroot| has_sources(&sysroot))
}

/// The version of the distribution's compiler, if it is new enough and has library sources.
fn system_version() -> Option<String> {
    let sysroot = output(Command::new(SYSTEM_RUSTC).args(["--print", "sysroot"]))?;
    let version = output(Command::new(SYSTEM_RUSTC).arg("--version"))?;
    let version = version.split_whitespace().nth(1)?.to_owned();
    (has_sources(&sysroot) && is_new_enough(&version)).then_some(version)
}

/// Whether the version, `1.96.0` or `1.97.0-nightly`, can compile the crate.
fn is_new_enough(version: &str) -> bool {
    let mut parts = version.split('.').map(|p| p.parse::<u32>().unwrap_or(0));
    match (parts.next(), parts.next()) {
        (Some(1), Some(minor)) => minor >= OLDEST_MINOR,
        (Some(major), _) => major > 1,
        _ => false,
    }
}

fn has_sources(sysroot: &str) -> bool {
    Path::new(sysroot)
        .join("lib/rustlib/src/rust/library/core")
        .is_dir()
}

/// bpf-linker: in PATH, or where `cargo install` puts it.
pub fn find_linker() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = env::var_os("HOME").map(|h| PathBuf::from(h).join(".cargo"));
    env::split_paths(&path)
        .chain(
            [cargo_home, home]
                .into_iter()
                .flatten()
                .map(|c| c.join("bin")),
        )
        .map(|folder| folder.join("bpf-linker"))
        .find(|file| file.is_file())
}

/// What a command prints, trimmed; nothing if it cannot run or fails.
fn output(command: &mut Command) -> Option<String> {
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    out.status.success().then(|| text.trim().to_owned())
}
