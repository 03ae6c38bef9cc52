//! Typed getters for the structures that hang on an sk_buff.

use dropwatch_common::fields::{DEVCONF_RP_FILTER_INDEX, Field};

use crate::kread::{Mem, Ptr};

/// The lowest inode number of a namespace: `PROC_DYNAMIC_FIRST` is 0xF0000000 (fs/proc/generic.c), the
/// initial namespaces sit just below it since 6.18 (include/uapi/linux/nsfs.h).
const LOWEST_NS_INUM: u32 = 0xefff_ff00;

const ETH_P_IP: u16 = 0x0800;

/// `struct sk_buff`.
pub struct Skb<M: Mem>(pub Ptr<M>);

impl<M: Mem> Skb<M> {
    #[inline(always)]
    pub fn mark(&self) -> u32 {
        self.0.get(Field::sk_buff_mark)
    }

    #[inline(always)]
    pub fn len(&self) -> u32 {
        self.0.get(Field::sk_buff_len)
    }

    #[inline(always)]
    pub fn iif(&self) -> u32 {
        self.0.get(Field::sk_buff_skb_iif)
    }

    /// EtherType, host byte order.
    #[inline(always)]
    pub fn ethertype(&self) -> u16 {
        u16::from_be(self.0.get(Field::sk_buff_protocol))
    }

    /// Address of the network header, an untyped number; NULL when it was never set.
    #[inline(always)]
    pub fn network_header(&self) -> *const u8 {
        let offset: u16 = self.0.get(Field::sk_buff_network_header);
        let head: u64 = self.0.get(Field::sk_buff_head);
        if offset == 0 || head == 0 {
            return core::ptr::null();
        }
        (head + u64::from(offset)) as *const u8
    }

    #[inline(always)]
    pub fn dev(&self) -> Ptr<M> {
        self.0.follow(Field::sk_buff_dev)
    }

    #[inline(always)]
    pub fn sk(&self) -> Ptr<M> {
        self.0.follow(Field::sk_buff_sk)
    }

    /// Source and destination address in network byte order, if it is an IPv4 packet.
    #[inline(always)]
    pub fn ipv4_addresses(&self) -> Option<[u32; 2]> {
        let header = self.network_header();
        if self.ethertype() != ETH_P_IP || header.is_null() {
            return None;
        }
        let mut pair = [0u32; 2];
        // The pair lies 12 bytes into the IPv4 header (RFC 791).
        crate::kread::probe(header.wrapping_add(12), pair.as_mut_ptr().cast(), 8).then_some(pair)
    }
}

/// A socket's namespace; `None` without a socket.
#[inline(always)]
pub fn socket_net<M: Mem>(sk: Ptr<M>) -> Option<Ptr<M>> {
    // The verifier insists on the question for `skb->sk` and for `rx_sk` (6.12 and later).
    (!sk.is_null()).then(|| sk.follow(Field::sock_common_skc_net))
}

/// Inode number of a `struct net`; 0 when the pointer is none of a namespace. Queued socket buffers keep other things in
/// `skb->dev`, and a real namespace is recognised by its inode number.
#[inline(always)]
pub fn netns<M: Mem>(net: Ptr<M>) -> u32 {
    let inum: u32 = net.get(Field::net_ns_inum);
    if inum >= LOWEST_NS_INUM { inum } else { 0 }
}

/// `rp_filter` settings that hold for a device.
pub struct Mode {
    pub all: i32,
    pub device: i32,
    pub has_address: bool,
}

/// Reads them; `None` when the device has no IPv4 state.
#[inline(always)]
pub fn rp_filter_mode<M: Mem>(dev: Ptr<M>) -> Option<Mode> {
    let in_device = dev.follow(Field::net_device_ip_ptr);
    let all = dev
        .follow(Field::net_device_nd_net)
        .follow(Field::net_ipv4_devconf_all);
    if in_device.is_null() || all.is_null() {
        return None;
    }
    let extra = DEVCONF_RP_FILTER_INDEX * 4;
    Some(Mode {
        all: all.at(Field::ipv4_devconf_data, extra),
        device: in_device.at(Field::in_device_cnf_data, extra),
        has_address: !in_device.follow(Field::in_device_ifa_list).is_null(),
    })
}
