//! Which processes are in which network namespace: one pass over `/proc` for many questions.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::facts::Process;

/// How long a scan serves to list processes.
const FRESH: Duration = Duration::from_millis(200);
/// How long a scan serves to say that there is no process.
const FRESH_ABSENCE: Duration = Duration::from_millis(20);
/// A scan serves at least so many times the time it took.
const COST_FACTOR: u32 = 8;

/// The processes of all namespaces, as last seen.
#[derive(Default)]
pub(super) struct Processes {
    scan: Option<Scan>,
}

struct Scan {
    at: Instant,
    cost: Duration,
    groups: HashMap<u32, Group>,
    hidden: usize,
}

#[derive(Default)]
struct Group {
    pids: Vec<u32>,
    /// Kernel threads have been taken out.
    sifted: bool,
}

/// The processes of one namespace.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Members {
    /// The first of them.
    pub(super) first: Vec<Process>,
    /// How many there are.
    pub(super) count: usize,
}

impl Processes {
    /// Pids in the namespace, lowest first, kernel threads included.
    pub(super) fn pids(&mut self, netns: u32) -> &[u32] {
        let known = self
            .fresh(FRESH)
            .is_some_and(|scan| scan.groups.contains_key(&netns));
        if !known {
            self.refresh(FRESH_ABSENCE);
        }
        let group = self.scan.as_ref().and_then(|scan| scan.groups.get(&netns));
        group.map_or(&[], |group| group.pids.as_slice())
    }

    /// The user processes of the namespace: the `most` with the lowest pids, and how many in all.
    pub(super) fn members(&mut self, netns: u32, most: usize) -> Members {
        self.pids(netns);
        let group = self
            .scan
            .as_mut()
            .and_then(|scan| scan.groups.get_mut(&netns));
        let Some(group) = group else {
            return Members::default();
        };
        if !group.sifted {
            group.pids.retain(|&pid| !is_kernel_thread(pid));
            group.sifted = true;
        }
        let still_there = |&pid: &u32| {
            (netns_of(pid) == Ok(Some(netns)))
                .then(|| name(pid))
                .flatten()
        };
        let first = group
            .pids
            .iter()
            .filter_map(still_there)
            .take(most)
            .collect();
        Members {
            first,
            count: group.pids.len(),
        }
    }

    /// Every namespace that has a process, with the lowest pid in it. `again` when one was missing.
    pub(super) fn all(&mut self, again: bool) -> Vec<(u32, u32)> {
        self.refresh(if again { FRESH_ABSENCE } else { FRESH });
        let groups = self.scan.iter().flat_map(|scan| &scan.groups);
        groups
            .filter_map(|(&netns, group)| Some((netns, *group.pids.first()?)))
            .collect()
    }

    /// How many processes could not be looked at, for want of privileges.
    pub(super) fn hidden(&self) -> usize {
        self.scan.as_ref().map_or(0, |scan| scan.hidden)
    }

    fn fresh(&self, limit: Duration) -> Option<&Scan> {
        let scan = self.scan.as_ref()?;
        (scan.at.elapsed() < limit.max(scan.cost * COST_FACTOR)).then_some(scan)
    }

    fn refresh(&mut self, limit: Duration) {
        if self.fresh(limit).is_none() {
            self.scan = Some(Scan::now());
        }
    }
}

impl Scan {
    fn now() -> Self {
        let at = Instant::now();
        let mut groups: HashMap<u32, Group> = HashMap::new();
        let mut hidden = 0;
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            match netns_of(pid) {
                Ok(Some(netns)) => groups.entry(netns).or_default().pids.push(pid),
                Ok(None) => {}
                Err(Hidden) => hidden += 1,
            }
        }
        for group in groups.values_mut() {
            group.pids.sort_unstable();
        }
        Self {
            at,
            cost: at.elapsed(),
            groups,
            hidden,
        }
    }
}

/// The process is there, but may not be looked at.
#[derive(Debug, PartialEq, Eq)]
struct Hidden;

/// The namespace of a process; `None` when the process is gone or going.
fn netns_of(pid: u32) -> Result<Option<u32>, Hidden> {
    match fs::read_link(format!("/proc/{pid}/ns/net")) {
        Ok(target) => Ok(target.to_str().and_then(inode)),
        Err(e) if e.kind() == ErrorKind::PermissionDenied => Err(Hidden),
        Err(_) => Ok(None),
    }
}

/// The number in `net:[4026531840]`.
pub(super) fn inode(text: &str) -> Option<u32> {
    text.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// Kernel threads have no executable. What cannot be looked at counts as a user process.
fn is_kernel_thread(pid: u32) -> bool {
    matches!(fs::read_link(format!("/proc/{pid}/exe")), Err(e) if e.kind() == ErrorKind::NotFound)
}

pub(super) fn name(pid: u32) -> Option<Process> {
    let comm = fs::read(format!("/proc/{pid}/comm")).ok()?;
    let comm = String::from_utf8_lossy(comm.strip_suffix(b"\n").unwrap_or(&comm)).into_owned();
    Some(Process { pid, comm })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_namespaces_are_read() {
        assert_eq!(inode("net:[4026531840]"), Some(4_026_531_840));
        for wrong in [
            "mnt:[4026531840]",
            "net:[]",
            "net:[4026531840",
            "",
            "net:[99999999999]",
        ] {
            assert_eq!(inode(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn this_process_is_found_where_it_is() {
        let own = netns_of(std::process::id())
            .expect("one may look at oneself")
            .expect("alive");
        let mut processes = Processes::default();
        assert!(processes.pids(own).contains(&std::process::id()));
        let members = processes.members(own, usize::MAX);
        let me = members
            .first
            .iter()
            .find(|p| p.pid == std::process::id())
            .expect("listed");
        assert!(!me.comm.is_empty() && !me.comm.ends_with('\n'));
        assert!(members.first.is_sorted_by_key(|p| p.pid));
        assert!(
            members.first.iter().all(|p| p.pid != 2),
            "kthreadd is no user process"
        );
        assert!(processes.all(false).iter().any(|&(netns, _)| netns == own));
        assert_eq!(processes.pids(1), [0; 0]);
        assert_eq!(processes.members(1, 4), Members::default());
    }
}
