//! Every member of a kernel structure that the eBPF programs read: one list for both sides.
//!
//! The loader looks each one up in the running kernel's BTF and writes its offset, in bytes, into the
//! `OFFSETS` global at the field's index; [`crate::config::ABSENT`] when this kernel has no such member.
//! Structures of modules (`ip_vs_conn`) are looked up when programs for that module are loaded.

/// One member: where it is and how long the programs take it to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldSpec {
    /// Name of the structure.
    pub structure: &'static str,
    /// Member, with dots for members of members.
    pub member: &'static str,
    /// Size in bytes that the programs read.
    pub size: u32,
    /// Whether the drop anchor is useless without it.
    pub required: bool,
}

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident: $structure:literal . $member:literal, $size:literal, $need:ident;)*) => {
        /// Index of a member in `OFFSETS`.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(non_camel_case_types, reason = "reads like the kernel's own structure_member")]
        pub enum Field {
            $($(#[$doc])* $name,)*
        }

        /// All fields, in index order.
        pub const FIELDS: &[FieldSpec] = &[$(FieldSpec {
            structure: $structure,
            member: $member,
            size: $size,
            required: fields!(@ $need),
        },)*];
    };
    (@ required) => { true };
    (@ optional) => { false };
}

fields! {
    /// Device, or garbage for buffers in socket queues (shares its word with an rbnode).
    sk_buff_dev: "sk_buff"."dev", 8, required;
    /// Socket that owns the buffer.
    sk_buff_sk: "sk_buff"."sk", 8, required;
    /// Length in bytes from the current data pointer.
    sk_buff_len: "sk_buff"."len", 4, required;
    /// Packet mark, host byte order.
    sk_buff_mark: "sk_buff"."mark", 4, required;
    /// Index of the device it came in by, 0 for locally made ones.
    sk_buff_skb_iif: "sk_buff"."skb_iif", 4, required;
    /// EtherType, network byte order.
    sk_buff_protocol: "sk_buff"."protocol", 2, required;
    /// Offset of the IP header from `head`.
    sk_buff_network_header: "sk_buff"."network_header", 2, required;
    /// Start of the buffer.
    sk_buff_head: "sk_buff"."head", 8, required;
    /// Conntrack entry, with `enum ip_conntrack_info` in the lowest three bits.
    sk_buff_nfct: "sk_buff"."_nfct", 8, optional;
    /// Device index.
    net_device_ifindex: "net_device"."ifindex", 4, required;
    /// Device name, NUL terminated.
    net_device_name: "net_device"."name", 16, required;
    /// Network namespace.
    net_device_nd_net: "net_device"."nd_net.net", 8, required;
    /// IPv4 state (`struct in_device`).
    net_device_ip_ptr: "net_device"."ip_ptr", 8, optional;
    /// Inode number of the namespace.
    net_ns_inum: "net"."ns.inum", 4, required;
    /// Cookie of the namespace, which no other gets: set when it is made from 5.12 on, when first asked before.
    net_cookie: "net"."net_cookie", 8, optional;
    /// `conf/all` of IPv4.
    net_ipv4_devconf_all: "net"."ipv4.devconf_all", 8, optional;
    /// First IPv4 address of the device.
    in_device_ifa_list: "in_device"."ifa_list", 8, optional;
    /// The device's own IPv4 settings; an array of int, `IPV4_DEVCONF_* - 1` the index.
    in_device_cnf_data: "in_device"."cnf.data", 4, optional;
    /// `conf/all`'s settings, as above.
    ipv4_devconf_data: "ipv4_devconf"."data", 4, optional;
    /// Namespace of a socket, also of request and time-wait ones.
    sock_common_skc_net: "sock_common"."skc_net.net", 8, required;
    /// Address family of a socket.
    sock_common_skc_family: "sock_common"."skc_family", 2, required;
    /// Source address of a route look-up, network byte order.
    flowi4_saddr: "flowi4"."saddr", 4, optional;
    /// Destination address of a route look-up, network byte order.
    flowi4_daddr: "flowi4"."daddr", 4, optional;
    /// Device of a next hop.
    fib_nh_common_nhc_dev: "fib_nh_common"."nhc_dev", 8, optional;
    /// Both directions of a conntrack entry: two `struct nf_conntrack_tuple_hash`.
    nf_conn_tuplehash: "nf_conn"."tuplehash", 112, optional;
    /// `IPS_*` bits.
    nf_conn_status: "nf_conn"."status", 8, optional;
    /// Conntrack zone.
    nf_conn_zone_id: "nf_conn"."zone.id", 2, optional;
    /// The tuple in a `struct nf_conntrack_tuple_hash`.
    nf_conntrack_tuple_hash_tuple: "nf_conntrack_tuple_hash"."tuple", 40, optional;
    /// The tuple's direction: 0 original, 1 reply.
    nf_conntrack_tuple_dir: "nf_conntrack_tuple"."dst.dir", 1, optional;
    /// `enum nf_inet_hooks`, in the lowest byte.
    nf_hook_state_hook: "nf_hook_state"."hook", 1, optional;
    /// `NFPROTO_*`.
    nf_hook_state_pf: "nf_hook_state"."pf", 1, optional;
    /// The queued packet.
    nf_queue_entry_skb: "nf_queue_entry"."skb", 8, optional;
    /// Where it was queued: hook.
    nf_queue_entry_hook: "nf_queue_entry"."state.hook", 1, optional;
    /// Where it was queued: protocol family.
    nf_queue_entry_pf: "nf_queue_entry"."state.pf", 1, optional;
    /// Address family of the client's side, in the lowest byte.
    ip_vs_conn_af: "ip_vs_conn"."af", 1, optional;
    /// IP protocol, in the lowest byte.
    ip_vs_conn_protocol: "ip_vs_conn"."protocol", 1, optional;
    /// Client's address.
    ip_vs_conn_caddr: "ip_vs_conn"."caddr", 16, optional;
    /// Service's address.
    ip_vs_conn_vaddr: "ip_vs_conn"."vaddr", 16, optional;
    /// Real server's address.
    ip_vs_conn_daddr: "ip_vs_conn"."daddr", 16, optional;
    /// Client's port, network byte order.
    ip_vs_conn_cport: "ip_vs_conn"."cport", 2, optional;
    /// Service's port, network byte order.
    ip_vs_conn_vport: "ip_vs_conn"."vport", 2, optional;
    /// Real server's port, network byte order.
    ip_vs_conn_dport: "ip_vs_conn"."dport", 2, optional;
    /// `IP_VS_CONN_F_*` bits.
    ip_vs_conn_flags: "ip_vs_conn"."flags", 4, optional;
    /// Mark of a fwmark service.
    ip_vs_conn_fwmark: "ip_vs_conn"."fwmark", 4, optional;
    /// IPVS of the namespace.
    ip_vs_conn_ipvs: "ip_vs_conn"."ipvs", 8, optional;
    /// The namespace.
    netns_ipvs_net: "netns_ipvs"."net", 8, optional;
    /// Namespaces of a task.
    task_struct_nsproxy: "task_struct"."nsproxy", 8, optional;
    /// Process id of a task (init pid namespace).
    task_struct_tgid: "task_struct"."tgid", 4, optional;
    /// Name of a task.
    task_struct_comm: "task_struct"."comm", 16, optional;
    /// Network namespace of a task.
    nsproxy_net_ns: "nsproxy"."net_ns", 8, optional;
}

/// Number of fields.
pub const FIELD_COUNT: usize = FIELDS.len();

/// Index of `rp_filter` in the IPv4 settings of a device: `IPV4_DEVCONF_RP_FILTER - 1`
/// (include/uapi/linux/ip.h, part of the user API since 2.6.39).
pub const DEVCONF_RP_FILTER_INDEX: u32 = 7;
