//! The resolver against the programs themselves, each run in a mount and network namespace of its
//! own over the same files.

use std::process::{Command, Output};

use super::tests::{cell, expand, rows};
use super::{ConfigFile, Setting, advise, resolve, resolve_procps, rp_filter_key};

/// What the key holds before a program runs; no table writes it.
const UNTOUCHED: i64 = 77;
/// What the unit systemd-sysctl.service runs.
const SYSTEMD: &str = "/lib/systemd/systemd-sysctl";
/// What the init script of procps runs.
const PROCPS: &str = "/sbin/sysctl --system";

/// Single quotes, for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn shell(script: &str) -> Option<Output> {
    Command::new("unshare")
        .args(["-mn", "sh", "-ec", script])
        .output()
        .ok()
}

/// The shell commands that put the files in place and create the device.
fn prepare(files: &[ConfigFile], device: &str) -> String {
    let mut script = String::from(
        "mount -t tmpfs none /etc/sysctl.d; mount -t tmpfs none /usr/lib/sysctl.d\n\
         mount -t tmpfs none /run; mkdir /run/sysctl.d; : > /run/sysctl.conf\n\
         mount --bind /run/sysctl.conf /etc/sysctl.conf\n",
    );
    if !matches!(device, "all" | "default") {
        script += &format!("ip link add {device} type veth peer name dwpeer\n");
    }
    for file in files {
        script += &format!(
            "printf %s {} > {}\n",
            quoted(&file.text),
            quoted(&file.path)
        );
    }
    script + &format!("echo {UNTOUCHED} > /proc/sys/{}\n", rp_filter_key(device))
}

/// The device's value after the program ran; `None` if it could not be run here.
fn run(files: &[ConfigFile], device: &str, program: &str) -> Option<i64> {
    let key = rp_filter_key(device);
    let script = prepare(files, device) + &format!("{program} >&2 || true; cat /proc/sys/{key}\n");
    let output = shell(&script)?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// True if the programs and the namespaces are to be had; says so if not.
fn possible(program: &str) -> bool {
    let usable = std::path::Path::new(program.split(' ').next().unwrap_or_default()).exists()
        && run(&[], "lxc1", "true") == Some(UNTOUCHED);
    if !usable {
        println!("skipped: {program} or the namespaces it needs are missing");
    }
    usable
}

/// Calls `check` with each row of the two tables: what it tests, the device, the files.
fn cases(mut check: impl FnMut(&str, &str, &[ConfigFile])) {
    let mut count = 0;
    for table in [include_str!("who_wins.txt"), include_str!("real.txt")] {
        for row in rows(table) {
            let (what, key, files) = (row[0], super::normalize(&expand(row[1])), cell(row[2]));
            let device = key.split('/').nth(3).expect("a device");
            check(what, device, &files);
            count += 1;
        }
    }
    assert!(count >= 40, "{count} cases");
}

/// Runs every case and compares with what a resolver says.
fn compare(program: &str, resolver: impl Fn(&[ConfigFile], &str) -> Option<Setting>) {
    if !possible(program) {
        return;
    }
    let mut wrong = Vec::new();
    cases(|what, device, files| {
        let set = resolver(files, &rp_filter_key(device)).and_then(|set| set.number());
        let want = Some(set.unwrap_or(UNTOUCHED));
        let got = run(files, device, program);
        if got != want {
            wrong.push(format!("{what}: program {got:?}, resolver {want:?}"));
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn systemd_sysctl_agrees() {
    compare(SYSTEMD, resolve);
}

#[test]
fn procps_agrees() {
    compare(PROCPS, resolve_procps);
}

#[test]
fn the_advised_file_wins_with_both() {
    for program in [SYSTEMD, PROCPS] {
        if !possible(program) {
            continue;
        }
        for row in rows(include_str!("advice_wins.txt")) {
            let [what, pattern, devices, files] = row.as_slice() else {
                panic!("{row:?}")
            };
            let mut files = cell(files);
            let advice = advise(&files, pattern);
            files.retain(|file| file.path != advice.path);
            files.push(ConfigFile::new(&advice.path, &advice.content));
            for device in devices.split_whitespace() {
                let got = run(&files, device, program);
                assert_eq!(got, Some(0), "{what}: {device}, {program}");
            }
        }
    }
}
