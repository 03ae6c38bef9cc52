//! `cargo xtask build`: the static binaries, as they are shipped.
//!
//! They run in a bare initramfs and on any distribution: of this machine's architecture, or of another one that
//! there is a cross linker for.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use crate::setup::{self, Group};
use crate::sh;
use crate::toolchain::{Action, Toolchain};

/// Where the shipped binaries are.
pub struct Dist {
    /// The tracer.
    pub dropwatch: PathBuf,
    /// The scenario programs.
    pub tests: PathBuf,
}

/// Builds both binaries.
pub fn build() -> Result<Dist> {
    setup::ensure(&[Group::Build])?;
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    sh::run(
        sh::cargo()
            // It would win over RUSTFLAGS.
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .args(["build", "--release", "--target", &target])
            .args(["--package", "dropwatch", "--package", "dropwatch-tests"]),
    )?;
    let folder = sh::target_dir().join(target).join("release");
    Ok(Dist {
        dropwatch: folder.join("dropwatch"),
        tests: folder.join("dropwatch-tests"),
    })
}

/// Builds both for an architecture, by Rust's name.
pub fn build_for(arch: &str) -> Result<Dist> {
    if arch == std::env::consts::ARCH {
        build()
    } else {
        cross(arch)
    }
}

/// Builds both for another architecture, standard library included: nothing of it need be installed but a linker.
fn cross(arch: &str) -> Result<Dist> {
    setup::ensure(&[Group::Build])?;
    setup::ensure_cross(arch)?;
    let target = format!("{arch}-unknown-linux-gnu");
    let linker = format!(
        "CARGO_TARGET_{}_LINKER",
        target.to_uppercase().replace('-', "_")
    );
    let toolchain = Toolchain::detect().map_err(|e| anyhow!(e))?;
    let folder = sh::target_dir();
    sh::run(
        toolchain
            .cargo(Action::Build)
            .current_dir(sh::root())
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env(linker, format!("{arch}-linux-gnu-gcc"))
            .args(["--release", "-Zbuild-std=std,panic_abort"])
            .args(["--target", &target, "--target-dir"])
            .arg(&folder)
            .args(["--package", "dropwatch", "--package", "dropwatch-tests"]),
    )?;
    let folder = folder.join(target).join("release");
    Ok(Dist {
        dropwatch: folder.join("dropwatch"),
        tests: folder.join("dropwatch-tests"),
    })
}

/// The task: builds, and says what there is.
pub fn task(arch: &str) -> Result<()> {
    build_for(arch)?.tell()
}

impl Dist {
    /// Prints paths and sizes.
    pub fn tell(&self) -> Result<()> {
        for file in [&self.dropwatch, &self.tests] {
            let size = file.metadata()?.len();
            println!(
                "{} {:.2} MiB",
                file.display(),
                size as f64 / f64::from(1 << 20)
            );
        }
        Ok(())
    }
}
