//! What the sysctl.d and udev files say about a device's `rp_filter`, as a fact.

use std::path::Path;

use super::{
    Fact, FileLine, Remedy, SetBy, SysctlFiles,
    sysctl_d::{
        ConfigFile, Place, Setting, Source, UdevRule, advise, prediction, read, read_rules,
        resolve, rp_filter_key,
    },
};

/// What applies such files; it may be missing in containers and on systems without systemd.
const SYSTEMD_SYSCTL: &str = "/lib/systemd/systemd-sysctl";

/// Reads the files and answers for one device.
#[must_use]
pub fn answer(device: &str) -> Fact {
    let root = Path::new("/");
    Fact::SysctlFiles(judge(&read(root), &read_rules(root), device))
}

fn judge(files: &[ConfigFile], rules: &[UdevRule], device: &str) -> SysctlFiles {
    let decided =
        |device: &str| resolve(files, &rp_filter_key(device)).map(|s| set_by(&s, device, via(&s)));
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
        Source::Inherited { setting } => (Some(set_by(&setting, "default", "inherited")), None),
        Source::Kernel => (None, None),
    };
    let advice = advise(files, &pattern(device));
    SysctlFiles {
        all: decided("all"),
        default: decided("default"),
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

fn via(setting: &Setting) -> &'static str {
    match setting.via {
        super::sysctl_d::Via::Explicit => "explicit",
        super::sysctl_d::Via::Glob { .. } => "glob",
    }
}

fn set_by(setting: &Setting, device: &str, via: &str) -> SetBy {
    let Place { file, line, text } = setting.place();
    SetBy {
        key: dotted(device),
        value: setting.value.clone(),
        at: FileLine { file, line, text },
        via: via.to_owned(),
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
        let facts = judge(&files, &[], "lxc3c160d6c7aa0");
        let device = facts.device.expect("a line");
        assert_eq!((device.via.as_str(), device.at.line), ("inherited", 1));
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
        let facts = judge(&files, &rules, "lxc1");
        let device = facts.device.expect("a line");
        assert_eq!((device.via.as_str(), device.at.line), ("glob", 2));
        assert_eq!(facts.udev.map(|u| u.line), Some(1));
        assert_eq!(facts.all, None);
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
