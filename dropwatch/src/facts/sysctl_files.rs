//! What the sysctl.d and udev files say about a device's `rp_filter`, as a fact.

use std::path::Path;

use super::{
    Fact, FileLine, Remedy, SetBy, SetVia, SysctlFiles,
    sysctl_d::{
        ConfigFile, Place, Setting, Source, UdevRule, advise, prediction, read, read_rules,
        resolve, resolve_procps, rp_filter_key,
    },
};

/// What applies such files; it may be missing in containers and on systems without systemd.
const SYSTEMD_SYSCTL: &str = "/lib/systemd/systemd-sysctl";

/// Which program applied the files when the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applier {
    /// systemd is the init: its unit systemd-sysctl.service.
    Systemd,
    /// Another init, and the init script of procps: `sysctl --system`.
    Procps,
    /// Neither is certain, as in a container.
    Unknown,
}

/// Looks below `root`: `/run/systemd/system` exists if and only if systemd is the init
/// (`sd_booted(3)`). An init script alone is no proof: images have it without an init.
fn applier(root: &Path) -> Applier {
    if root.join("run/systemd/system").is_dir() {
        return Applier::Systemd;
    }
    let init = std::fs::read_to_string(root.join("proc/1/comm"));
    if init.is_ok_and(|comm| comm.trim() == "init") && root.join("etc/init.d/procps").exists() {
        return Applier::Procps;
    }
    Applier::Unknown
}

/// The line that decides a device's key at boot, or why that is not known.
fn at_boot(
    files: &[ConfigFile],
    applier: Applier,
    device: &str,
) -> Result<Option<Setting>, String> {
    let key = rp_filter_key(device);
    let (systemd, procps) = (resolve(files, &key), resolve_procps(files, &key));
    match applier {
        Applier::Systemd => Ok(systemd),
        Applier::Procps => Ok(procps),
        // The same value from another line is another answer to "which line", too.
        Applier::Unknown if systemd == procps => Ok(systemd),
        Applier::Unknown => {
            let says = |set: Option<Setting>| {
                set.map_or("no line".to_owned(), |set| {
                    format!("{}:{} ({})", set.file, set.line, set.value)
                })
            };
            Err(format!(
                "which line set {} at boot: systemd-sysctl uses {}, `sysctl --system` {}, and \
                 which one ran here is not known",
                dotted(device),
                says(systemd),
                says(procps)
            ))
        }
    }
}

/// Reads the files and answers for one device.
#[must_use]
pub fn answer(device: &str) -> Fact {
    let root = Path::new("/");
    let (files, rules) = (read(root), read_rules(root));
    Fact::SysctlFiles(judge(&files, &rules, applier(root), device))
}

fn judge(files: &[ConfigFile], rules: &[UdevRule], applier: Applier, device: &str) -> SysctlFiles {
    let mut unknown = Vec::new();
    let mut decided = |device: &str| match at_boot(files, applier, device) {
        Ok(set) => set.map(|s| set_by(&s, device, via(&s))),
        Err(why) => {
            unknown.push(why);
            None
        }
    };
    let (all, default) = (decided("all"), decided("default"));
    let (line, udev) = match prediction(files, rules, device).source {
        Source::Udev { setting, rule } => {
            let by = set_by(&setting, device, via(&setting));
            let rule = FileLine {
                file: rule.file,
                line: rule.line,
                text: rule.text,
            };
            (Some(by), Some(rule))
        }
        // What `default` holds depends on the program that ran at boot, not on udev's.
        Source::Inherited { .. } | Source::Kernel => {
            let inherited = default.clone().map(|by| SetBy {
                via: SetVia::Inherited,
                ..by
            });
            (inherited, None)
        }
    };
    let advice = advise(files, &pattern(device));
    SysctlFiles {
        all,
        default,
        unknown,
        device: line,
        udev,
        unreadable: files
            .iter()
            .filter_map(|f| Some(format!("{}: {}", f.path, f.error.as_ref()?)))
            .collect(),
        remedy: Some(Remedy {
            path: advice.path,
            content: advice.content,
            apply: Path::new(SYSTEMD_SYSCTL).exists().then_some(advice.apply),
            warnings: advice.warnings,
        }),
    }
}

fn via(setting: &Setting) -> SetVia {
    match setting.via {
        super::sysctl_d::Via::Explicit => SetVia::Explicit,
        super::sysctl_d::Via::Glob { .. } => SetVia::Glob,
    }
}

fn set_by(setting: &Setting, device: &str, via: SetVia) -> SetBy {
    let Place { file, line, text } = setting.place();
    SetBy {
        key: dotted(device),
        value: setting.value.clone(),
        at: FileLine { file, line, text },
        via,
    }
}

/// The key in dot notation; a dot in a device's name is written as a slash there (sysctl.d(5)).
#[must_use]
pub fn dotted(device: &str) -> String {
    dotted_path(&format!("net/ipv4/conf/{device}/rp_filter"))
}

/// A path below `/proc/sys` as a key in dot notation (sysctl.d(5)).
#[must_use]
pub fn dotted_path(path: &str) -> String {
    let parts: Vec<_> = path.split('/').map(|part| part.replace('.', "/")).collect();
    parts.join(".")
}

/// The devices that an endpoint's device stands for: `lxc3c160d6c7aa0` is one of `lxc*`. Names without
/// a numbered or random rest stand for themselves.
fn pattern(device: &str) -> String {
    const ENDPOINTS: [&str; 8] = ["lxc", "cali", "veth", "azv", "eni", "gke", "tap", "vnet"];
    ENDPOINTS
        .into_iter()
        .find(|p| device.len() > p.len() && device.starts_with(p))
        .map_or_else(|| device.to_owned(), |p| format!("{p}*"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDEV: &str = "ACTION==\"add\", SUBSYSTEM==\"net\", KERNEL!=\"lo\", \
        RUN+=\"/lib/systemd/systemd-sysctl --prefix=/net/ipv4/conf/$name\"\n";

    #[test]
    fn the_seed_inherits_from_default_and_udev_is_not_blamed() {
        let files = [ConfigFile::new(
            "/etc/sysctl.d/10-network-security.conf",
            "net.ipv4.conf.default.rp_filter=2\nnet.ipv4.conf.all.rp_filter=2\n",
        )];
        let facts = judge(&files, &[], Applier::Systemd, "lxc3c160d6c7aa0");
        let device = facts.device.expect("a line");
        assert_eq!((device.via, device.at.line), (SetVia::Inherited, 1));
        assert_eq!(facts.all.map(|a| a.at.line), Some(2));
        assert_eq!(facts.udev, None);
        let remedy = facts.remedy.expect("a remedy");
        assert!(
            remedy.content.contains("net.ipv4.conf.lxc*.rp_filter = 0"),
            "{}",
            remedy.content
        );
    }

    #[test]
    fn a_matching_glob_is_applied_again_by_udev() {
        let files = [ConfigFile::new(
            "/usr/lib/sysctl.d/50-default.conf",
            "net.ipv4.conf.default.rp_filter = 2\nnet.ipv4.conf.*.rp_filter = 2\n-net.ipv4.conf.all.rp_filter\n",
        )];
        let rules = super::super::sysctl_d::find_rules(&[ConfigFile::new(
            "/usr/lib/udev/rules.d/99-systemd.rules",
            UDEV,
        )]);
        let facts = judge(&files, &rules, Applier::Systemd, "lxc1");
        let device = facts.device.expect("a line");
        assert_eq!((device.via, device.at.line), (SetVia::Glob, 2));
        assert_eq!(facts.udev.map(|u| u.line), Some(1));
        assert_eq!(facts.all, None);
    }

    #[test]
    fn which_line_depends_on_who_ran() {
        let files = [
            ConfigFile::new("/etc/sysctl.d/10.conf", "net.ipv4.conf.all.rp_filter=1\n"),
            ConfigFile::new("/etc/sysctl.conf", "net.ipv4.conf.all.rp_filter=2\n"),
        ];
        let all = |applier| judge(&files, &[], applier, "eth0");
        let value = |facts: &SysctlFiles| facts.all.as_ref().map(|by| by.value.clone());
        let (systemd, procps) = (all(Applier::Systemd), all(Applier::Procps));
        assert_eq!(value(&systemd).as_deref(), Some("1"));
        assert_eq!(value(&procps).as_deref(), Some("2"));
        assert!(systemd.unknown.is_empty() && procps.unknown.is_empty());
        let either = all(Applier::Unknown);
        assert_eq!(either.all, None);
        let [why] = either.unknown.as_slice() else {
            panic!("{either:?}")
        };
        assert!(why.contains("10.conf:1 (1)") && why.contains("sysctl.conf:1 (2)"));

        // Where both agree, nothing is unknown.
        let agreed = judge(&files[..1], &[], Applier::Unknown, "eth0");
        assert_eq!(value(&agreed).as_deref(), Some("1"));
        assert!(agreed.unknown.is_empty());
    }

    #[test]
    fn only_endpoint_names_stand_for_others() {
        assert_eq!(pattern("lxc3c160d6c7aa0"), "lxc*");
        assert_eq!(pattern("cali0a1b"), "cali*");
        assert_eq!(pattern("eth0"), "eth0");
        assert_eq!(pattern("lxc"), "lxc");
        assert_eq!(dotted("eth0.100"), "net.ipv4.conf.eth0/100.rp_filter");
    }
}
