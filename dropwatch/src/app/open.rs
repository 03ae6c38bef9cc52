//! The way into the kernel: privileges, BTF, symbols, programs.

use std::{fs::File, io::ErrorKind, path::Path, thread};

use anyhow::{Context as _, Result};
use aya::Btf;

use crate::{
    attach::load::{self, Attached, Settings},
    exit::{self, Failure},
    ingest::decode::Decoder,
    kernel::{
        btf::{KernelBtf, vmlinux_path},
        caps::Privileges,
        reasons::Reasons,
        symbols::Symbols,
    },
};

/// Reads BTF and attaches everything that this kernel offers. Another thread reads the symbols and gives them to `symbols`.
///
/// # Errors
///
/// [`Failure::Permission`] and [`Failure::Unsupported`], when the drop anchor cannot be attached.
pub fn open(
    settings: &Settings,
    symbols: impl FnOnce(Symbols) + Send + 'static,
) -> Result<(Attached, Decoder)> {
    permitted(&Privileges::own())?;
    let path = vmlinux_path();
    mounted(&path)?;
    // Two readers of the same BTF: aya needs its own form to name functions to the kernel, and that form
    // does not give out structure members. Side by side they take as long as one. The same thread then
    // reads the symbols: nobody waits for them before the first drop.
    let (parsed, theirs) = std::sync::mpsc::channel();
    {
        let path = path.clone();
        thread::spawn(move || {
            // Nobody listens when our own reading of BTF failed first.
            let _ = parsed.send(Btf::parse_file(path, aya::Endianness::default()));
            symbols(Symbols::read());
        });
    }
    let btf = KernelBtf::open(&path)
        .map_err(|e| exit::class(&e, Failure::Unsupported).because(format!("{e:#}")))?;
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
    Ok((attached, Decoder::new(reasons)))
}

/// Whether the kernel will let this process attach.
fn permitted(privileges: &Privileges) -> Result<()> {
    if privileges.in_user_namespace {
        return Err(Failure::Permission.because(
            "attaching eBPF programs needs capabilities outside of any user namespace, where this process is not: run as \
             root of the machine",
        ));
    }
    let missing = privileges.missing();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::Permission.because(format!(
        "attaching eBPF programs needs {}: run as root (with these as file capabilities it attaches, but cannot read rule \
         sets: `dropwatch doctor` says what else)",
        missing.join(", ")
    )))
}

/// Whether what is read all the time is there.
fn mounted(btf: &Path) -> Result<()> {
    if !Path::new("/proc/self").exists() {
        return Err(Failure::Unsupported.because("/proc is not mounted: facts are read from there"));
    }
    let Err(e) = File::open(btf) else {
        return Ok(());
    };
    if e.kind() != ErrorKind::NotFound {
        let error = anyhow::Error::new(e);
        return Err(exit::class(&error, Failure::Unsupported)
            .because(format!("{}: {error}", btf.display())));
    }
    if !Path::new("/sys/kernel").exists() {
        return Err(
            Failure::Unsupported.because("/sys is not mounted: the kernel's types are there")
        );
    }
    Err(Failure::Unsupported.because(format!(
        "{} is missing: a kernel with CONFIG_DEBUG_INFO_BTF=y is needed (5.10 or later)",
        btf.display()
    )))
}
