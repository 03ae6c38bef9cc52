//! How much the verifier had to do for each program.

use std::sync::PoisonError;

use crate::{
    attach::{info::fdinfo, load::Attached, spec::PROBES, spec::Variant},
    kernel::btf::{KernelBtf, vmlinux_path},
    model::coverage::ProbeStatus,
};

/// Instructions by the name of the program in the eBPF object.
pub type Insns = Vec<(String, Option<u64>)>;

/// As the kernel tells it (5.16 and later), or by having it verify the programs once more.
pub fn of(attached: &Attached) -> Insns {
    let told: Insns = attached
        .programs()
        .into_iter()
        .map(|(name, fd)| (name, fdinfo(fd, "verified_insns")))
        .collect();
    if told.iter().any(|(_, insns)| insns.is_some()) {
        return told;
    }
    let Ok(vmlinux) = KernelBtf::open(&vmlinux_path()) else {
        return told;
    };
    let verified = |status: &ProbeStatus| {
        let variant = variant(status)?;
        let late = attached.late.lock().unwrap_or_else(PoisonError::into_inner);
        let prepared = late.modules().prepare_without_btf(variant.module);
        let insns = prepared.and_then(|prepared| prepared.verified(variant, &vmlinux));
        if let Err(error) = &insns {
            log::debug!("{}: {error:#}", variant.program);
        }
        Some((variant.program.to_owned(), insns.ok()))
    };
    attached
        .coverage
        .probes
        .iter()
        .filter_map(verified)
        .collect()
}

/// The way that a probe is attached in.
pub fn variant(status: &ProbeStatus) -> Option<&'static Variant> {
    let probe = PROBES.iter().find(|probe| probe.name == status.probe)?;
    probe.variants.iter().find(|variant| {
        variant.target == status.symbol && status.flavour.as_deref() == Some(variant.flavour.name())
    })
}
