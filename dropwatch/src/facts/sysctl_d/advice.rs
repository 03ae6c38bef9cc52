//! A sysctl.d file that switches `rp_filter` off for some devices, and really wins.
//!
//! Four things make the obvious file fail, all seen in practice: a later file with a wider
//! pattern; a line that names the device (it beats every pattern); the same pattern with the same
//! value in an earlier file (systemd-sysctl then keeps the earlier place); and `conf.all`, which
//! the kernel combines with the device's value by taking the larger.

use serde::{Deserialize, Serialize};

use super::resolve::table;
use super::{ConfigFile, Place, Setting, order, parse, resolve, resolve_full, rp_filter_key};

/// Names to try for the file, the most natural first.
const NAMES: [&str; 4] = [
    "99-zz-dropwatch-rp-filter.conf",
    "99-zz-dropwatch-rp-filter_2.conf",
    "zz-dropwatch-rp-filter.conf",
    "zzz-dropwatch-rp-filter.conf",
];

/// A file to create, and what to know about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advice {
    /// Name of the file; sorts behind every file that sets some device's `rp_filter`.
    pub name: String,
    /// Where to put it.
    pub path: String,
    /// Its content, with comments that say why each line is there.
    pub content: String,
    /// Lines that name a device covered by the pattern, with the value they had: a pattern alone
    /// would not win against them, so the content names those devices too.
    pub explicit: Vec<Setting>,
    /// The line that makes `conf.all` non-zero, if one does; the content resets it.
    pub all: Option<Setting>,
    /// What the file cannot settle: full sentences.
    pub warnings: Vec<String>,
    /// Command that applies the file to devices that exist already.
    pub apply: String,
}

/// Writes a file that makes `rp_filter` 0 for every device matching `pattern` (such as `lxc*`, or
/// a plain name).
pub fn advise(files: &[ConfigFile], pattern: &str) -> Advice {
    let ordered = order(files);
    let (entries, _) = table(ordered.active.iter().copied(), |key| part(key).is_some());
    let key = rp_filter_key(pattern);
    let all = resolve(files, &rp_filter_key("all")).filter(|set| set.number() != Some(0));

    let mut body = String::new();
    if let Some(set) = &all {
        comment(
            &mut body,
            "The kernel uses the larger of 'all' and the device's own value, so",
        );
        comment(
            &mut body,
            "'all' must be 0 for any device to be exempt. It was set by",
        );
        comment(&mut body, &shown(&set.place()));
        comment(
            &mut body,
            "Other devices keep the filter only if their own key is not 0.",
        );
        assign(&mut body, "all");
    }
    let rivals: Vec<&Place> = entries
        .iter()
        .filter(|entry| entry.key != key && part(&entry.key).is_some_and(parse::is_glob))
        .filter(|entry| {
            entry
                .value
                .as_deref()
                .is_some_and(|v| parse::number(v) != Some(0))
        })
        .map(|entry| &entry.place)
        .collect();
    comment(
        &mut body,
        "udev runs systemd-sysctl for every new device; the last pattern that",
    );
    comment(
        &mut body,
        "matches wins. This file must stay behind the others in the alphabet.",
    );
    for place in rivals {
        comment(&mut body, &format!("Other pattern: {}", shown(place)));
    }
    let same = entries
        .iter()
        .find(|e| e.key == key && e.value.as_deref() == Some("0"));
    if let Some(entry) = same
        && parse::is_glob(pattern)
    {
        comment(
            &mut body,
            &format!("The same line is in {}", shown(&entry.place)),
        );
        comment(
            &mut body,
            "A repeated line keeps its first place; the next line gives it up.",
        );
        body.push_str(&format!("-{}\n", written(pattern)));
    }
    assign(&mut body, pattern);

    let mut explicit = Vec::new();
    let named = entries
        .iter()
        .filter(|entry| !parse::is_glob(&entry.key) && entry.key != key);
    for entry in named {
        let Some(device) = part(&entry.key) else {
            continue;
        };
        let off = entry
            .value
            .as_deref()
            .is_some_and(|v| parse::number(v) == Some(0));
        if off || matches!(device, "all" | "default") || !super::fnmatch(pattern, device) {
            continue;
        }
        let Place { file, line, text } = entry.place.clone();
        comment(
            &mut body,
            "A line that names a device beats every pattern, so name it here too:",
        );
        comment(&mut body, &shown(&entry.place));
        assign(&mut body, device);
        let value = entry.value.clone().unwrap_or_default();
        explicit.push(Setting {
            file,
            line,
            text,
            value,
            via: super::Via::Explicit,
        });
    }

    let name = name(files);
    Advice {
        path: format!("/etc/sysctl.d/{name}"),
        content: format!("# Written on advice of dropwatch: no rp_filter on {pattern}.\n{body}"),
        // What udev calls, with only this file: works without a service manager, too.
        apply: format!("/lib/systemd/systemd-sysctl /etc/sysctl.d/{name}"),
        name,
        explicit,
        warnings: warnings(files, pattern),
        all,
    }
}

/// The device part of a key that sets some device's `rp_filter`, be it a pattern or not.
fn part(key: &str) -> Option<&str> {
    let parts: Vec<&str> = key.split('/').collect();
    let [net, ipv4, conf, device, rp_filter] = parts.as_slice() else {
        return None;
    };
    let wanted = [
        (net, "net"),
        (ipv4, "ipv4"),
        (conf, "conf"),
        (rp_filter, "rp_filter"),
    ];
    wanted
        .iter()
        .all(|(p, want)| parse::matches(p, want))
        .then_some(*device)
}

/// A name that sorts behind every file with such a key and is not taken.
fn name(files: &[ConfigFile]) -> String {
    let taken = |name: &str| files.iter().any(|file| file.name() == name);
    let rival = order(files)
        .active
        .into_iter()
        .filter(|file| {
            parse(&file.text)
                .lines
                .iter()
                .any(|l| part(&l.key).is_some())
        })
        .map(ConfigFile::name)
        .max()
        .unwrap_or("")
        .to_owned();
    if let Some(name) = NAMES
        .iter()
        .find(|name| **name > rival.as_str() && !taken(name))
    {
        return (*name).to_owned();
    }
    // '_' sorts behind '.', so adding to the stem goes behind the rival.
    let mut stem = rival.strip_suffix(".conf").unwrap_or(&rival).to_owned();
    loop {
        stem.push_str("_dropwatch");
        let name = format!("{stem}.conf");
        if !taken(&name) {
            return name;
        }
    }
}

fn warnings(files: &[ConfigFile], pattern: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for key in ["all", pattern] {
        let resolution = resolve_full(files, &rp_filter_key(key));
        let Some(set) = resolution.procps.filter(|set| set.number() != Some(0)) else {
            continue;
        };
        warnings.push(format!(
            "`sysctl --system` reads /etc/sysctl.conf after every other file and would undo this: \
             {}. Remove that line.",
            shown(&set.place())
        ));
    }
    for name in ["all", "default"] {
        if parse::is_glob(pattern) && super::fnmatch(pattern, name) {
            warnings.push(format!(
                "The pattern {pattern} also matches the key '{name}'."
            ));
        }
    }
    for file in files {
        if let Some(error) = &file.error {
            warnings.push(format!("{} could not be read ({error}).", file.path));
        }
    }
    warnings
}

/// A key as one would write it: with dots unless the device's name has one.
fn written(device: &str) -> String {
    if device.contains('.') {
        return rp_filter_key(device);
    }
    format!("net.ipv4.conf.{device}.rp_filter")
}

fn assign(body: &mut String, device: &str) {
    body.push_str(&format!("{} = 0\n", written(device)));
}

fn comment(body: &mut String, text: &str) {
    body.push_str(&format!("# {text}\n"));
}

/// A line for people; control characters are left out because it may end up in the file.
fn shown(place: &Place) -> String {
    let text: String = place.text.chars().filter(|c| !c.is_control()).collect();
    format!("{}:{}: {text}", place.file, place.line)
}
