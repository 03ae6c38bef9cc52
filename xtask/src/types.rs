//! `cargo xtask types`: takes the types and symbols of all kernels for the tests that need no kernel.
//!
//! The raw files of each are brought here from a virtual machine, and those of the running kernel, which must be one
//! without function hooks; a test of `tests/` trims them into `tests/fixtures/kernels/`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::vm::{self, Options};
use crate::{record, sh};

/// Collects the files into the folder that it is run in.
const COLLECT: &str = r#"
for module in nf_conntrack nfnetlink_queue ip_vs; do modprobe -q $module || true; done
for file in vmlinux nf_conntrack nfnetlink_queue ip_vs; do
    if [ -e /sys/kernel/btf/$file ]; then cat /sys/kernel/btf/$file > $file; fi
done
awk '$2 == "t" || $2 == "T" { print $3 }' /proc/kallsyms > symbols
uname -r > release
"#;

/// The task.
pub fn task() -> Result<()> {
    let raw = sh::target_dir().join("types");
    if raw.is_dir() {
        fs::remove_dir_all(&raw)?;
    }
    record::must_be_without_function_hooks()?;
    let here = raw.join(record::LOCAL);
    fs::create_dir_all(&here)?;
    sh::run(Command::new("sh").args(["-ec", COLLECT]).current_dir(&here))?;
    for kernel in vm::kernel_names() {
        let options = Options::command(format!(
            "mkdir /tmp/types; cd /tmp/types; {COLLECT}\ntar -cz . > $RESULTS"
        ));
        let run = vm::run(kernel, &options)?;
        if let Some(fault) = run.fault {
            bail!("{kernel}: {fault}");
        }
        unpack(&vm::results(kernel), &raw.join(kernel))?;
    }
    let test = || {
        let mut test = sh::cargo();
        test.args(["test", "-p", "dropwatch-tests", "--test", "kernels"]);
        test
    };
    sh::run(
        test()
            .args(["--", "--ignored", "types_are_taken"])
            .env("DROPWATCH_TYPES", &raw),
    )?;
    sh::run(test().env("BLESS", "1"))
}

fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut tar = Command::new("tar");
    tar.arg("-xzf").arg(archive).arg("-C").arg(folder);
    sh::run(&mut tar).with_context(|| format!("unpacking {}", archive.display()))
}
