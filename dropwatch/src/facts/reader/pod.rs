//! The Kubernetes pod that a process belongs to.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::facts::Process;

/// Most that is read of a file which a container controls.
const MOST_BYTES: u64 = 64 * 1024;

/// The pod that all of the processes are in: none when one of them is outside of any pod, as on a
/// node's own network.
pub(super) fn name(processes: &[Process]) -> Option<String> {
    let in_pod =
        |p: &Process| bytes(p.pid, "cgroup").is_some_and(|text| contains(&text, b"kubepods"));
    if processes.is_empty() || !processes.iter().all(in_pod) {
        return None;
    }
    processes.iter().find_map(|process| {
        let environment = bytes(process.pid, "environ").unwrap_or_default();
        from_environment(&environment).or_else(|| from_file(process.pid))
    })
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}

fn bytes(pid: u32, file: &str) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let opened = File::open(format!("/proc/{pid}/{file}")).ok()?;
    opened.take(MOST_BYTES).read_to_end(&mut content).ok()?;
    Some(content)
}

fn from_environment(environment: &[u8]) -> Option<String> {
    let mut variables = environment.split(|&byte| byte == 0);
    pod_name(variables.find_map(|variable| variable.strip_prefix(b"HOSTNAME="))?)
}

/// From the container's `/etc/hostname`: never through a link that leads out of the container, and
/// never waiting for a pipe.
fn from_file(pid: u32) -> Option<String> {
    let root = File::open(format!("/proc/{pid}/root")).ok()?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let opened: OwnedFd = openat2(root, "etc/hostname", how).ok()?;
    let file = File::from(opened);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut content = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut content).ok()?;
    pod_name(content.split(|&byte| byte == b'\n').next()?)
}

/// The text, if a pod can have that name.
fn pod_name(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let ends = text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric());
    (ends && text.len() <= 253 && text.chars().all(allowed)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_pod() {
        let environment = b"PATH=/bin\0XHOSTNAME=no\0HOSTNAME=web-7d4b9-x2x\0HOME=/\0";
        assert_eq!(
            from_environment(environment).as_deref(),
            Some("web-7d4b9-x2x")
        );
        assert_eq!(from_environment(b"PATH=/bin\0"), None);
        assert_eq!(from_environment(b""), None);
    }

    #[test]
    fn only_what_can_be_a_pod_is_named() {
        assert_eq!(pod_name(b"web.0 ").as_deref(), Some("web.0"));
        for wrong in [
            &b""[..],
            b"-web",
            b"Web",
            b"a b",
            b"a\x1b[31m",
            b"\xff",
            &[b'a'; 254],
        ] {
            assert_eq!(pod_name(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_process_outside_of_pods_has_none() {
        let me = Process {
            pid: std::process::id(),
            comm: String::new(),
        };
        assert_eq!(name(&[me]), None);
        assert_eq!(name(&[]), None);
    }
}
