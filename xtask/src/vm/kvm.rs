//! Finds out whether KVM really runs a kernel: that the device exists proves nothing.
//!
//! Limits: one try, remembered until the host is started anew or the kernel changes.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::initramfs;
use super::kernel::Kernel;
use super::qemu::{Accel, Machine, Show};
use crate::sh;

/// Whether KVM really runs this kernel: the device alone proves nothing. Remembered until the host
/// or the kernel changes.
pub fn works(kernel: &Kernel) -> Result<bool> {
    const LINE: &str = "dropwatch-vm: alive";
    let here = kernel.arch.is_here();
    if !here
        || File::options()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_err()
    {
        return Ok(false);
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let cache = sh::cache_dir()?.join("kvm");
    fs::create_dir_all(&cache)?;
    let memory = cache.join(&kernel.release);
    if let Some((id, works)) = fs::read_to_string(&memory)
        .unwrap_or_default()
        .split_once(' ')
        && id == boot.trim()
    {
        return Ok(works == "works");
    }
    sh::say("trying whether KVM runs the kernel");
    let folder = cache.join(format!("probe.{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let initramfs = folder.join("initramfs");
    fs::write(&initramfs, initramfs::probe(LINE)?)?;
    let console = folder.join("console");
    let machine = Machine {
        kernel,
        initramfs: &initramfs,
        accel: Accel::Kvm,
        console: &console,
        results: Path::new("/dev/null"),
        show: Show::Nothing,
        silence: Duration::from_secs(8),
        limit: Duration::from_secs(15),
    };
    machine.run()?;
    let works = fs::read_to_string(console)
        .unwrap_or_default()
        .contains(LINE);
    fs::remove_dir_all(folder)?;
    fs::write(
        memory,
        format!("{} {}", boot.trim(), if works { "works" } else { "fails" }),
    )?;
    Ok(works)
}
