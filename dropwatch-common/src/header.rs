//! What every section on the wire begins with.
//!
//! One ring-buffer entry is one or more sections behind each other: first the record that the entry is
//! about, then the evidence that was joined to it in the kernel.

/// Kind, version and length of one section.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionHeader {
    /// One of [`kind`].
    pub kind: u16,
    /// Version of the section's layout; rises when a field changes its meaning.
    pub version: u16,
    /// Length of the section in bytes, this header included.
    pub len: u32,
}

/// Section kinds. A number is never used again for something else.
pub mod kind {
    /// Room that the writer left empty: to be stepped over by its length.
    pub const ABSENT: u16 = 0;
    /// [`crate::record::skb_drop::SkbDrop`].
    pub const SKB_DROP: u16 = 1;
    /// [`crate::record::rp_filter::RpFilter`].
    pub const RP_FILTER: u16 = 2;
    /// [`crate::record::sysctl_write::SysctlWrite`].
    pub const SYSCTL_WRITE: u16 = 3;
    /// [`crate::record::ct_insert::CtInsert`].
    pub const CT_INSERT: u16 = 4;
    /// [`crate::record::ct_clash::CtClash`].
    pub const CT_CLASH: u16 = 5;
    /// [`crate::record::nfqueue::Nfqueue`].
    pub const NFQUEUE: u16 = 6;
    /// [`crate::record::stack::Stack`].
    pub const STACK: u16 = 7;
    /// [`crate::record::ipvs::Ipvs`].
    pub const IPVS: u16 = 8;
}
