//! `cargo xtask fuzz`: feeds what reads input of others with anything, a minute each.
//!
//! The targets are in `tests/fuzz`, which says what each promises. They begin with the seeds there and, for captures, with
//! the replay fixtures; what they find out stays in `target/fuzz`, so that the next run goes on from there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::setup::{self, Group};
use crate::sh;

/// The version of cargo-fuzz that is installed where there is none.
const VERSION: &str = "0.13.1";

/// The targets, and the most bytes of an input: what is larger than the seeds finds nothing more, later.
const TARGETS: [(&str, u32); 4] = [
    ("wire", 1024),
    ("capture", 65536),
    ("rule_sets", 8192),
    ("boot_files", 4096),
];

/// What to run.
#[derive(clap::Args)]
pub struct Options {
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only these targets.
    #[arg(value_parser = TARGETS.map(|(name, _)| name))]
    targets: Vec<String>,
}

/// The task.
pub fn task(options: &Options) -> Result<()> {
    setup::task(&[Group::Build], false)?;
    let tool = tool()?;
    let wanted =
        |name: &str| options.targets.is_empty() || options.targets.iter().any(|t| t == name);
    for (target, most) in TARGETS.into_iter().filter(|(name, _)| wanted(name)) {
        let folder = sh::target_dir().join("fuzz").join(target);
        let (known, seeds) = (folder.join("known"), folder.join("seeds"));
        fs::create_dir_all(&known)?;
        sow(target, &seeds, u64::from(most))?;
        sh::say(format!("fuzz {target}: {} s", options.seconds));
        sh::run(
            nightly(&tool)
                .args(["run", "--fuzz-dir", "tests/fuzz", "--target-dir"])
                .arg(sh::target_dir().join("fuzz/build"))
                .arg(target)
                .args([&known, &seeds])
                .arg("--")
                .arg(format!("-max_total_time={}", options.seconds))
                .arg(format!("-max_len={most}"))
                .args(["-timeout=10", "-print_final_stats=1", "-verbosity=0"])
                .arg(format!("-artifact_prefix={}/", folder.display())),
        )
        .with_context(|| format!("{target}: the input is in {}", folder.display()))?;
    }
    Ok(())
}

/// cargo-fuzz with the compiler that has sanitizers.
fn nightly(tool: &Path) -> Command {
    let mut command = Command::new("rustup");
    command
        .current_dir(sh::root())
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTC")
        .args(["run", "nightly"])
        .arg(tool);
    command
}

/// Finds cargo-fuzz, or installs it beside the downloads.
fn tool() -> Result<PathBuf> {
    let nightly = Command::new("rustup")
        .args(["run", "nightly", "rustc", "--version"])
        .output()
        .is_ok_and(|out| out.status.success());
    if !nightly {
        bail!("fuzzing needs a nightly Rust: run `rustup toolchain install nightly`");
    }
    if let Some(tool) = sh::which("cargo-fuzz") {
        return Ok(tool);
    }
    let root = sh::cache_dir()?.join(format!("cargo-fuzz-{VERSION}"));
    let tool = root.join("bin/cargo-fuzz");
    if !tool.is_file() {
        sh::say(format!(
            "installing cargo-fuzz {VERSION} with cargo, a minute or two"
        ));
        sh::run(
            sh::cargo()
                .args([
                    "install",
                    "--quiet",
                    "--locked",
                    "cargo-fuzz",
                    "--version",
                    VERSION,
                    "--root",
                ])
                .arg(&root),
        )?;
    }
    Ok(tool)
}

/// Lays out the seeds: those of the target, and the recorded captures that are small enough.
fn sow(target: &str, seeds: &Path, most: u64) -> Result<()> {
    fs::create_dir_all(seeds)?;
    let mut from = vec![sh::root().join("tests/fuzz/seeds").join(target)];
    if target == "capture" {
        let kernels = fs::read_dir(sh::root().join("tests/fixtures/replay"))?;
        for kernel in kernels {
            from.push(kernel?.path());
        }
    }
    for folder in from.iter().filter(|folder| folder.is_dir()) {
        let within = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        for file in fs::read_dir(folder)? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            let is_seed = target != "capture" || name.ends_with(".jsonl");
            if is_seed && file.metadata()?.len() <= most {
                fs::copy(file.path(), seeds.join(format!("{within}-{name}")))?;
            }
        }
    }
    Ok(())
}
