//! Reads a packet's IP and transport headers into a [`Flow`].
//!
//! Headers lie in memory that the verifier does not know, so each is copied once with a helper.

use core::mem::MaybeUninit;

use dropwatch_common::{flow::Flow, record::skb_drop::flags};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::kread::probe;

const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDPLITE: u8 = 136;
const DCCP: u8 = 33;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// Extension headers stepped over; real packets have one or two.
const MOST_EXTENSIONS: u32 = 4;

/// Fills `flow` (zeroed before) from the network header at `header`; returns [`flags`].
#[inline(always)]
pub fn flow(ethertype: u16, header: *const u8, flow: &mut Flow) -> u32 {
    if header.is_null() {
        return 0;
    }
    match ethertype {
        ETH_P_IP => ipv4(header, flow),
        ETH_P_IPV6 => ipv6(header, flow),
        _ => 0,
    }
}

/// Copies a header of type `T`.
#[inline(always)]
fn copy<T>(address: *const u8) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    if probe(address, value.as_mut_ptr().cast(), size_of::<T>() as u32) {
        // SAFETY: the helper wrote all bytes, and the header types are plain integers.
        Some(unsafe { value.assume_init() })
    } else {
        None
    }
}

#[inline(always)]
fn ipv4(header: *const u8, flow: &mut Flow) -> u32 {
    let Some(ip) = copy::<Ipv4Hdr>(header) else {
        return flags::READ_FAULT;
    };
    let words = ip.vihl & 0x0f;
    if ip.vihl >> 4 != 4 || words < 5 {
        return 0;
    }
    flow.l3 = 4;
    flow.l4 = ip.proto;
    flow.ttl = ip.ttl;
    flow.ip_id = u16::from_be_bytes(ip.id);
    flow.ip_len = u16::from_be_bytes(ip.tot_len);
    flow.frag_offset = u16::from_be_bytes(ip.frags) & 0x1fff;
    flow.src[..4].copy_from_slice(&ip.src_addr);
    flow.dst[..4].copy_from_slice(&ip.dst_addr);
    if flow.frag_offset != 0 {
        return flags::L3;
    }
    let own = u32::from(words) * 4;
    let left = left(u16::from_be_bytes(ip.tot_len), own);
    flags::L3 | transport(ip.proto, header.wrapping_add(own as usize), left, flow)
}

#[inline(always)]
fn ipv6(header: *const u8, flow: &mut Flow) -> u32 {
    let Some(ip) = copy::<Ipv6Hdr>(header) else {
        return flags::READ_FAULT;
    };
    if ip.vcf[0] >> 4 != 6 {
        return 0;
    }
    flow.l3 = 6;
    flow.ttl = ip.hop_limit;
    let payload = u16::from_be_bytes(ip.payload_len);
    if payload != 0 {
        flow.ip_len = payload.saturating_add(size_of::<Ipv6Hdr>() as u16);
    }
    flow.src = ip.src_addr;
    flow.dst = ip.dst_addr;
    let mut protocol = ip.next_hdr;
    let mut at = header.wrapping_add(size_of::<Ipv6Hdr>());
    let mut before = 0;
    for _ in 0..MOST_EXTENSIONS {
        if !matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
            break;
        }
        // Next header and length in units of 8 bytes, not counting the first (RFC 8200, section 4).
        let Some(extension) = copy::<[u8; 4]>(at) else {
            return flags::L3 | flags::READ_FAULT;
        };
        let mut len = usize::from(extension[1]) * 8 + 8;
        if protocol == FRAGMENT {
            len = 8;
            flow.frag_offset = u16::from_be_bytes([extension[2], extension[3]]) >> 3;
        }
        protocol = extension[0];
        at = at.wrapping_add(len);
        before += len as u32;
    }
    flow.l4 = protocol;
    if flow.frag_offset != 0 {
        return flags::L3;
    }
    let left = left(u16::from_be_bytes(ip.payload_len), before);
    flags::L3 | transport(protocol, at, left, flow)
}

/// Bytes behind `before` of a packet that says that it has `total`; those of more than 64 KiB, which never leave the machine
/// as one, say 0.
#[inline(always)]
fn left(total: u16, before: u32) -> u32 {
    if total == 0 {
        return u32::MAX;
    }
    u32::from(total).saturating_sub(before)
}

/// `left`: how much of the packet is left at `header`. What lies behind its end is left from other packets.
#[inline(always)]
fn transport(protocol: u8, header: *const u8, left: u32, flow: &mut Flow) -> u32 {
    match protocol {
        TCP if left >= 14 => {
            // Ports, sequence, acknowledgement, data offset, flags (RFC 9293, section 3.1).
            let Some(tcp) = copy::<[u8; 14]>(header) else {
                return flags::READ_FAULT;
            };
            flow.sport = u16::from_be_bytes([tcp[0], tcp[1]]);
            flow.dport = u16::from_be_bytes([tcp[2], tcp[3]]);
            flow.tcp_seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
            flow.tcp_ack = u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]);
            flow.tcp_flags = tcp[13];
            flags::L4
        }
        UDP | UDPLITE | SCTP | DCCP if left >= 4 => {
            let Some(ports) = copy::<[u8; 4]>(header) else {
                return flags::READ_FAULT;
            };
            flow.sport = u16::from_be_bytes([ports[0], ports[1]]);
            flow.dport = u16::from_be_bytes([ports[2], ports[3]]);
            flags::L4
        }
        ICMP | ICMPV6 if left >= 8 => {
            // Type, code, checksum, then the echo identifier and sequence (RFC 792, RFC 4443).
            let Some(icmp) = copy::<[u8; 8]>(header) else {
                return flags::READ_FAULT;
            };
            flow.icmp_type = icmp[0];
            flow.icmp_code = icmp[1];
            flow.sport = u16::from_be_bytes([icmp[4], icmp[5]]);
            flow.dport = u16::from_be_bytes([icmp[6], icmp[7]]);
            flags::L4
        }
        _ => 0,
    }
}
