//! `cargo xtask build`: the static binaries, as they are shipped.
//!
//! They run in a bare initramfs and on any distribution. Limits: for the architecture of this
//! machine only.

use std::path::PathBuf;

use anyhow::Result;

use crate::setup::{self, Group};
use crate::sh;

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

/// The task: builds, and says what there is.
pub fn task() -> Result<()> {
    build()?.tell()
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
