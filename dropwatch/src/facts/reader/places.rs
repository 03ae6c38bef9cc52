//! Where namespaces can be opened.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::parse::mounted_namespaces;

/// Where `ip netns` and container runtimes keep names of namespaces.
const FOLDERS: [&str; 3] = ["/run/netns", "/var/run/docker/netns", "/run/docker/netns"];

/// How long a reading of the folders serves.
const FRESH: Duration = Duration::from_millis(200);
/// How long it serves to say that a namespace has no name.
const FRESH_ABSENCE: Duration = Duration::from_millis(20);

/// A namespace with a name.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) inode: u32,
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// The names of namespaces, as last seen.
pub(super) struct Names {
    device: u64,
    seen: Option<(Instant, Vec<Named>)>,
}

impl Names {
    /// Namespaces are files of the file system on this device.
    pub(super) fn new(device: u64) -> Self {
        Self { device, seen: None }
    }

    /// The name of a namespace.
    pub(super) fn find(&mut self, inode: u32) -> Option<Named> {
        for limit in [FRESH, FRESH_ABSENCE] {
            let found = self
                .all(limit)
                .iter()
                .find(|named| named.inode == inode)
                .cloned();
            if let Some(named) = found {
                if self.leads_to(&named.path) == Some(inode) {
                    return Some(named);
                }
                self.seen = None;
            }
        }
        None
    }

    /// All names.
    pub(super) fn list(&mut self, again: bool) -> &[Named] {
        self.all(if again { FRESH_ABSENCE } else { FRESH })
    }

    fn all(&mut self, limit: Duration) -> &[Named] {
        let seen = self.seen.take().filter(|(at, _)| at.elapsed() < limit);
        let seen = seen.unwrap_or_else(|| (Instant::now(), self.read()));
        &self.seen.insert(seen).1
    }

    fn read(&self) -> Vec<Named> {
        let mut found = Vec::new();
        for folder in FOLDERS {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                // Docker's handle of the host's namespace says nothing.
                let telling = folder == FOLDERS[0] || name != "default";
                if let Some(inode) = self.leads_to(&path).filter(|_| telling) {
                    found.push(Named { inode, name, path });
                }
            }
        }
        found
    }

    /// The namespace that the path opens, if it is one.
    fn leads_to(&self, path: &Path) -> Option<u32> {
        let meta = fs::metadata(path).ok()?;
        (meta.dev() == self.device)
            .then(|| u32::try_from(meta.ino()).ok())
            .flatten()
    }
}

/// What opens the namespace of a process.
pub(super) fn process_path(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

/// Where else the namespace is mounted.
pub(super) fn mounted(inode: u32) -> Option<PathBuf> {
    let mounts = fs::read("/proc/thread-self/mountinfo").ok()?;
    mounted_namespaces(&mounts)
        .find(|(found, _)| *found == inode)
        .map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_no_such_device_has_no_name() {
        let mut names = Names::new(u64::MAX);
        assert!(names.find(1).is_none());
        assert!(names.list(true).is_empty());
        assert_eq!(names.leads_to(Path::new("/proc/self/ns/net")), None);
        assert_eq!(names.leads_to(Path::new("/nowhere")), None);
    }

    #[test]
    fn a_namespace_of_a_process_opens_at_its_path() {
        let path = process_path(std::process::id());
        let device = fs::metadata(&path).expect("this process has one").dev();
        assert!(Names::new(device).leads_to(&path).is_some());
    }
}
