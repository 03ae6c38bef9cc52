//! Evidence about a refused source address, joined to the drop of the same packet.

use super::Section;
use crate::header::{SectionHeader, kind};

/// What the kernel knew when it refused the packet's source (net/ipv4/fib_frontend.c, 5.10 to 7.2).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpFilter {
    /// Kind [`kind::RP_FILTER`].
    pub header: SectionHeader,
    /// Which groups of fields were written: see [`ran`].
    pub ran: u32,
    /// Return value of `ip_route_input_noref`, 0 or a negative errno: with [`ran::RETURN`].
    pub ret: i32,
    /// `conf/all/rp_filter` at the drop; with [`ran::MODE`].
    pub mode_all: i32,
    /// The device's own `rp_filter` at the drop; with [`ran::MODE`].
    pub mode_device: i32,
    /// 1 when the device had an IPv4 address; with [`ran::MODE`].
    pub has_address: u32,
    /// Routing table of the reverse look-up's last step; with [`ran::LOOKUP`].
    pub lookup_table: u32,
    /// Device index that it chose, 0 for none; with [`ran::LOOKUP`].
    pub lookup_oif: u32,
    /// Its error, 0 or negative errno; with [`ran::LOOKUP`].
    pub lookup_err: i32,
}

impl Section for RpFilter {
    const KIND: u16 = kind::RP_FILTER;
    const VERSION: u16 = 1;
}

/// Groups of [`RpFilter`] fields, "written" as opposed to "zero".
pub mod ran {
    /// `ip_handle_martian_source` was called for this packet.
    pub const MARTIAN: u32 = 1;
    /// `ip_route_input_noref` returned `ret` for this packet (seen on kernels before 5.17 only).
    pub const RETURN: u32 = 2;
    /// The device's and the namespace's settings were read.
    pub const MODE: u32 = 4;
    /// The `fib_table_lookup` tracepoint saw the reverse look-up for this packet's source.
    pub const LOOKUP: u32 = 8;
}

const _: () = assert!(size_of::<RpFilter>() == 40 && align_of::<RpFilter>() == 4);
