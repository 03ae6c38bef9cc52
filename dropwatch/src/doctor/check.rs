//! What is looked at on the machine, and what to do when it is not as it should be.

use std::{fs, path::Path};

use serde::Serialize;

use crate::{
    attach::spec::PROBES,
    facts::reader::child::find,
    kernel::{
        btf::{KernelBtf, vmlinux_path},
        caps,
        lockdown::{self, Lockdown},
        reasons::Reasons,
        symbols::Symbols,
    },
};

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Something is not seen or told because of it.
    Warn,
    /// Nothing works because of it.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How good it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it.
    pub advice: Option<String>,
}

fn ok(name: &'static str, found: impl Into<String>) -> Check {
    Check {
        name,
        level: Level::Ok,
        found: found.into(),
        advice: None,
    }
}

fn not_ok(
    level: Level,
    name: &'static str,
    found: impl Into<String>,
    advice: impl Into<String>,
) -> Check {
    Check {
        name,
        level,
        found: found.into(),
        advice: Some(advice.into()),
    }
}

/// Everything.
#[must_use]
pub fn all() -> Vec<Check> {
    let mut checks = vec![privileges(&caps::missing())];
    checks.extend(types());
    checks.extend([
        locked(lockdown::level()),
        kprobes(),
        modules(),
        symbols(),
        cgroup(),
        rules(),
    ]);
    checks
}

fn privileges(missing: &[&str]) -> Check {
    let name = "privileges";
    if missing.is_empty() {
        return ok(name, "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN");
    }
    not_ok(
        Level::Bad,
        name,
        format!("without {}", missing.join(", ")),
        "run as root, or give the binary these capabilities with setcap",
    )
}

/// BTF, and what only it tells.
fn types() -> Vec<Check> {
    let name = "btf";
    let path = vmlinux_path();
    let btf = match KernelBtf::open(&path) {
        Ok(btf) => btf,
        Err(error) => {
            return vec![not_ok(
                Level::Bad,
                name,
                format!("{error:#}"),
                "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (5.10 or later)",
            )];
        }
    };
    let reasons = match Reasons::from_btf(&btf).count() {
        0 => not_ok(
            Level::Warn,
            "drop reasons",
            "this kernel gives none (they came with 5.17)",
            "none needed: the place of a drop and the hooks' evidence stand in, with fewer words",
        ),
        count => ok("drop reasons", format!("{count} with names")),
    };
    vec![ok(name, path.display().to_string()), reasons]
}

fn locked(level: Lockdown) -> Check {
    let name = "lockdown";
    match level {
        Lockdown::None => ok(name, "none"),
        Lockdown::Integrity => ok(name, "integrity: tracing is not touched by it"),
        Lockdown::Unknown => ok(name, "not told (securityfs is not mounted, or no lockdown)"),
        Lockdown::Confidentiality => not_ok(
            Level::Bad,
            name,
            "confidentiality: kernel memory cannot be read, and there are no kprobes",
            "boot without lockdown=confidentiality",
        ),
    }
}

fn kprobes() -> Check {
    let name = "kprobes";
    if caps::has_kprobes() {
        return ok(name, "yes");
    }
    not_ok(
        Level::Warn,
        name,
        "no: where trampolines are refused too, functions cannot be watched",
        "boot a kernel with CONFIG_KPROBE_EVENTS=y if a hook is not there",
    )
}

/// The modules that hooks are in.
fn modules() -> Check {
    let mut names: Vec<&str> = PROBES
        .iter()
        .flat_map(|probe| probe.variants)
        .filter_map(|variant| variant.module)
        .collect();
    names.sort_unstable();
    names.dedup();
    let loaded = |name: &&&str| {
        Path::new("/sys/module")
            .join(name)
            .join("initstate")
            .exists()
    };
    let (there, away): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| loaded(name));
    let list = |names: Vec<&str>| match names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    if !Path::new("/proc/modules").exists() {
        return ok("modules", "this kernel has none: what it has is built in");
    }
    ok(
        "modules",
        format!(
            "loaded: {}; hooked as soon as they are: {}",
            list(there),
            list(away)
        ),
    )
}

fn symbols() -> Check {
    let name = "symbols";
    match Symbols::read().count() {
        0 => not_ok(
            Level::Warn,
            name,
            "/proc/kallsyms shows no addresses: places are numbers, and rules cannot be found",
            "run as root, with kernel.kptr_restrict below 2",
        ),
        count => ok(name, format!("{count} functions")),
    }
}

fn cgroup() -> Check {
    let name = "cgroup2";
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    match mounted.and_then(|line| line.split(' ').nth(1)) {
        Some(path) => ok(name, path),
        None => not_ok(
            Level::Warn,
            name,
            "not mounted: who writes a sysctl is not seen",
            "mount -t cgroup2 none /sys/fs/cgroup",
        ),
    }
}

/// The tools that rule sets are read with.
fn rules() -> Check {
    let name = "rule sets";
    let wanted = ["nft", "iptables-legacy-save"];
    let missing: Vec<&str> = wanted
        .into_iter()
        .filter(|tool| find(tool).is_none())
        .collect();
    if missing.is_empty() {
        return ok(name, "read by nft and iptables-legacy-save");
    }
    not_ok(
        Level::Warn,
        name,
        format!(
            "{} missing: their rules cannot be named",
            missing.join(" and ")
        ),
        "install nftables and iptables",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_comes_with_advice() {
        for check in [privileges(&["CAP_BPF"]), locked(Lockdown::Confidentiality)] {
            assert_eq!(check.level, Level::Bad);
            assert!(check.advice.is_some());
        }
        assert_eq!(privileges(&[]).level, Level::Ok);
        assert_eq!(locked(Lockdown::Integrity).level, Level::Ok);
    }
}
