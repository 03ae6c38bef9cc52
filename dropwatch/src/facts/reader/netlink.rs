//! Synchronous questions to rtnetlink and nfnetlink with a time limit.

use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer,
};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;

use super::parse::attribute;
use crate::facts::FactError;

/// Room for one datagram; the kernel fills dumps up to this.
const DATAGRAM: usize = 32 * 1024;
const HEADER: usize = 16;

/// Why a question had no answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The kernel answered with this error.
    Refused(Command, Errno),
    /// There was no answer in time.
    Late(Command),
    /// Anything else, in words.
    Other(Command, String),
}

impl Failure {
    /// The kernel's error number, if it answered with one.
    pub(super) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused(_, errno) => Some(*errno),
            Self::Late(_) | Self::Other(..) => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(command, errno) => write!(f, "netlink: {}: {}", command.0, errno.desc()),
            Self::Late(command) => write!(f, "netlink: {}: took too long", command.0),
            Self::Other(command, why) => write!(f, "netlink: {}: {why}", command.0),
        }
    }
}

impl From<Failure> for FactError {
    fn from(failure: Failure) -> Self {
        let words = failure.to_string();
        match failure {
            Failure::Refused(_, Errno::EPERM | Errno::EACCES) => Self::NotPermitted(words),
            Failure::Refused(_, Errno::ENOENT | Errno::ENODEV | Errno::ESRCH) => Self::Gone(words),
            Failure::Late(_) => Self::TimedOut(words),
            Failure::Refused(..) | Failure::Other(..) => Self::Other(words),
        }
    }
}

impl From<Failure> for String {
    fn from(failure: Failure) -> Self {
        failure.to_string()
    }
}

/// An rtnetlink or nfnetlink command: name and message type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Command(&'static str, u16);

pub(super) const GETLINK: Command = Command("RTM_GETLINK", libc::RTM_GETLINK);
pub(super) const GETADDR: Command = Command("RTM_GETADDR", libc::RTM_GETADDR);
pub(super) const GETROUTE: Command = Command("RTM_GETROUTE", libc::RTM_GETROUTE);
pub(super) const GETNEIGH: Command = Command("RTM_GETNEIGH", libc::RTM_GETNEIGH);
pub(super) const GETRULE: Command = Command("RTM_GETRULE", libc::RTM_GETRULE);
pub(super) const GETNSID: Command = Command("RTM_GETNSID", libc::RTM_GETNSID);
// Subsystem in the upper byte: 1 is ctnetlink, 10 is nf_tables
// (include/uapi/linux/netfilter/{nfnetlink,nfnetlink_conntrack,nf_tables}.h).
pub(super) const CT_GET: Command = Command("IPCTNL_MSG_CT_GET", 0x0101);
pub(super) const CT_GET_STATS_CPU: Command = Command("IPCTNL_MSG_CT_GET_STATS_CPU", 0x0104);
pub(super) const CT_GET_STATS: Command = Command("IPCTNL_MSG_CT_GET_STATS", 0x0105);
pub(super) const NFT_GETCHAIN: Command = Command("NFT_MSG_GETCHAIN", 0x0a04);
pub(super) const NFT_GETRULE: Command = Command("NFT_MSG_GETRULE", 0x0a07);
pub(super) const NFT_GETGEN: Command = Command("NFT_MSG_GETGEN", 0x0a10);

/// A request under construction.
pub(super) struct Request {
    command: Command,
    body: Vec<u8>,
}

impl Request {
    /// A request with the command's fixed header.
    pub(super) fn new(command: Command, header: &[u8]) -> Self {
        Self {
            command,
            body: header.to_vec(),
        }
    }

    /// Adds an attribute of 4 bytes.
    pub(super) fn with(self, kind: u16, value: [u8; 4]) -> Self {
        self.with_bytes(kind, &value)
    }

    /// Adds an attribute of any length.
    pub(super) fn with_bytes(mut self, kind: u16, value: &[u8]) -> Self {
        self.body.extend(attribute(kind, value));
        self
    }

    /// Header and attributes.
    #[cfg(test)]
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    fn bytes(&self, flags: u16, sequence: u32) -> Vec<u8> {
        let length = HEADER + self.body.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        bytes.extend_from_slice(&self.command.1.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&0u32.to_ne_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A socket that asks in the namespace where it was opened.
pub(super) struct Netlink {
    socket: Socket,
    /// The same socket: what sets its receive timeout.
    timer: UdpSocket,
    until: Instant,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket to rtnetlink in the namespace where the thread is. All answers must come before
    /// `until`.
    pub(super) fn open(until: Instant) -> io::Result<Self> {
        Self::open_to(NETLINK_ROUTE, until)
    }

    /// The same to nfnetlink.
    pub(super) fn open_netfilter(until: Instant) -> io::Result<Self> {
        Self::open_to(NETLINK_NETFILTER, until)
    }

    fn open_to(protocol: isize, until: Instant) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        // Without it, dumps are filtered here only: slower, but the same answer.
        let _ = socket.set_netlink_get_strict_chk(true);
        // std sets timeouts on any socket, but has no type for netlink.
        let same: OwnedFd = socket.as_fd().try_clone_to_owned()?;
        let buffer = Vec::with_capacity(DATAGRAM);
        Ok(Self {
            socket,
            timer: UdpSocket::from(same),
            until,
            sequence: 0,
            buffer,
        })
    }

    /// Asks for one object; its message without the netlink header.
    pub(super) fn get(&mut self, request: &Request) -> Result<Vec<u8>, Failure> {
        self.send(request, 0)?;
        let mut found = None;
        self.receive(request.command, false, |body| found = Some(body.to_vec()))?;
        found.ok_or_else(|| Failure::Other(request.command, "empty answer".into()))
    }

    /// Asks for many objects; `each` gets every message without the netlink header.
    pub(super) fn dump(
        &mut self,
        request: &Request,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        self.send(request, NLM_F_DUMP)?;
        self.receive(request.command, true, &mut each)
    }

    fn send(&mut self, request: &Request, flags: u16) -> Result<(), Failure> {
        self.sequence += 1;
        let bytes = request.bytes(NLM_F_REQUEST | flags, self.sequence);
        let sent = self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0);
        sent.map(drop).map_err(|e| self.failed(request.command, &e))
    }

    fn receive(
        &mut self,
        command: Command,
        many: bool,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        loop {
            self.datagram(command)?;
            let mut rest = self.buffer.as_slice();
            while !rest.is_empty() {
                let message = NetlinkBuffer::new_checked(rest)
                    .map_err(|e| Failure::Other(command, e.to_string()))?;
                let body = message.payload();
                if message.sequence_number() == self.sequence {
                    match message.message_type() {
                        NLMSG_DONE => return end(command, body),
                        NLMSG_ERROR => return end(command, body),
                        _ => each(body),
                    }
                    if message.flags() & NLM_F_DUMP_INTR != 0 {
                        let why = "changed while it was read".to_owned();
                        return Err(Failure::Other(command, why));
                    }
                    if !many {
                        return Ok(());
                    }
                }
                let length = (message.length() as usize).next_multiple_of(4);
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }

    /// Receives one datagram of the kernel's.
    fn datagram(&mut self, command: Command) -> Result<(), Failure> {
        loop {
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure::Late(command));
            }
            let set = self.timer.set_read_timeout(Some(left));
            set.map_err(|e| self.failed(command, &e))?;
            self.buffer.clear();
            let flags = libc::MSG_TRUNC;
            match self.socket.recv_from(&mut self.buffer, flags) {
                Ok((size, _)) if size > self.buffer.len() => {
                    return Err(Failure::Other(command, format!("answer of {size} bytes")));
                }
                Ok((_, from)) if from.port_number() == 0 => return Ok(()),
                Ok(_) => {} // Another process wrote to this socket.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(command, &e)),
            }
        }
    }

    fn failed(&self, command: Command, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::WouldBlock => Failure::Late(command),
            _ => Failure::Other(command, error.to_string()),
        }
    }
}

/// The end of an answer: an error number, or 0 when all is well.
fn end(command: Command, body: &[u8]) -> Result<(), Failure> {
    match body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
        None | Some(0) => Ok(()),
        Some(code) => Err(Failure::Refused(command, Errno::from_raw(-code))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_header_and_attributes() {
        let request = Request::new(GETNSID, &[0; 4]).with(3, 7u32.to_ne_bytes());
        let bytes = request.bytes(NLM_F_REQUEST, 9);
        let message = NetlinkBuffer::new_checked(bytes.as_slice()).expect("well-formed");
        assert_eq!(message.length() as usize, bytes.len());
        assert_eq!((message.message_type(), message.flags()), (90, 1));
        assert_eq!(message.sequence_number(), 9);
        assert_eq!(message.payload().len(), 12);
    }

    #[test]
    fn failures_say_command_and_reason() {
        let failure = end(GETROUTE, &(-1i32).to_ne_bytes()).expect_err("EPERM");
        assert_eq!(
            failure.to_string(),
            "netlink: RTM_GETROUTE: Operation not permitted"
        );
        assert_eq!(failure.errno(), Some(Errno::EPERM));
        assert_eq!(end(GETROUTE, &[]), Ok(()));
        assert_eq!(end(GETROUTE, &[0; 4]), Ok(()));
    }

    #[test]
    fn the_loopback_device_answers() {
        let until = Instant::now() + std::time::Duration::from_secs(5);
        let mut netlink = Netlink::open(until).expect("a socket");
        let mut header = [0; 16];
        header[4] = 1;
        let body = netlink.get(&Request::new(GETLINK, &header)).expect("lo");
        assert_eq!(body.get(4..8), Some(1u32.to_ne_bytes().as_slice()));
        header[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
        let failure = netlink
            .get(&Request::new(GETLINK, &header))
            .expect_err("no such device");
        assert_eq!(failure.errno(), Some(Errno::ENODEV));
    }
}
