//! Chooses the kernel modules that a virtual machine can load.
//!
//! All of networking, so that a rule or a link type loads what it needs by itself, as on a host.
//! Limits: no hardware drivers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result};

use super::cpio::Archive;
use super::kernel::{self, Kernel};
use crate::sh;

/// What is taken of the kernel's modules, below `kernel/`; what these depend on comes along.
/// A name ending in a slash is a folder with all below it.
pub const WANTED: &[&str] = &[
    // Algorithms are asked for by alias at run time: no dependency names them.
    "arch/arm64/crypto/",
    "arch/x86/crypto/",
    "crypto/",
    "lib/",
    "net/",
    "drivers/net/bonding/",
    "drivers/net/dummy.ko",
    "drivers/net/geneve.ko",
    "drivers/net/ifb.ko",
    "drivers/net/ipvlan/",
    "drivers/net/macvlan.ko",
    "drivers/net/macvtap.ko",
    "drivers/net/nlmon.ko",
    "drivers/net/tap.ko",
    "drivers/net/team/",
    "drivers/net/tun.ko",
    "drivers/net/veth.ko",
    "drivers/net/virtio_net.ko",
    "drivers/net/vrf.ko",
    "drivers/net/vxlan/",
    "drivers/net/wireguard/",
];
/// Adds the modules and the tables that `modprobe` reads.
pub fn add(archive: &mut Archive, kernel: &Kernel) -> Result<()> {
    let inside = format!("lib/modules/{}", kernel.release);
    let from = kernel.modules.join(&inside);
    let table = fs::read_to_string(from.join("modules.dep"))?;
    // Each line: "module: what it needs, directly or not".
    let needs: BTreeMap<&str, &str> = table.lines().filter_map(|l| l.split_once(':')).collect();
    let mut wanted = BTreeSet::new();
    for (module, needed) in &needs {
        let name = module.strip_prefix("kernel/").unwrap_or(module);
        if WANTED.iter().any(|m| name.starts_with(m)) {
            wanted.insert(*module);
            wanted.extend(needed.split_whitespace());
        }
    }

    // depmod works on folders, so the ones that are packed need a folder of their own for a moment.
    let temporary = sh::cache_dir()?.join(format!("modules.{}", std::process::id()));
    let to = temporary.join(&inside);
    fs::create_dir_all(&to)?;
    for file in wanted.into_iter().chain([
        "modules.builtin",
        "modules.builtin.modinfo",
        "modules.order",
    ]) {
        if let Some(folder) = to.join(file).parent() {
            fs::create_dir_all(folder)?;
        }
        fs::hard_link(from.join(file), to.join(file))
            .with_context(|| format!("cannot link {file}"))?;
    }
    sh::run(
        kernel::depmod()
            .arg("-b")
            .arg(&temporary)
            .arg(&kernel.release),
    )?;
    archive.copy_tree(&to, &format!("usr/{inside}"))?;
    fs::remove_dir_all(temporary)?;
    Ok(())
}
