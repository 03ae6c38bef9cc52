//! The Kubernetes pod that a process belongs to.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread::Builder;
use std::time::Duration;

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::facts::Process;

/// Most that is read of a file which a container controls.
const MOST_BYTES: u64 = 64 * 1024;

/// How long a container may take to give its name away: its memory and files may be on a file system that it serves itself.
const LIMIT: Duration = Duration::from_millis(100);
/// Most threads that may hang in such file systems; then no more names are asked.
const MOST_HANGING: usize = 4;

/// The pod that all of the processes are in: none when one of them is outside of any pod, as on a
/// node's own network.
pub(super) fn name(processes: &[Process]) -> Option<String> {
    let in_pod =
        |p: &Process| bytes(p.pid, "cgroup").is_some_and(|text| contains(&text, b"kubepods"));
    if processes.is_empty() || !processes.iter().all(in_pod) {
        return None;
    }
    let pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
    static ASKING: AtomicUsize = AtomicUsize::new(0);
    in_time(&ASKING, LIMIT, move || {
        pids.into_iter().find_map(|pid| {
            let environment = bytes(pid, "environ").unwrap_or_default();
            from_environment(&environment).or_else(|| from_file(pid))
        })
    })
}

/// What `work` finds, if it does so in time; else its thread is left behind. `asking` counts such threads.
fn in_time(
    asking: &'static AtomicUsize,
    limit: Duration,
    work: impl FnOnce() -> Option<String> + Send + 'static,
) -> Option<String> {
    if asking.fetch_add(1, Ordering::Relaxed) >= MOST_HANGING {
        asking.fetch_sub(1, Ordering::Relaxed);
        return None;
    }
    let (tell, told) = channel();
    let thread = Builder::new().name("pod-name".into()).spawn(move || {
        // Nobody listens any more when it took too long.
        let _ = tell.send(work());
        asking.fetch_sub(1, Ordering::Relaxed);
    });
    if thread.is_err() {
        asking.fetch_sub(1, Ordering::Relaxed);
    }
    told.recv_timeout(limit).ok().flatten()
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

    #[test]
    fn a_container_that_does_not_answer_is_left_behind() {
        static ASKING: AtomicUsize = AtomicUsize::new(0);
        let limit = Duration::from_millis(10);
        let before = std::time::Instant::now();
        for _ in 0..10 {
            let hangs = || {
                std::thread::sleep(Duration::from_secs(20));
                None
            };
            assert_eq!(in_time(&ASKING, limit, hangs), None);
        }
        assert!(before.elapsed() < Duration::from_secs(10));
        assert_eq!(ASKING.load(Ordering::Relaxed), MOST_HANGING);
        static OTHERS: AtomicUsize = AtomicUsize::new(0);
        let answers = || Some("web".to_owned());
        assert_eq!(
            in_time(&OTHERS, Duration::from_secs(10), answers).as_deref(),
            Some("web")
        );
    }
}
