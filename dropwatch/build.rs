//! Compiles the eBPF crate and leaves its object in `OUT_DIR/dropwatch-ebpf.o`.
//!
//! Purpose: plain `cargo build` makes a complete binary. Limits: the toolchain for it is found, never
//! installed; if it is missing, the build stops with the command that installs it.

#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use toolchain::{Action, Toolchain};

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let root = manifest
        .parent()
        .ok_or("the package has no parent folder")?;
    for input in [
        "dropwatch-ebpf/src",
        "dropwatch-ebpf/Cargo.toml",
        "dropwatch-common/src",
        "dropwatch-common/Cargo.toml",
        "Cargo.toml",
        "Cargo.lock",
        "xtask/src/toolchain.rs",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }

    let target_dir = shared_target_dir(&out).join(&arch);
    let mut command = Toolchain::detect()?.command(Action::Build, root, &target_dir, &arch);
    let status = command
        .status()
        .map_err(|e| format!("cannot run {command:?}: {e}"))?;
    if !status.success() {
        return Err(format!("the eBPF crate does not build ({status})"));
    }
    let object = Toolchain::object(&target_dir);
    let embedded = out.join("dropwatch-ebpf.o");
    if strip(&object, &embedded).is_none() {
        fs::copy(&object, &embedded)
            .map_err(|e| format!("cannot copy {}: {e}", object.display()))?;
    }
    Ok(())
}

/// Copies the object without DWARF, four fifths of its size, which no loader reads; BTF stays.
///
/// Uses the objcopy that rustup's toolchains bring along. It saves space only: nothing is lost
/// where it is absent.
fn strip(from: &Path, to: &Path) -> Option<()> {
    let rustc = env::var_os("RUSTC")?;
    let host = env::var_os("HOST")?;
    let printed = Command::new(rustc)
        .args(["--print", "sysroot"])
        .output()
        .ok()?
        .stdout;
    let sysroot = PathBuf::from(String::from_utf8(printed).ok()?.trim());
    let objcopy = sysroot
        .join("lib/rustlib")
        .join(host)
        .join("bin/rust-objcopy");
    let done = Command::new(objcopy)
        // It looks for LLVM relative to a place that it is not in.
        .env("LD_LIBRARY_PATH", sysroot.join("lib"))
        .arg("--strip-debug")
        .args([from, to])
        .stderr(Stdio::null())
        .status()
        .ok()?;
    done.success().then_some(())
}

/// A folder for the eBPF build that all profiles of the outer build share, as the object is the same for all but
/// differs between processors, whose registers its probes read: `ebpf/ARCH` in cargo's target folder, or in `OUT_DIR` if that is not to be found.
fn shared_target_dir(out: &Path) -> PathBuf {
    let tagged = |folder: &Path| folder.join("CACHEDIR.TAG").is_file();
    // cargo tags the target folder and the folder of each named target in it: take the outer one.
    out.ancestors()
        .find(|a| tagged(a) && !a.parent().is_some_and(tagged))
        .unwrap_or(out)
        .join("ebpf")
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|e| format!("{name}: {e}"))
}
