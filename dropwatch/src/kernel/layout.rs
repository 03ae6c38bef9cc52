//! Turns this kernel's BTF into the globals of the eBPF object.

use anyhow::{Result, bail};
use dropwatch_common::{
    config::ABSENT,
    fields::{FIELD_COUNT, FIELDS, Field, FieldSpec},
};

use super::{btf::KernelBtf, builtin};

/// Offsets in the order of [`FIELDS`].
///
/// # Errors
///
/// When a member that the drop anchor needs is missing or has another size than the programs read.
pub fn offsets(btf: &KernelBtf) -> Result<[u32; FIELD_COUNT]> {
    let mut offsets = [ABSENT; FIELD_COUNT];
    for (slot, field) in offsets.iter_mut().zip(FIELDS) {
        *slot = offset(btf, field)?;
    }
    Ok(offsets)
}

/// Fills in the fields that vmlinux does not have, from what is known of kernels whose modules have no BTF.
pub fn complete_without_btf(offsets: &mut [u32; FIELD_COUNT], release: &str, arch: &str) {
    for (field, offset) in builtin::offsets(release, arch) {
        let slot = &mut offsets[*field as usize];
        if *slot == ABSENT {
            *slot = *offset;
        }
    }
}

/// Fills in the fields that vmlinux does not have, from a module's BTF.
pub fn complete(offsets: &mut [u32; FIELD_COUNT], module: &KernelBtf) {
    for (slot, field) in offsets.iter_mut().zip(FIELDS) {
        if *slot == ABSENT
            && let Some(found) = module.member(field.structure, field.member)
            && (found.size >= field.size || found.size == 0)
        {
            *slot = found.offset;
        }
    }
}

/// The members that programs on a module's functions cannot do without: what they report is made of them.
#[must_use]
pub fn needed_in(module: &str) -> &'static [Field] {
    match module {
        "ip_vs" => &[
            Field::ip_vs_conn_af,
            Field::ip_vs_conn_protocol,
            Field::ip_vs_conn_caddr,
            Field::ip_vs_conn_vaddr,
            Field::ip_vs_conn_daddr,
            Field::ip_vs_conn_cport,
            Field::ip_vs_conn_vport,
            Field::ip_vs_conn_dport,
            Field::ip_vs_conn_flags,
        ],
        _ => &[],
    }
}

/// The names of the members that are not known, of some.
#[must_use]
pub fn missing(offsets: &[u32; FIELD_COUNT], of: &[Field]) -> Vec<&'static str> {
    of.iter()
        .map(|field| *field as usize)
        .filter(|at| offsets[*at] == ABSENT)
        .map(|at| FIELDS[at].member)
        .collect()
}

fn offset(btf: &KernelBtf, field: &FieldSpec) -> Result<u32> {
    let FieldSpec {
        structure,
        member,
        size,
        required,
    } = *field;
    match btf.member(structure, member) {
        // Arrays are read element by element, so more than one element is fine.
        Some(found) if found.size >= size || found.size == 0 => Ok(found.offset),
        Some(found) if required => bail!(
            "this kernel's {structure}.{member} has {} bytes, expected {size}",
            found.size
        ),
        None if required => bail!("this kernel's BTF has no {structure}.{member}"),
        Some(_) | None => Ok(ABSENT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ipvs_needs_is_in_the_table_of_the_kernels_that_it_is_for() {
        let missing_on = |release, arch| {
            let mut offsets = [ABSENT; FIELD_COUNT];
            complete_without_btf(&mut offsets, release, arch);
            missing(&offsets, needed_in("ip_vs")).len()
        };
        assert_eq!(missing_on("5.10.0-46-amd64", "x86_64"), 0);
        assert_eq!(missing_on("5.10.0-46-arm64", "aarch64"), 9);
        assert_eq!(missing_on("6.12.0", "x86_64"), 9);
    }
}
