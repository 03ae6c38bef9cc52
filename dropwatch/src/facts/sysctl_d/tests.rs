//! Tables of configurations and what systemd-sysctl makes of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;

/// The file of the incident this module exists for.
const SEED: &str = "net.ipv4.conf.default.rp_filter=2\nnet.ipv4.conf.all.rp_filter=2\n";
/// systemd's own file, as far as it matters here.
const DEFAULT: &str = "# systemd\nkernel.sysrq = 16\n\n# Source route verification\n\
                       net.ipv4.conf.default.rp_filter = 2\nnet.ipv4.conf.*.rp_filter = 2\n\
                       -net.ipv4.conf.all.rp_filter\n";
const UDEV: &str = "ACTION==\"add\", SUBSYSTEM==\"net\", KERNEL!=\"lo\", \
                    RUN+=\"/lib/systemd/systemd-sysctl --prefix=/net/ipv4/conf/$name\"\n";

fn etc(name: &str, text: &str) -> ConfigFile {
    ConfigFile::new(format!("/etc/sysctl.d/{name}"), text)
}

fn lib(name: &str, text: &str) -> ConfigFile {
    ConfigFile::new(format!("/usr/lib/sysctl.d/{name}"), text)
}

fn udev() -> Vec<UdevRule> {
    find_rules(&[ConfigFile::new(
        "/usr/lib/udev/rules.d/99-systemd.rules",
        UDEV,
    )])
}

/// The files of a table cell; see `who_wins.txt` for the notation.
pub(super) fn cell(text: &str) -> Vec<ConfigFile> {
    let files = text
        .split('+')
        .map(str::trim)
        .filter(|file| !file.is_empty());
    files
        .map(|file| {
            let (path, lines) = file.split_once(':').expect("path and lines");
            let lines: Vec<String> = lines.split(';').map(|line| expand(line.trim())).collect();
            let path = match path.split_once('/') {
                Some(("lib", name)) => format!("/usr/lib/sysctl.d/{name}"),
                Some((top, name)) => format!("/{top}/sysctl.d/{name}"),
                None => PROCPS_FILE.to_owned(),
            };
            ConfigFile::new(path, lines.join("\n"))
        })
        .collect()
}

/// Expands `@X` and the names of whole files.
pub(super) fn expand(line: &str) -> String {
    let line = line
        .replace("$SEED", SEED)
        .replace("$DEFAULT", DEFAULT)
        .replace("\\r", "\r");
    let Some((before, rest)) = line.split_once('@') else {
        return line;
    };
    let end = rest.find(['=', ' ', '\r']).unwrap_or(rest.len());
    format!(
        "{before}net.ipv4.conf.{}.rp_filter{}",
        &rest[..end],
        &rest[end..]
    )
}

/// The rows of a table, split into trimmed columns.
pub(super) fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split('|').map(str::trim).collect())
}

/// The winner as `file:line=value`, or `-`.
fn winner(files: &[ConfigFile], key: &str) -> String {
    resolve(files, key).map_or("-".to_owned(), |set| {
        let name = set.file.rsplit('/').next().unwrap_or_default();
        format!("{name}:{}={}", set.line, set.value)
    })
}

#[test]
fn who_wins() {
    let mut count = 0;
    for row in rows(include_str!("who_wins.txt")) {
        let [what, key, files, want] = row.as_slice() else {
            panic!("{row:?}")
        };
        let mut files = cell(files);
        assert_eq!(winner(&files, &expand(key)), *want, "{what}");
        files.reverse();
        assert_eq!(
            winner(&files, &expand(key)),
            *want,
            "{what}, files given in reverse"
        );
        count += 1;
    }
    assert!(count > 25);
}

#[test]
fn losers_say_why() {
    let files = [
        etc(
            "10.conf",
            "net.ipv4.conf.*.rp_filter=2\nnet.ipv4.conf.l*.rp_filter=1",
        ),
        etc(
            "20.conf",
            "net.ipv4.conf.*.rp_filter=2\nnet.ipv4.conf.lxc1.rp_filter=1",
        ),
        etc("30.conf", "net.ipv4.conf.lxc1.rp_filter=0"),
        lib("30.conf", "net.ipv4.conf.lxc1.rp_filter=7"),
        ConfigFile::new(PROCPS_FILE, "net.ipv4.conf.lxc1.rp_filter=1"),
    ];
    let found = resolve_full(&files, &rp_filter_key("lxc1"));
    let setting = found.setting.expect("a winner");
    assert_eq!(
        (setting.file.as_str(), setting.number()),
        ("/etc/sysctl.d/30.conf", Some(0))
    );
    assert_eq!(setting.via, Via::Explicit);
    let why: Vec<String> = found
        .losers
        .iter()
        .map(|l| {
            let kind = match &l.why {
                Why::HiddenFile { by } => format!("hidden {by}"),
                Why::Replaced { by } => format!("replaced {}:{}", by.file, by.line),
                Why::Repeated { of } => format!("repeated {}:{}", of.file, of.line),
                Why::ExplicitWins { by } => format!("explicit {}:{}", by.file, by.line),
                Why::LaterGlob { by } => format!("glob {}:{}", by.file, by.line),
                Why::Excluded { by } => format!("excluded {}:{}", by.file, by.line),
            };
            format!("{}:{} {kind}", l.place.file, l.place.line).replace("/etc/sysctl.d/", "")
        })
        .collect();
    assert_eq!(
        why,
        [
            "/usr/lib/sysctl.d/30.conf:1 hidden 30.conf",
            "20.conf:1 repeated 10.conf:1",
            "20.conf:2 replaced 30.conf:1",
            "10.conf:1 explicit 30.conf:1",
            "10.conf:2 explicit 30.conf:1",
        ]
    );
    assert_eq!(
        found.procps.map(|set| (set.file, set.value)),
        Some((PROCPS_FILE.into(), "1".into()))
    );

    let files = [lib("50-default.conf", DEFAULT)];
    let all = resolve_full(&files, &rp_filter_key("all"));
    assert_eq!(all.setting, None);
    assert_eq!(all.excluded_by.map(|place| place.line), Some(7));
    assert!(matches!(
        all.losers.as_slice(),
        [Loser {
            why: Why::Excluded { .. },
            ..
        }]
    ));

    let files = [etc(
        "1.conf",
        "net.ipv4.conf.*.rp_filter=2\nnet.ipv4.conf.l*.rp_filter=1",
    )];
    let glob = resolve_full(&files, &rp_filter_key("lxc1"));
    assert!(matches!(
        glob.losers.as_slice(),
        [Loser {
            why: Why::LaterGlob { .. },
            ..
        }]
    ));
    let pattern = "net/ipv4/conf/l*/rp_filter".to_owned();
    assert_eq!(glob.setting.map(|set| set.via), Some(Via::Glob { pattern }));
}

#[test]
fn new_devices() {
    let seed = [etc("10-network-security.conf", SEED)];
    let found = prediction(&seed, &udev(), "lxc1");
    assert_eq!(found.value, Some(2));
    assert!(matches!(&found.source, Source::Inherited { setting } if setting.line == 1));
    assert_eq!(found.not_applied, None);

    let systemd = [lib("50-default.conf", DEFAULT)];
    let found = prediction(&systemd, &udev(), "lxc1");
    assert!(matches!(&found.source, Source::Udev { setting, .. } if setting.line == 6));
    let found = prediction(&systemd, &[], "lxc1");
    assert!(matches!(&found.source, Source::Inherited { setting } if setting.line == 5));
    assert_eq!(found.not_applied.map(|set| set.line), Some(6));
    let found = prediction(&systemd, &udev(), "lo");
    assert!(
        matches!(found.source, Source::Inherited { .. }),
        "udev skips lo"
    );

    let excluded = [
        lib("50-default.conf", DEFAULT),
        etc(
            "60.conf",
            "-net.ipv4.conf.lxc1.rp_filter\nnet.ipv4.conf.default.rp_filter=1",
        ),
    ];
    let found = prediction(&excluded, &udev(), "lxc1");
    assert_eq!(found.value, Some(1));
    assert_eq!(found.excluded_by.map(|place| place.line), Some(1));

    let found = prediction(&[], &udev(), "lxc1");
    assert_eq!((found.value, found.source), (Some(0), Source::Kernel));
    let found = prediction(
        &[etc("1.conf", "net.ipv4.conf.*.rp_filter = off")],
        &udev(),
        "x",
    );
    assert_eq!(found.value, None);
}

#[test]
fn advice_wins() {
    let mut count = 0;
    for row in rows(include_str!("advice_wins.txt")) {
        let [what, pattern, devices, files] = row.as_slice() else {
            panic!("{row:?}")
        };
        let mut files = cell(files);
        let advice = advise(&files, pattern);
        assert!(
            files.iter().all(|file| file.name() != advice.name),
            "{what}: name is taken"
        );
        assert_eq!(advice.path, format!("/etc/sysctl.d/{}", advice.name));
        assert!(
            parse(&advice.content).refused.is_empty(),
            "{what}: {}",
            advice.content
        );
        files.push(ConfigFile::new(&advice.path, &advice.content));
        for device in devices.split_ascii_whitespace() {
            let found = prediction(&files, &udev(), device);
            assert_eq!(
                found.value,
                Some(0),
                "{what}, {device}:\n{}",
                advice.content
            );
            assert!(
                matches!(found.source, Source::Udev { .. }),
                "{what}, {device}"
            );
        }
        let all = resolve(&files, "net.ipv4.conf.all.rp_filter");
        assert!(all.is_none_or(|set| set.number() == Some(0)), "{what}: all");
        count += 1;
    }
    assert!(count > 10);
}

#[test]
fn advice_touches_no_more_than_needed() {
    let files = [
        lib("50-default.conf", DEFAULT),
        etc("60.conf", "net.ipv4.conf.eth0.rp_filter=1"),
    ];
    let advice = advise(&files, "lxc*");
    assert_eq!(advice.name, "99-zz-dropwatch-rp-filter.conf");
    assert_eq!(
        (advice.all, advice.explicit.len(), advice.warnings.len()),
        (None, 0, 0)
    );
    assert!(
        !advice.content.contains("conf.all.rp_filter = 0"),
        "{}",
        advice.content
    );
    assert!(!advice.content.contains("eth0"));
    assert!(
        advice
            .content
            .contains("net.ipv4.conf.lxc*.rp_filter = 0\n")
    );

    let files = [
        etc(
            "50.conf",
            "net.ipv4.conf.lxc1.rp_filter=1\nnet.ipv4.conf.all.rp_filter=1",
        ),
        ConfigFile::new(PROCPS_FILE, "net.ipv4.conf.all.rp_filter=2"),
        ConfigFile {
            error: Some("denied".into()),
            ..etc("70.conf", "")
        },
    ];
    let advice = advise(&files, "lxc*");
    assert_eq!(
        advice
            .explicit
            .iter()
            .map(|set| set.line)
            .collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(advice.all.map(|set| set.line), Some(2));
    assert_eq!(advice.warnings.len(), 2, "{:?}", advice.warnings);
    assert_eq!(
        advise(&[], "*").warnings.len(),
        2,
        "matches all and default"
    );
}

/// A directory that is removed when the test ends.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dropwatch-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a writable temporary directory");
        Self(path)
    }

    fn file(&self, path: &str, content: &[u8]) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a directory"))
            .expect("a writable temporary directory");
        fs::write(path, content).expect("a writable temporary directory");
    }

    fn link(&self, target: &str, path: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a directory"))
            .expect("a writable temporary directory");
        symlink(target, path).expect("a writable temporary directory");
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn reads_a_tree() {
    let tree = Tree::new("sysctl-d");
    tree.file("etc/sysctl.conf", b"net.ipv4.conf.all.rp_filter=1\n");
    tree.link("../sysctl.conf", "etc/sysctl.d/99-sysctl.conf");
    tree.link("/dev/null", "etc/sysctl.d/50-masked.conf");
    tree.link("/nowhere/at/all", "etc/sysctl.d/55-dangling.conf");
    tree.file(
        "etc/sysctl.d/60-latin.conf",
        b"# caf\xe9\nnet.ipv4.conf.eth0.rp_filter=1 \xff\n",
    );
    tree.file("etc/sysctl.d/README", b"net.ipv4.conf.all.rp_filter=9\n");
    tree.file(
        "etc/sysctl.d/.hidden.conf",
        b"net.ipv4.conf.all.rp_filter=9\n",
    );
    fs::create_dir_all(tree.0.join("etc/sysctl.d/70-dir.conf"))
        .expect("a writable temporary directory");
    tree.file(
        "usr/lib/sysctl.d/50-masked.conf",
        b"net.ipv4.conf.lo.rp_filter=1\n",
    );
    tree.file(
        "usr/lib/sysctl.d/55-dangling.conf",
        b"net.ipv4.conf.lo.rp_filter=1\n",
    );
    tree.link("usr/lib", "lib");
    tree.file("usr/lib/udev/rules.d/99-systemd.rules", UDEV.as_bytes());

    let files = read(&tree.0);
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/etc/sysctl.d/50-masked.conf",
            "/etc/sysctl.d/55-dangling.conf",
            "/etc/sysctl.d/60-latin.conf",
            "/etc/sysctl.d/70-dir.conf",
            "/etc/sysctl.d/99-sysctl.conf",
            "/usr/lib/sysctl.d/50-masked.conf",
            "/usr/lib/sysctl.d/55-dangling.conf",
            "/etc/sysctl.conf",
        ]
    );
    assert_eq!(files[0].target.as_deref(), Some("/dev/null"));
    assert_eq!(
        (files[0].error.as_deref(), files[0].text.as_str()),
        (None, "")
    );
    assert!(files[1].error.is_some() && files[3].error.is_some());
    assert_eq!(files[4].target.as_deref(), Some("/etc/sysctl.conf"));
    assert_eq!(files[7].origin, Origin::Procps);

    assert_eq!(winner(&files, &rp_filter_key("lo")), "-", "masked");
    let all = resolve_full(&files, &rp_filter_key("all"));
    assert_eq!(
        all.setting.map(|set| set.file),
        Some("/etc/sysctl.d/99-sysctl.conf".into())
    );
    assert_eq!(all.procps.map(|set| set.file), Some(PROCPS_FILE.into()));
    let eth0 = resolve(&files, &rp_filter_key("eth0")).expect("a winner");
    assert_eq!((eth0.line, eth0.number()), (2, Some(1)));

    let rules = read_rules(&tree.0);
    assert_eq!(rules.len(), 1, "/lib is the same directory");
    tree.link("/dev/null", "etc/udev/rules.d/99-systemd.rules");
    assert!(read_rules(&tree.0).is_empty());
    assert!(read(&tree.0.join("missing")).is_empty());
}
