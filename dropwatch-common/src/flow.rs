//! The addresses and ports of a packet, as read from its headers.

/// What the packet's own headers say. Zeroed where a header could not be read: see
/// [`crate::record::skb_drop::flags`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Source address; IPv4 in the first four bytes; network byte order.
    pub src: [u8; 16],
    /// Destination address, like `src`.
    pub dst: [u8; 16],
    /// TCP sequence number, host byte order.
    pub tcp_seq: u32,
    /// TCP acknowledgement number, host byte order.
    pub tcp_ack: u32,
    /// Source port or ICMP echo identifier, host byte order.
    pub sport: u16,
    /// Destination port or ICMP echo sequence, host byte order.
    pub dport: u16,
    /// IPv4 identification, host byte order; 0 for IPv6.
    pub ip_id: u16,
    /// Fragment offset in units of 8 bytes.
    pub frag_offset: u16,
    /// IP version: 4, 6, or 0 when the packet is not IP or could not be read.
    pub l3: u8,
    /// IP protocol number (IPv6: that behind at most four extension headers).
    pub l4: u8,
    /// ICMP or ICMPv6 type.
    pub icmp_type: u8,
    /// ICMP or ICMPv6 code.
    pub icmp_code: u8,
    /// TCP flags, low byte as on the wire (FIN = 1 … CWR = 128).
    pub tcp_flags: u8,
    /// TTL or hop limit at the drop.
    pub ttl: u8,
    /// Length that the IP header gives, itself included, host byte order; 0 where it gives none (packets of more than 64 KiB)
    /// or could not be read.
    pub ip_len: u16,
}
