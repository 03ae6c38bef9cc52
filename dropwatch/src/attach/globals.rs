//! The read-only globals of the eBPF object: offsets, settings, the device filter.

use anyhow::Result;
use dropwatch_common::{
    config::{ABSENT, DEV_WORDS, SYSCTLS, word},
    fields::FIELD_COUNT,
};

use super::{load::Settings, plan::Step, spec::REFUSAL};
use crate::{
    exit::Failure,
    kernel::{btf::KernelBtf, caps, layout, reasons::Reasons},
    model::coverage::at_least,
};

/// Their values.
#[derive(Clone)]
pub struct Globals {
    /// See [`dropwatch_common::names::OFFSETS`].
    pub offsets: [u32; FIELD_COUNT],
    /// See [`dropwatch_common::names::CONFIG`].
    pub config: [u32; word::COUNT],
    /// See [`dropwatch_common::names::DEV_FILTER`].
    pub dev: [u64; DEV_WORDS],
    /// See [`dropwatch_common::names::SYSCTLS`].
    pub sysctls: [[u64; 2]; SYSCTLS],
}

impl Globals {
    /// For this kernel, these settings and this plan.
    ///
    /// # Errors
    ///
    /// [`Failure::Unsupported`] when a member that the drop anchor needs is not there.
    pub fn new(
        btf: &KernelBtf,
        reasons: &Reasons,
        settings: &Settings,
        steps: &[Step],
    ) -> Result<Self> {
        let offsets =
            layout::offsets(btf).map_err(|e| Failure::Unsupported.because(format!("{e:#}")))?;
        let planned = |probe: &str| {
            steps
                .iter()
                .any(|s| s.probe.name == probe && s.is_possible())
        };
        let number = |name: &str| reasons.number(name).unwrap_or(ABSENT);
        let mut config = [0u32; word::COUNT];
        config[word::KFREE_SKB_ARGS] = btf.tracepoint_args("kfree_skb").unwrap_or(2);
        config[word::BUDGET] = settings.budget;
        config[word::NETNS] = settings.netns.unwrap_or(0);
        config[word::DEV] = settings.dev.is_some().into();
        config[word::REASON_RPFILTER] = number("IP_RPFILTER");
        config[word::REASON_LOCAL_SOURCE] = number("IP_LOCAL_SOURCE");
        config[word::REASON_INVALID_SOURCE] = number("IP_INVALID_SOURCE");
        config[word::REASON_NETFILTER_DROP] = number("NETFILTER_DROP");
        config[word::REASON_NOT_SPECIFIED] = number("NOT_SPECIFIED");
        config[word::NESTS] = nests(&caps::release()).into();
        config[word::STASH] = planned(REFUSAL.name).into();
        Ok(Self {
            offsets,
            config,
            dev: dev_filter(settings.dev.as_deref().unwrap_or_default()),
            sysctls: names(&settings.sysctls),
        })
    }
}

/// Whether a program on a raw tracepoint may interrupt itself: 05b24ff9b2cf ("bpf: Prevent bpf program recursion for raw
/// tracepoint probes"), v6.1, keeps it from that; those on BTF are kept from it since 5.12.
fn nests(release: &str) -> bool {
    !at_least(release, [6, 1])
}

/// Name and mask as four words: see [`dropwatch_common::config::DEV_WORDS`].
fn dev_filter(pattern: &str) -> [u64; DEV_WORDS] {
    let (name, prefix) = match pattern.strip_suffix('*') {
        Some(name) => (name, true),
        None => (pattern, false),
    };
    let mut mask = [0u8; 16];
    let len = name.len().min(15);
    // The NUL behind an exact name counts too.
    mask[..if prefix { len } else { len + 1 }].fill(0xff);
    let ([first, second], [mask_first, mask_second]) = (padded(name), words(mask));
    [first, second, mask_first, mask_second]
}

/// Names of sysctls as words: see [`dropwatch_common::config::SYSCTLS`].
fn names(sysctls: &[&str]) -> [[u64; 2]; SYSCTLS] {
    let mut all = [[0; 2]; SYSCTLS];
    for (place, name) in all.iter_mut().zip(sysctls) {
        *place = padded(name);
    }
    all
}

/// A name of 15 bytes at most, with NULs behind.
fn padded(name: &str) -> [u64; 2] {
    let mut bytes = [0u8; 16];
    let len = name.len().min(15);
    bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
    words(bytes)
}

fn words(bytes: [u8; 16]) -> [u64; 2] {
    let word = |at: usize| {
        let mut eight = [0u8; 8];
        eight.copy_from_slice(&bytes[at..at + 8]);
        u64::from_ne_bytes(eight)
    };
    [word(0), word(8)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exact_name_ends_with_its_nul_and_a_prefix_does_not() {
        let exact = dev_filter("eth0");
        assert_eq!(exact[0].to_ne_bytes(), *b"eth0\0\0\0\0");
        assert_eq!(
            exact[2].to_ne_bytes(),
            [0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]
        );
        let prefix = dev_filter("lxc*");
        assert_eq!(prefix[2].to_ne_bytes(), [0xff, 0xff, 0xff, 0, 0, 0, 0, 0]);
        let longest = dev_filter("abcdefghijklmno");
        assert_eq!(longest[3], u64::MAX);
    }
}
