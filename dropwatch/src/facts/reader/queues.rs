//! The queues of NFQUEUE, and who listens on them.
//!
//! Format: `seq_show` in net/netfilter/nfnetlink_queue.c, 5.10 to 7.2: number, netlink port, packets waiting, copy
//! mode, copy range, packets that found the queue full, packets that the socket had no room for, last id, 1.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Instant;

use super::netns::Namespaces;
use super::process;
use crate::facts::{
    FactError, Process,
    queues::{Queue, Queues},
};

/// There while the module is loaded.
const QUEUES: &str = "/proc/thread-self/net/netfilter/nfnetlink_queue";
/// Netlink sockets: address, protocol, port, …, and the socket's inode number last.
const SOCKETS: &str = "/proc/thread-self/net/netlink";
/// `NETLINK_NETFILTER` (include/uapi/linux/netlink.h).
const NETFILTER: &str = "12";

pub(super) fn read(
    namespaces: &mut Namespaces,
    netns: u32,
    until: Instant,
) -> Result<Queues, FactError> {
    let file = namespaces.open(netns)?;
    let (text, sockets) = namespaces.inside(netns, &file, || {
        let text = match fs::read_to_string(QUEUES) {
            Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
            read => read.map_err(|e| FactError::io(QUEUES, &e))?,
        };
        // Without it the queues lack their holders only.
        Ok::<_, FactError>((text, fs::read_to_string(SOCKETS).unwrap_or_default()))
    })?;
    let mut queues: Vec<Queue> = text.lines().filter_map(queue).collect();
    if !queues.is_empty() {
        let inodes = inodes(&sockets);
        for queue in &mut queues {
            let inode = inodes.get(&queue.port);
            queue.holder = inode.and_then(|inode| holder(*inode, queue.port, until));
        }
    }
    Ok(Queues { queues })
}

fn queue(line: &str) -> Option<Queue> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [
        number,
        port,
        waiting,
        copy_mode,
        _,
        dropped,
        user_dropped,
        ..,
    ] = words[..]
    else {
        return None;
    };
    Some(Queue {
        number: number.parse().ok()?,
        port: port.parse().ok()?,
        holder: None,
        waiting: waiting.parse().ok()?,
        copy_mode: copy_mode.parse().ok(),
        dropped: dropped.parse().ok()?,
        user_dropped: user_dropped.parse().ok()?,
    })
}

/// Inode numbers of nfnetlink sockets by port.
fn inodes(text: &str) -> HashMap<u32, u64> {
    let sockets = text.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (protocol, port, inode) = (*words.get(1)?, *words.get(2)?, *words.last()?);
        (protocol == NETFILTER)
            .then_some(())
            .and(Some((port.parse().ok()?, inode.parse().ok()?)))
    });
    sockets.collect()
}

/// The process that has the socket. The first socket of a process has its pid for a port, so that one is asked
/// first.
fn holder(inode: u64, port: u32, until: Instant) -> Option<Process> {
    let all = fs::read_dir("/proc").ok()?.flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let socket = format!("socket:[{inode}]");
    std::iter::once(port)
        .chain(pids)
        // Not found in time is not found.
        .take_while(|_| Instant::now() < until)
        .find(|pid| has_socket(*pid, Path::new(&socket), until))
        .and_then(process::name)
}

/// By what the links say, which asks no file system: a dead one would not answer, and others have the same numbers.
fn has_socket(pid: u32, socket: &Path, until: Instant) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files
        .flatten()
        .take_while(|_| Instant::now() < until)
        .any(|file| fs::read_link(file.path()).is_ok_and(|target| target == socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_and_their_sockets_are_read() {
        let line = "   80   1234     3 2 65531     7     5      123  1";
        let found = queue(line).expect("a queue");
        assert_eq!((found.number, found.port, found.waiting), (80, 1234, 3));
        assert_eq!((found.dropped, found.user_dropped), (7, 5));
        assert_eq!(found.copy_mode, Some(2));
        assert_eq!(queue("   80   1234"), None);
        let sockets = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
            0000000000000000 12  1234       00000000 0        0        0     2        0        5678\n\
            0000000000000000 0   1234       00000000 0        0        0     2        0        5679\n";
        assert_eq!(inodes(sockets), HashMap::from([(1234, 5678)]));
    }

    #[test]
    fn a_socket_leads_to_its_process() {
        use std::os::fd::AsFd as _;
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let inode = rustix::fs::fstat(socket.as_fd()).expect("open").st_ino;
        let later = Instant::now() + std::time::Duration::from_secs(20);
        let found = holder(inode, u32::MAX, later).expect("this process");
        assert_eq!(found.pid, std::process::id());
        assert_eq!(holder(u64::MAX, 1, later), None);
        assert_eq!(holder(inode, u32::MAX, Instant::now()), None, "no time");
    }

    #[test]
    fn a_file_with_the_number_of_a_socket_is_no_socket() {
        use std::os::unix::fs::MetadataExt as _;
        let file = fs::File::open(std::env::current_exe().expect("a path")).expect("a file");
        let inode = file.metadata().expect("open").ino();
        let later = Instant::now() + std::time::Duration::from_secs(20);
        let socket = format!("socket:[{inode}]");
        assert!(!has_socket(std::process::id(), Path::new(&socket), later));
    }
}
