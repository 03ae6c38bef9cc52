//! Offsets of members that no BTF of the running kernel has: those of modules, before modules had BTF.
//!
//! Limits: kernels before 5.11, of which 5.10 is the only one that dropwatch supports.

use dropwatch_common::fields::Field;

/// The kernels that the numbers are of, by the beginning of their release.
const SERIES: &str = "5.10.";

/// `struct ip_vs_conn` (include/net/ip_vs.h, v5.10): compiled with Debian's configuration for amd64. Larger locks or
/// timers move `fwmark`: those of kernels with real-time patches, and of kernels built for debugging locks.
const OFFSETS: &[(Field, u32)] = &[
    (Field::ip_vs_conn_af, 22),
    (Field::ip_vs_conn_protocol, 76),
    (Field::ip_vs_conn_caddr, 24),
    (Field::ip_vs_conn_vaddr, 40),
    (Field::ip_vs_conn_daddr, 56),
    (Field::ip_vs_conn_cport, 16),
    (Field::ip_vs_conn_vport, 20),
    (Field::ip_vs_conn_dport, 18),
    (Field::ip_vs_conn_flags, 72),
    (Field::ip_vs_conn_fwmark, 152),
];

/// The known offsets for a kernel of this release (`uname -r`) and processor; none for others.
#[must_use]
pub fn offsets(release: &str, arch: &str) -> &'static [(Field, u32)] {
    let real_time = release.contains("-rt");
    if release.starts_with(SERIES) && arch == "x86_64" && !real_time {
        OFFSETS
    } else {
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_only_to_the_kernels_that_they_are_of() {
        assert!(!offsets("5.10.0-46-amd64", "x86_64").is_empty());
        assert!(offsets("5.10.0-46-arm64", "aarch64").is_empty());
        assert!(offsets("5.101.0", "x86_64").is_empty());
        assert!(offsets("5.10.0-46-rt-amd64", "x86_64").is_empty());
        assert!(offsets("6.1.0-47-amd64", "x86_64").is_empty());
    }
}
