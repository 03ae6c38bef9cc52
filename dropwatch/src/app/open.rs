//! The way into the kernel: privileges, BTF, symbols, programs.

use std::thread;

use anyhow::{Context as _, Result};
use aya::Btf;

use crate::{
    attach::load::{self, Attached, Settings},
    exit::Failure,
    ingest::decode::{Decoder, Pending},
    kernel::{
        btf::{KernelBtf, vmlinux_path},
        caps,
        reasons::Reasons,
        symbols::Symbols,
    },
};

/// Reads BTF and attaches everything that this kernel offers.
///
/// # Errors
///
/// [`Failure::Permission`] and [`Failure::Unsupported`], when the drop anchor cannot be attached.
pub fn open(settings: &Settings) -> Result<(Attached, Decoder)> {
    let missing = caps::missing();
    if !missing.is_empty() {
        return Err(Failure::Permission.because(format!(
            "attaching eBPF programs needs {}: run as root, or give the binary these capabilities",
            missing.join(", ")
        )));
    }
    let path = vmlinux_path();
    if !path.exists() {
        return Err(Failure::Unsupported.because(format!(
            "{} is missing: a kernel with CONFIG_DEBUG_INFO_BTF=y is needed (5.10 or later)",
            path.display()
        )));
    }
    // Two readers of the same BTF: aya needs its own form to name functions to the kernel, and that form
    // does not give out structure members. Side by side they take as long as one. The same thread then
    // reads the symbols: nobody waits for them before the first drop.
    let symbols = Pending::default();
    let (parsed, theirs) = std::sync::mpsc::channel();
    {
        let (path, symbols) = (path.clone(), Pending::clone(&symbols));
        thread::spawn(move || {
            // Nobody listens when our own reading of BTF failed first.
            let _ = parsed.send(Btf::parse_file(path, aya::Endianness::default()));
            let _ = symbols.set(Symbols::read());
        });
    }
    let btf = KernelBtf::open(&path).map_err(|e| Failure::Unsupported.because(format!("{e:#}")))?;
    let reasons = Reasons::from_btf(&btf);
    // While the other thread is still parsing.
    let prepared = load::prepare(&btf, &reasons, settings)?;
    log::debug!("BTF mapped, everything looked up");
    let aya_btf = theirs
        .recv()
        .context("the thread that parses BTF failed")?
        .map_err(|e| Failure::Unsupported.because(format!("{}: {e}", path.display())))?;
    log::debug!("BTF parsed for the loader");
    let attached = load::attach(&btf, &aya_btf, prepared, settings)?;
    log::debug!("attached");
    Ok((attached, Decoder::new(reasons, symbols)))
}
