//! The udev rule that runs systemd-sysctl for new network devices.
//!
//! systemd ships it in `rules.d/99-systemd.rules.in`: for every added net device but `lo` it runs
//! systemd-sysctl with `--prefix=/net/ipv4/conf/$name` and three more. With a prefix only keys
//! below it are applied (systemd `src/sysctl/sysctl.c`, `test_prefix`), so `all` and `default` are
//! left alone when a device appears.
//!
//! Matches on `ACTION`, `SUBSYSTEM` and `KERNEL` are evaluated; other conditions (`ENV`, `TEST`,
//! `GOTO` …) and later assignments that clear `RUN` are not.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ConfigFile, fnmatch, order_in, parse, read};

/// The directories of udev rules, the strongest first (udev(7)).
const DIRECTORIES: [&str; 5] = [
    "/etc/udev/rules.d",
    "/run/udev/rules.d",
    "/usr/local/lib/udev/rules.d",
    "/usr/lib/udev/rules.d",
    "/lib/udev/rules.d",
];

/// A rule that runs systemd-sysctl when a network device is added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdevRule {
    /// Path of the rules file.
    pub file: String,
    /// Number of the rule's first line, from 1.
    pub line: u32,
    /// The rule; lines continued with `\` are joined.
    pub text: String,
    /// The `--prefix=` arguments as written, with `$name` or `%k` not yet replaced. Without any
    /// prefix the rule applies every setting.
    pub prefixes: Vec<String>,
    /// Conditions on the device name: false for `!=`, and the patterns.
    pub kernel: Vec<(bool, String)>,
}

impl UdevRule {
    /// True if the rule's `KERNEL` conditions accept the device.
    pub fn applies_to(&self, device: &str) -> bool {
        self.kernel
            .iter()
            .all(|(equal, patterns)| alternatives(patterns, device) == *equal)
    }

    /// True if the run for `device` may write `key` (in normal form).
    pub fn covers(&self, device: &str, key: &str) -> bool {
        self.prefixes.is_empty()
            || self.prefixes.iter().any(|prefix| {
                let prefix = ["$name", "$kernel", "%k"]
                    .iter()
                    .fold(prefix.clone(), |text, variable| {
                        text.replace(variable, device)
                    });
                let prefix = parse::normalize(&prefix);
                let prefix = prefix.strip_prefix("proc/sys/").unwrap_or(&prefix);
                key.strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }
}

/// Reads the udev rules below `root` and returns those that run systemd-sysctl for net devices.
pub fn read_rules(root: &Path) -> Vec<UdevRule> {
    find_rules(&read::list(root, &DIRECTORIES, ".rules"))
}

/// Finds the rules in files that were read. Files hide each other and are ordered by name, as in
/// sysctl.d.
pub fn find_rules(files: &[ConfigFile]) -> Vec<UdevRule> {
    let mut rules = Vec::new();
    for file in order_in(files.iter().collect(), &DIRECTORIES).active {
        for (line, text) in joined(&file.text) {
            rules.extend(rule(&file.path, line, &text));
        }
    }
    rules
}

/// Joins continued lines; comments and blank lines are left out.
fn joined(text: &str) -> Vec<(u32, String)> {
    let mut rules = Vec::new();
    let mut open: Option<(u32, String)> = None;
    for (index, line) in text.lines().enumerate() {
        if open.is_none() && (line.trim().is_empty() || line.trim_start().starts_with('#')) {
            continue;
        }
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let (first, mut rule) = open.take().unwrap_or((number, String::new()));
        match line.strip_suffix('\\') {
            Some(part) => {
                rule.push_str(part);
                open = Some((first, rule));
            }
            None => {
                rule.push_str(line);
                rules.push((first, rule.trim().to_owned()));
            }
        }
    }
    rules
}

/// The rule in a line, if it is one of ours.
fn rule(file: &str, line: u32, text: &str) -> Option<UdevRule> {
    let mut command = None;
    let mut kernel = Vec::new();
    for (key, operator, value) in tokens(text) {
        let equal = operator == "==";
        let wanted = match key {
            "ACTION" => "add",
            "SUBSYSTEM" => "net",
            "KERNEL" if equal || operator == "!=" => {
                kernel.push((equal, value.to_owned()));
                continue;
            }
            _ if key == "RUN" || key.starts_with("RUN{program}") => {
                if value.contains("systemd-sysctl") && matches!(operator, "+=" | "=" | ":=") {
                    command = Some(value);
                }
                continue;
            }
            _ => continue,
        };
        if alternatives(value, wanted) != equal {
            return None;
        }
    }
    // A rule for another subsystem, or for any, does not name the device in its prefix.
    let command = command?;
    let names_device = ["$name", "$kernel", "%k"]
        .iter()
        .any(|v| command.contains(v));
    if !names_device && !tokens(text).iter().any(|(key, ..)| *key == "SUBSYSTEM") {
        return None;
    }
    let prefixes = command
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix("--prefix="))
        .map(str::to_owned)
        .collect();
    Some(UdevRule {
        file: file.to_owned(),
        line,
        text: text.to_owned(),
        prefixes,
        kernel,
    })
}

/// Splits a rule into (key, operator, value without quotes).
fn tokens(rule: &str) -> Vec<(&str, &str, &str)> {
    let mut found = Vec::new();
    let mut rest = rule;
    while let Some(quote) = rest.find('"') {
        let Some(length) = closing(&rest[quote + 1..]) else {
            break;
        };
        let value = &rest[quote + 1..quote + 1 + length];
        let head = rest[..quote].trim_matches(|c: char| c == ',' || c.is_ascii_whitespace());
        for operator in ["==", "!=", "+=", "-=", ":=", "="] {
            if let Some(key) = head.strip_suffix(operator) {
                found.push((key.trim(), operator, value));
                break;
            }
        }
        rest = &rest[quote + 2 + length..];
    }
    found
}

/// Position of the closing quote; `\"` does not close.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes.then_some(at)
    })
}

/// Patterns separated by `|`, as in udev match keys.
fn alternatives(patterns: &str, text: &str) -> bool {
    patterns.split('|').any(|pattern| fnmatch(pattern, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEMD: &str = r#"# comment
ACTION=="remove", GOTO="systemd_end"
SUBSYSTEM=="net", KERNEL!="lo", TAG+="systemd", ENV{SYSTEMD_ALIAS}+="/sys/$name"

ACTION=="add", SUBSYSTEM=="net", KERNEL!="lo", RUN+="/lib/systemd/systemd-sysctl --prefix=/net/ipv4/conf/$name --prefix=/net/ipv4/neigh/$name --prefix=/net/ipv6/conf/$name --prefix=/net/ipv6/neigh/$name"
"#;

    fn at(path: &str, text: &str) -> ConfigFile {
        ConfigFile::new(path, text)
    }

    #[test]
    fn the_rule_of_systemd() {
        let rules = find_rules(&[at("/usr/lib/udev/rules.d/99-systemd.rules", SYSTEMD)]);
        let [rule] = rules.as_slice() else {
            panic!("{rules:?}")
        };
        assert_eq!(rule.file, "/usr/lib/udev/rules.d/99-systemd.rules");
        assert_eq!(rule.line, 5);
        assert_eq!(rule.prefixes.len(), 4);
        assert!(rule.text.starts_with("ACTION==\"add\""));
        assert!(rule.applies_to("lxc1") && !rule.applies_to("lo"));
        for (device, key, want) in [
            ("lxc1", "net/ipv4/conf/lxc1/rp_filter", true),
            ("eth0.100", "net/ipv4/conf/eth0.100/rp_filter", true),
            ("lxc1", "net/ipv4/conf/lxc12/rp_filter", false),
            ("lxc1", "net/ipv4/conf/all/rp_filter", false),
            ("lxc1", "net/ipv4/conf/default/rp_filter", false),
        ] {
            assert_eq!(rule.covers(device, key), want, "{device} {key}");
        }
    }

    #[test]
    fn masked_by_name() {
        for stronger in ["/etc/udev/rules.d", "/run/udev/rules.d"] {
            let files = [
                at("/lib/udev/rules.d/99-systemd.rules", SYSTEMD),
                at(&format!("{stronger}/99-systemd.rules"), ""),
            ];
            assert!(find_rules(&files).is_empty(), "{stronger}");
        }
    }

    #[test]
    fn continued_lines_and_other_rules() {
        let text = "ACTION==\"add|move\", SUBSYSTEM==\"net\", KERNEL==\"lxc*|veth*\", \\\n  \
                    RUN+=\"/usr/lib/systemd/systemd-sysctl --prefix=/net/ipv4/conf/%k\"\n\
                    ACTION==\"add\", SUBSYSTEM==\"module\", KERNEL==\"br_netfilter\", \
                    RUN+=\"/usr/lib/systemd/systemd-sysctl --prefix=/net/bridge\"\n\
                    ACTION==\"remove\", SUBSYSTEM==\"net\", RUN+=\"systemd-sysctl $name\"\n\
                    # ACTION==\"add\", SUBSYSTEM==\"net\", RUN+=\"systemd-sysctl\"\n";
        let rules = find_rules(&[at("/etc/udev/rules.d/10-mine.rules", text)]);
        let [rule] = rules.as_slice() else {
            panic!("{rules:?}")
        };
        assert_eq!(
            (rule.line, rule.prefixes.as_slice()),
            (1, &["/net/ipv4/conf/%k".into()][..])
        );
        assert!(rule.applies_to("veth9") && !rule.applies_to("eth0"));
        assert!(rule.covers("veth9", "net/ipv4/conf/veth9/rp_filter"));
    }
}
