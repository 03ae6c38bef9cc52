//! What is looked at on the machine, and what to do when it is not as it should be.

use std::{fs, path::Path};

use anyhow::Error;
use serde::Serialize;

use crate::{
    attach::spec::{MODULES, SYSCTL},
    facts::reader::ruleset::missing_programs,
    kernel::{
        btf::{KernelBtf, vmlinux_path},
        caps::{self, Privileges},
        lockdown::{self, Lockdown},
        reasons::Reasons,
        symbols::Symbols,
    },
    model::coverage::Coverage,
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

/// Everything; `coverage` is what could be attached.
#[must_use]
pub fn all(coverage: &Coverage) -> Vec<Check> {
    let own = Privileges::own();
    let mut checks = vec![proc(Path::new("/proc/self").exists()), privileges(&own)];
    let btf = KernelBtf::open(&vmlinux_path());
    checks.extend(types(btf.as_ref()));
    checks.extend([
        locked(lockdown::level()),
        kprobes(),
        modules(btf.as_ref().ok()),
        symbols(),
        cgroup(coverage),
        rules(&missing_programs(), own.children_are_admins),
    ]);
    checks
}

fn proc(mounted: bool) -> Check {
    let name = "proc";
    if mounted {
        return ok(name, "/proc");
    }
    not_ok(
        Level::Bad,
        name,
        "not mounted: nothing of the system can be read",
        "mount -t proc proc /proc",
    )
}

fn privileges(own: &Privileges) -> Check {
    let name = "privileges";
    let enough = "CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN";
    if own.in_user_namespace {
        return not_ok(
            Level::Bad,
            name,
            "capabilities of a user namespace, which do not count for attaching",
            "run as root of the machine, not of a user namespace (unshare -U, a rootless container)",
        );
    }
    let missing = own.missing();
    if !missing.is_empty() {
        return not_ok(
            Level::Bad,
            name,
            format!("without {}", missing.join(", ")),
            "run as root, or with the file capabilities cap_bpf,cap_perfmon,cap_net_admin,cap_sys_admin,cap_sys_ptrace,\
             cap_syslog=ep, with which rule sets still cannot be read",
        );
    }
    let facts = own.missing_for_facts();
    if facts.is_empty() {
        return ok(name, enough);
    }
    let without: Vec<String> = facts
        .iter()
        .map(|(capability, what)| format!("without {capability} {what}"))
        .collect();
    let names: Vec<String> = facts.iter().map(|(name, _)| name.to_lowercase()).collect();
    not_ok(
        Level::Warn,
        name,
        format!("{enough}; {}", without.join("; ")),
        format!(
            "run as root, or give the binary {} as well",
            names.join(",")
        ),
    )
}

/// BTF, and what only it tells.
fn types(btf: Result<&KernelBtf, &Error>) -> Vec<Check> {
    let name = "btf";
    let path = vmlinux_path();
    let btf = match btf {
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
    let reasons = match Reasons::from_btf(btf).count() {
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
fn modules(btf: Option<&KernelBtf>) -> Check {
    if !Path::new("/proc/modules").exists() {
        return ok("modules", "this kernel has none: what it has is built in");
    }
    let [mut built_in, mut loaded, mut away] = [const { Vec::new() }; 3];
    for (module, function) in MODULES {
        let state = Path::new("/sys/module").join(module).join("initstate");
        if btf.is_some_and(|btf| btf.arguments(function).is_some()) {
            built_in.push(module);
        } else if state.exists() {
            loaded.push(module);
        } else {
            away.push(module);
        }
    }
    let lists = [
        ("built in", built_in),
        ("loaded", loaded),
        ("hooked as soon as they are", away),
    ];
    let some = lists.iter().filter(|(_, modules)| !modules.is_empty());
    let words: Vec<String> = some
        .map(|(what, modules)| format!("{what}: {}", modules.join(", ")))
        .collect();
    ok("modules", words.join("; "))
}

fn symbols() -> Check {
    let name = "symbols";
    match Symbols::read().count() {
        0 => not_ok(
            Level::Warn,
            name,
            "/proc/kallsyms shows no addresses: places are numbers, and rules cannot be found",
            "run as root (or with CAP_SYSLOG), with kernel.kptr_restrict below 2",
        ),
        count => ok(name, format!("{count} functions")),
    }
}

fn cgroup(coverage: &Coverage) -> Check {
    let name = "cgroup2";
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    match mounted.and_then(|line| line.split(' ').nth(1)) {
        Some(path) => ok(name, path),
        None if coverage.has(SYSCTL.name) => ok(name, "not mounted here, watched all the same"),
        None => not_ok(
            Level::Warn,
            name,
            "not mounted: who writes a sysctl is not seen",
            "mount -t cgroup2 none /sys/fs/cgroup",
        ),
    }
}

/// The tools that rule sets are read with.
fn rules(missing: &[String], children_are_admins: bool) -> Check {
    let name = "rule sets";
    if !children_are_admins {
        return not_ok(
            Level::Warn,
            name,
            "the programs that read them run without CAP_NET_ADMIN: file capabilities are not passed on",
            "run as root, or with CAP_NET_ADMIN as an ambient capability (capsh, systemd's AmbientCapabilities=)",
        );
    }
    if missing.is_empty() {
        return ok(
            name,
            "read by nft, and by the -legacy-save and -nft-save of iptables and ip6tables",
        );
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
        for check in [proc(false), locked(Lockdown::Confidentiality)] {
            assert_eq!(check.level, Level::Bad);
            assert!(check.advice.is_some());
        }
        assert_eq!(rules(&[], false).level, Level::Warn);
        assert_eq!(rules(&[], true).level, Level::Ok);
        assert_eq!(locked(Lockdown::Integrity).level, Level::Ok);
    }
}
