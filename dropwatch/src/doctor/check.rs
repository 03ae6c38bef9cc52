//! What is looked at on the machine, and what to do when it is not as it should be.

use std::{fs, path::Path};

use anyhow::Error;

use super::finding::{Check, Level, not_known, not_ok, ok};
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

/// Whether the kernel's own file systems are mounted.
#[derive(Clone, Copy, Debug)]
struct Mounted {
    proc: bool,
    sys: bool,
}

impl Mounted {
    fn now() -> Self {
        Self {
            proc: Path::new("/proc/self").exists(),
            sys: Path::new("/sys/kernel").exists(),
        }
    }
}

/// Everything; `coverage` is what could be attached.
#[must_use]
pub fn all(coverage: &Coverage) -> Vec<Check> {
    let own = Privileges::own();
    let mounted = Mounted::now();
    let mut checks = file_systems(mounted);
    checks.push(privileges(&own));
    let btf = KernelBtf::open(&vmlinux_path());
    checks.extend(types(mounted, btf.as_ref()));
    checks.extend([
        locked(lockdown::level()),
        kprobes(mounted),
        modules(mounted, btf.as_ref().ok()),
        symbols(mounted),
        cgroup(mounted, coverage),
        rules(&missing_programs(), own.children_are_admins),
    ]);
    checks
}

/// `sysfs` is worth a line only where it is missing.
fn file_systems(mounted: Mounted) -> Vec<Check> {
    let proc = if mounted.proc {
        ok("proc", "/proc")
    } else {
        not_ok(
            Level::Bad,
            "proc",
            "not mounted: nothing of the system can be read",
            "mount -t proc proc /proc",
        )
    };
    let sys = not_ok(
        Level::Bad,
        "sysfs",
        "not mounted: the kernel's types are there",
        "mount -t sysfs sysfs /sys",
    );
    let missing = (!mounted.sys).then_some(sys);
    [proc].into_iter().chain(missing).collect()
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
fn types(mounted: Mounted, btf: Result<&KernelBtf, &Error>) -> Vec<Check> {
    let name = "btf";
    let path = vmlinux_path();
    let btf = match btf {
        Ok(btf) => btf,
        Err(_) if !mounted.sys => return vec![not_known(name, "/sys")],
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

fn kprobes(mounted: Mounted) -> Check {
    let name = "kprobes";
    if !mounted.sys {
        return not_known(name, "/sys");
    }
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
fn modules(mounted: Mounted, btf: Option<&KernelBtf>) -> Check {
    match mounted {
        Mounted { proc: false, .. } => return not_known("modules", "/proc"),
        Mounted { sys: false, .. } => return not_known("modules", "/sys"),
        _ => {}
    }
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

fn symbols(mounted: Mounted) -> Check {
    let name = "symbols";
    if !mounted.proc {
        return not_known(name, "/proc");
    }
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

fn cgroup(mounted: Mounted, coverage: &Coverage) -> Check {
    let name = "cgroup2";
    if !mounted.proc {
        return not_known(name, "/proc");
    }
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
        let nothing = Mounted {
            proc: false,
            sys: false,
        };
        let missing = file_systems(nothing);
        assert_eq!(missing.len(), 2);
        for check in missing.iter().chain([&locked(Lockdown::Confidentiality)]) {
            assert_eq!(check.level, Level::Bad);
            assert!(check.advice.is_some());
        }
        // What is read there says nothing of the machine then, and no advice follows.
        let types = types(nothing, Err(&anyhow::anyhow!("missing")));
        let unread = [
            kprobes(nothing),
            modules(nothing, None),
            symbols(nothing),
            cgroup(nothing, &Coverage::default()),
        ];
        for check in types.iter().chain(&unread) {
            assert!(check.found.starts_with("not known"), "{check:?}");
            assert_eq!(check.advice, None);
        }
        assert_eq!(rules(&[], false).level, Level::Warn);
        assert_eq!(rules(&[], true).level, Level::Ok);
        assert_eq!(locked(Lockdown::Integrity).level, Level::Ok);
    }
}
