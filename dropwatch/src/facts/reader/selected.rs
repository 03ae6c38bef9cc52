//! What a user names to select by: whether it can be, and whether it is there.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::statfs;

use super::netns::Namespaces;
use super::parse::mounted_namespaces;
use super::process::inode;
use crate::facts::FactError;

/// `NSFS_MAGIC` (include/uapi/linux/magic.h).
const NSFS: u64 = 0x6e73_6673;

/// Longest look for a device.
const LIMIT: Duration = Duration::from_millis(500);

/// The inode number of the network namespace that a path leads to.
///
/// # Errors
///
/// What the system says, or that it is something else.
pub fn netns_at(path: &Path) -> Result<u32, String> {
    let meta = fs::metadata(path).map_err(|e| e.to_string())?;
    let number = u32::try_from(meta.ino()).ok();
    let is_namespace = statfs(path).is_ok_and(|of| of.f_type as u64 == NSFS);
    let Some(number) = number.filter(|_| is_namespace) else {
        return Err("no network namespace".into());
    };
    // Links of processes tell which kind of namespace it is; of mounted ones, the mount does.
    let is_net = match fs::read_link(path) {
        Ok(target) if target.to_string_lossy().contains(":[") => {
            target.to_str().and_then(inode) == Some(number)
        }
        _ => {
            let mounts = fs::read("/proc/thread-self/mountinfo").unwrap_or_default();
            mounted_namespaces(&mounts).any(|(mounted, _)| mounted == number)
        }
    };
    is_net
        .then_some(number)
        .ok_or_else(|| "a namespace, but not of the network".into())
}

/// Why nothing is known that is selected, if so: a namespace by its number, devices by a name that may end with a star.
/// It may come later, or be where nothing leads to.
#[must_use]
pub fn absent(netns: Option<u32>, dev: Option<&str>) -> Option<String> {
    let mut namespaces = Namespaces::new().ok()?;
    if let Some(netns) = netns
        && let Err(why) = namespaces.open(netns)
    {
        return Some(why.to_string());
    }
    let pattern = dev?;
    let until = Instant::now() + LIMIT;
    let candidates = netns.map_or_else(|| namespaces.all(0, false), |netns| vec![netns]);
    for candidate in candidates {
        // Not all were looked at: nothing is said.
        if Instant::now() > until {
            return None;
        }
        let file = namespaces.open(candidate).ok()?;
        let devices = namespaces.inside(candidate, &file, || {
            let path = "/proc/thread-self/net/dev";
            fs::read_to_string(path).map_err(|e| FactError::io(path, &e))
        });
        if devices
            .ok()?
            .lines()
            .filter_map(device)
            .any(|name| means(pattern, name))
        {
            return None;
        }
    }
    let place = if netns.is_some() {
        "there"
    } else {
        "in any network namespace"
    };
    Some(format!("no device {pattern} {place}"))
}

/// The name in a line of `/proc/net/dev`.
fn device(line: &str) -> Option<&str> {
    Some(line.split_once(':')?.0.trim())
}

/// Whether the programs' filter takes a device of that name for one of the pattern.
fn means(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_network_namespaces_are_taken() {
        let own = netns_at(Path::new("/proc/self/ns/net")).expect("a namespace");
        assert_eq!(netns_at(Path::new("/proc/thread-self/ns/net")), Ok(own));
        for other in ["/etc/passwd", "/proc/self/ns/mnt", "/", "/proc/self/ns"] {
            assert!(netns_at(Path::new(other)).is_err(), "{other}");
        }
    }

    #[test]
    fn what_is_there_is_not_absent() {
        let own = netns_at(Path::new("/proc/self/ns/net")).expect("a namespace");
        assert_eq!(absent(Some(own), Some("lo")), None);
        assert_eq!(absent(None, Some("l*")), None);
        let why = absent(Some(own), Some("nope"));
        assert_eq!(why.as_deref(), Some("no device nope there"));
        let why = absent(Some(1), None).expect("no such namespace");
        assert!(why.starts_with("netns 1 has no "), "{why}");
    }

    #[test]
    fn a_star_stands_for_any_rest() {
        assert!(means("lxc*", "lxc1") && means("lxc*", "lxc") && means("lo", "lo"));
        assert!(!means("lxc*", "lx") && !means("lo", "lo1"));
    }
}
