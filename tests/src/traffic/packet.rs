//! Packets written by hand (`IP_HDRINCL`): forged sources, small TTLs, ICMP.
//!
//! Limits: IPv4 without options; the kernel fills in the header checksum and the packet id.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::netns::Netns;

/// A raw IPv4 packet to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Source, true or forged.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// What follows the IPv4 header.
    pub payload: Payload<'a>,
}

/// TCP's flag of a first packet.
pub const SYN: u8 = 0x02;
/// TCP's flag of an acknowledgement.
pub const ACK: u8 = 0x10;

/// What a packet carries.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// A UDP datagram: source port, destination port, data.
    Udp(u16, u16, &'a [u8]),
    /// An ICMP echo request: id, sequence number.
    Echo(u16, u16),
    /// A TCP segment without data: source port, destination port, flags.
    Tcp(u16, u16, u8),
}

impl Packet<'_> {
    /// The bytes on the wire, except for what the kernel fills in.
    pub fn bytes(&self) -> Vec<u8> {
        let (protocol, body) = match self.payload {
            Payload::Udp(sport, dport, data) => {
                let length = 8 + u16::try_from(data.len()).unwrap_or(0);
                let mut body = Vec::with_capacity(usize::from(length));
                for word in [sport, dport, length, 0] {
                    body.extend(word.to_be_bytes());
                }
                body.extend(data);
                (17, body)
            }
            Payload::Echo(id, sequence) => {
                let mut body = vec![8, 0, 0, 0];
                body.extend(id.to_be_bytes());
                body.extend(sequence.to_be_bytes());
                let sum = checksum(&body).to_be_bytes();
                body[2..4].copy_from_slice(&sum);
                (1, body)
            }
            Payload::Tcp(sport, dport, flags) => (6, self.segment(sport, dport, flags)),
        };
        let total = 20 + u16::try_from(body.len()).unwrap_or(0);
        let mut bytes = vec![0x45, 0];
        bytes.extend(total.to_be_bytes());
        bytes.extend([0, 0, 0, 0, self.ttl, protocol, 0, 0]);
        bytes.extend(self.src.octets());
        bytes.extend(self.dst.octets());
        bytes.extend(body);
        bytes
    }

    /// A TCP header with a right checksum: conntrack finds a wrong one invalid.
    fn segment(&self, sport: u16, dport: u16, flags: u8) -> Vec<u8> {
        const LENGTH: u8 = 20;
        let mut segment = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
        for number in [
            0x0d07_0001_u32,
            if flags & ACK == 0 { 0 } else { 0x0d08_0001 },
        ] {
            segment.extend(number.to_be_bytes());
        }
        segment.extend([(LENGTH / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        let mut summed = [self.src.octets(), self.dst.octets(), [0, 6, 0, LENGTH]].concat();
        summed.extend(&segment);
        segment[16..18].copy_from_slice(&checksum(&summed).to_be_bytes());
        segment
    }
}

/// A socket that sends [`Packet`]s by one device of one namespace.
#[derive(Debug)]
pub struct RawSocket(OwnedFd);

impl RawSocket {
    /// Opens it.
    pub fn open(netns: &Netns, device: &str) -> Result<Self> {
        netns.run(|| {
            let socket = open(libc::IPPROTO_RAW).context("raw socket")?;
            set(&socket, libc::SO_BINDTODEVICE, device.as_bytes())
                .with_context(|| format!("binding a raw socket to {device}"))?;
            Ok(Self(socket))
        })
    }

    /// Sends one packet.
    pub fn send(&self, packet: &Packet<'_>) -> io::Result<()> {
        self.send_bytes(&packet.bytes(), packet.dst)
    }

    /// Sends a packet that was serialised before.
    pub fn send_bytes(&self, bytes: &[u8], dst: Ipv4Addr) -> io::Result<()> {
        let address = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: 0,
            sin_addr: libc::in_addr {
                s_addr: u32::from_ne_bytes(dst.octets()),
            },
            sin_zero: [0; 8],
        };
        // SAFETY: buffer and address are live for the call and their sizes are the true ones.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                0,
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        if sent < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

/// Receives ICMP in a namespace.
#[derive(Debug)]
pub struct IcmpSocket(OwnedFd);

impl IcmpSocket {
    /// Opens it.
    pub fn open(netns: &Netns, timeout: Duration) -> Result<Self> {
        netns.run(|| {
            let socket = open(libc::IPPROTO_ICMP).context("ICMP socket")?;
            let timeout = libc::timeval {
                tv_sec: timeout.as_secs().cast_signed(),
                tv_usec: i64::from(timeout.subsec_micros()),
            };
            // SAFETY: `timeval` is plain old data without padding on this target.
            let bytes = unsafe {
                std::slice::from_raw_parts((&raw const timeout).cast(), size_of_val(&timeout))
            };
            set(&socket, libc::SO_RCVTIMEO, bytes)?;
            Ok(Self(socket))
        })
    }

    /// Waits for the reply to an echo request; `false` when the timeout passes without it.
    pub fn replied(&self, id: u16, sequence: u16) -> bool {
        let mut buffer = [0_u8; 2048];
        loop {
            // SAFETY: the buffer is live and its size is the true one.
            let got = unsafe {
                libc::recv(
                    self.0.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                )
            };
            let Ok(got) = usize::try_from(got) else {
                return false;
            };
            let Some(icmp) = buffer.get(20..got) else {
                continue;
            };
            let wanted = [id.to_be_bytes(), sequence.to_be_bytes()].concat();
            if icmp.first() == Some(&0) && icmp.get(4..8) == Some(wanted.as_slice()) {
                return true;
            }
        }
    }
}

fn open(protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only; a non-negative result is a new descriptor that nobody else owns.
    unsafe {
        match libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) {
            fd if fd < 0 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

fn set(socket: &OwnedFd, option: i32, value: &[u8]) -> io::Result<()> {
    // SAFETY: `value` is live for the call and its size is the true one.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            value.as_ptr().cast(),
            value.len() as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_request_sums_to_zero() {
        let packet = Packet {
            src: Ipv4Addr::LOCALHOST,
            dst: Ipv4Addr::LOCALHOST,
            ttl: 64,
            payload: Payload::Echo(0x1234, 7),
        };
        let bytes = packet.bytes();
        assert_eq!(bytes.len(), 28);
        assert_eq!(checksum(&bytes[20..]), 0);
    }

    #[test]
    fn a_segment_sums_to_zero_with_its_addresses() {
        let packet = Packet {
            src: Ipv4Addr::LOCALHOST,
            dst: Ipv4Addr::BROADCAST,
            ttl: 1,
            payload: Payload::Tcp(1, 2, SYN),
        };
        let bytes = packet.bytes();
        assert_eq!(bytes.len(), 40);
        let mut summed = bytes[12..20].to_vec();
        summed.extend([0, 6, 0, 20]);
        summed.extend(&bytes[20..]);
        assert_eq!(checksum(&summed), 0);
    }

    #[test]
    fn a_datagram_carries_its_length() {
        let packet = Packet {
            src: Ipv4Addr::LOCALHOST,
            dst: Ipv4Addr::LOCALHOST,
            ttl: 1,
            payload: Payload::Udp(1, 2, b"abc"),
        };
        let bytes = packet.bytes();
        assert_eq!(bytes[2..4], [0, 31]);
        assert_eq!(bytes[20..28], [0, 1, 0, 2, 0, 11, 0, 0]);
    }
}
