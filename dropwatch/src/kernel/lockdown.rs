//! How far the kernel is locked down against root (Documentation/admin-guide/kernel-parameters.txt, `lockdown=`).

use std::fs;

/// Where it says so, once securityfs is mounted (5.4 and later).
const FILE: &str = "/sys/kernel/security/lockdown";

/// The levels that make a difference to tracing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// Nothing is refused.
    None,
    /// The kernel cannot be changed: tracing is not touched by that.
    Integrity,
    /// Nor can its memory be read: no `bpf_probe_read_kernel`, no kprobes.
    Confidentiality,
    /// It does not say: not built in, or securityfs is not mounted.
    Unknown,
}

/// The running kernel's level.
#[must_use]
pub fn level() -> Lockdown {
    fs::read_to_string(FILE).map_or(Lockdown::Unknown, |text| parse(&text))
}

/// `none [integrity] confidentiality`: the one in brackets.
fn parse(text: &str) -> Lockdown {
    let chosen = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    match chosen.map(|(level, _)| level) {
        Some("none") => Lockdown::None,
        Some("integrity") => Lockdown::Integrity,
        Some("confidentiality") => Lockdown::Confidentiality,
        _ => Lockdown::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_in_brackets_counts() {
        assert_eq!(parse("[none] integrity confidentiality\n"), Lockdown::None);
        assert_eq!(
            parse("none integrity [confidentiality]\n"),
            Lockdown::Confidentiality
        );
        assert_eq!(parse(""), Lockdown::Unknown);
    }
}
