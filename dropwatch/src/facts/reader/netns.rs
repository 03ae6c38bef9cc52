//! Finds network namespaces by inode number and enters them.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};

use super::netlink::Netlink;
use super::places::{Named, Names, mounted, process_path};
use super::pod;
use super::process::Processes;
use crate::facts::{FactError, Netns};

/// Most paths remembered.
const MOST_PATHS: usize = 1024;

/// The namespaces of this machine, and where the thread is among them.
pub(super) struct Namespaces {
    own: File,
    own_inode: u32,
    /// Device number of the file system that namespaces are files of.
    device: u64,
    /// The thread could not be brought back to its own namespace.
    astray: bool,
    /// Where namespaces were found. Checked at each use, for inode numbers are used again.
    paths: HashMap<u32, PathBuf>,
    /// Which namespace had which id in another's. Checked at each use, too.
    ids: HashMap<(u32, i32), u32>,
    names: Names,
    processes: Processes,
}

impl Namespaces {
    /// The caller's namespace becomes the own one.
    pub(super) fn new() -> io::Result<Self> {
        let own = File::open("/proc/thread-self/ns/net")?;
        let meta = own.metadata()?;
        let own_inode = u32::try_from(meta.ino()).map_err(io::Error::other)?;
        Ok(Self {
            own,
            own_inode,
            device: meta.dev(),
            astray: false,
            paths: HashMap::new(),
            ids: HashMap::new(),
            names: Names::new(meta.dev()),
            processes: Processes::default(),
        })
    }

    /// Opens the namespace with this inode number.
    pub(super) fn open(&mut self, inode: u32) -> Result<File, FactError> {
        if inode == self.own_inode {
            return self
                .own
                .try_clone()
                .map_err(|e| FactError::io("own netns", &e));
        }
        if let Some(path) = self.paths.get(&inode) {
            if let Ok(Some(file)) = self.open_at(path, inode) {
                return Ok(file);
            }
            self.paths.remove(&inode);
        }
        let mut denied = None;
        for path in self.places(inode) {
            match self.open_at(&path, inode) {
                Ok(Some(file)) => {
                    self.make_room();
                    self.paths.insert(inode, path);
                    return Ok(file);
                }
                Ok(None) => {}
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                    let what = format!("netns {inode}: {}", path.display());
                    denied.get_or_insert(FactError::io(what, &e));
                }
                Err(_) => {}
            }
        }
        Err(denied.unwrap_or_else(|| self.nowhere(inode)))
    }

    /// Paths that may open the namespace, lasting ones first.
    fn places(&mut self, inode: u32) -> Vec<PathBuf> {
        let named = self.names.find(inode);
        let mut places: Vec<PathBuf> = named.into_iter().map(|named| named.path).collect();
        if places.is_empty() {
            let pids = self
                .processes
                .pids(inode)
                .iter()
                .take(Netns::MOST_PROCESSES);
            places.extend(pids.map(|&pid| process_path(pid)));
        }
        if places.is_empty() {
            places.extend(mounted(inode));
        }
        places
    }

    /// Forgets paths when there are too many, those of namespaces that are gone among them.
    fn make_room(&mut self) {
        if self.paths.len() >= MOST_PATHS {
            self.paths.clear();
        }
    }

    fn nowhere(&self, inode: u32) -> FactError {
        match self.processes.hidden() {
            0 => FactError::Gone(format!(
                "netns {inode} has no process and no name under /run/netns"
            )),
            hidden => FactError::NotPermitted(format!(
                "netns {inode} has no name under /run/netns and no process in sight; {hidden} may \
                 not be looked at (needs CAP_SYS_PTRACE)"
            )),
        }
    }

    /// Opens the path if it leads to this namespace.
    fn open_at(&self, path: &Path, inode: u32) -> io::Result<Option<File>> {
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)?;
        let meta = file.metadata()?;
        let same = meta.dev() == self.device && meta.ino() == u64::from(inode);
        Ok(same.then_some(file))
    }

    /// All namespaces that are known, other than `but`: own first.
    pub(super) fn all(&mut self, but: u32, again: bool) -> Vec<u32> {
        self.make_room();
        let mut all = vec![self.own_inode];
        for &Named {
            inode, ref path, ..
        } in self.names.list(again)
        {
            self.paths.entry(inode).or_insert_with(|| path.clone());
            all.push(inode);
        }
        for (inode, pid) in self.processes.all(again) {
            self.paths.entry(inode).or_insert_with(|| process_path(pid));
            all.push(inode);
        }
        let mut seen = HashSet::from([but]);
        all.retain(|&inode| seen.insert(inode));
        all
    }

    /// The namespace that had this id in another one when last seen.
    pub(super) fn known_by_id(&self, netns: u32, id: i32) -> Option<u32> {
        self.ids.get(&(netns, id)).copied()
    }

    /// Keeps in mind that a namespace has this id in another one.
    pub(super) fn remember_id(&mut self, netns: u32, id: i32, found: u32) {
        if self.ids.len() >= MOST_PATHS {
            self.ids.clear();
        }
        self.ids.insert((netns, id), found);
    }

    /// Opens a netlink socket in the namespace. It stays there when the thread has left.
    pub(super) fn netlink(&mut self, inode: u32, until: Instant) -> Result<Netlink, FactError> {
        let file = self.open(inode)?;
        self.inside(inode, &file, || {
            Netlink::open(until).map_err(|e| FactError::io("netlink", &e))
        })
    }

    /// Does `work` in the namespace.
    pub(super) fn inside<T, E: From<FactError>>(
        &mut self,
        inode: u32,
        file: &File,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let moves = inode != self.own_inode || self.astray;
        if moves {
            setns(file, CloneFlags::CLONE_NEWNET).map_err(|e| {
                let words = format!("netns {inode} cannot be entered: {}", e.desc());
                match e {
                    Errno::EPERM => FactError::NotPermitted(words),
                    _ => FactError::Other(words),
                }
            })?;
        }
        let result = work();
        if moves && inode != self.own_inode {
            self.astray = setns(&self.own, CloneFlags::CLONE_NEWNET).is_err();
        } else {
            self.astray = false;
        }
        result
    }

    /// Who and what the namespace is.
    pub(super) fn describe(&mut self, inode: u32) -> Result<Netns, FactError> {
        let named = self.names.find(inode);
        let members = self.processes.members(inode, Netns::MOST_PROCESSES);
        let own = inode == self.own_inode;
        let mount = if named.is_none() && members.first.is_empty() {
            mounted(inode)
        } else {
            None
        };
        if named.is_none() && members.count == 0 && mount.is_none() && !own {
            return Err(self.nowhere(inode));
        }
        let process = members
            .first
            .first()
            .map(|process| process_path(process.pid));
        let (name, path) = match named {
            Some(named) => (Some(named.name), Some(named.path)),
            None => {
                let name = mount.as_ref().and_then(|path| path.file_name());
                (
                    name.map(|name| name.to_string_lossy().into_owned()),
                    process.or(mount),
                )
            }
        };
        Ok(Netns {
            name,
            own,
            path: path.map(|path| path.to_string_lossy().into_owned()),
            pod: if own { None } else { pod::name(&members.first) },
            processes: members.first,
            process_count: members.count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_opens_without_privileges() {
        let mut namespaces = Namespaces::new().expect("own namespace");
        let own = namespaces.own_inode;
        let file = namespaces.open(own).expect("own");
        let seven: Result<i32, FactError> = namespaces.inside(own, &file, || Ok(7));
        assert_eq!(seven, Ok(7));
        let netns = namespaces.describe(own).expect("own");
        assert!(netns.own && netns.process_count > 0 && netns.pod.is_none());
        assert!(namespaces.all(own, false).iter().all(|&inode| inode != own));
        assert_eq!(namespaces.all(0, false).first(), Some(&own));
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_not_entered() {
        let mut namespaces = Namespaces::new().expect("own namespace");
        let own = namespaces.own_inode;
        let path = Path::new("/proc/self/ns/net");
        assert!(namespaces.open_at(path, own).expect("opens").is_some());
        assert!(namespaces.open_at(path, own + 1).expect("opens").is_none());
        namespaces.paths.insert(1, path.to_owned());
        let why = namespaces
            .open(1)
            .expect_err("the inode number is another's");
        assert!(why.to_string().starts_with("netns 1 has no "), "{why}");
        assert!(!namespaces.paths.contains_key(&1));
    }
}
