//! One wire structure per hook, in a file of the hook's name.

pub mod ct_clash;
pub mod ct_insert;
pub mod ipvs;
pub mod nfqueue;
pub mod rp_filter;
pub mod skb_drop;
pub mod stack;
pub mod sysctl_write;

/// A section of known kind and layout.
///
/// Implementors are `#[repr(C)]`, made of integers only and without implicit padding.
pub trait Section: Copy {
    /// The kind that stands in the header.
    const KIND: u16;
    /// The layout's version.
    const VERSION: u16;

    /// The header of such a section.
    #[must_use]
    #[inline(always)]
    fn header() -> crate::header::SectionHeader {
        crate::header::SectionHeader {
            kind: Self::KIND,
            version: Self::VERSION,
            len: size_of::<Self>() as u32,
        }
    }

    /// The header of room for such a section that is left empty.
    #[must_use]
    #[inline(always)]
    fn absent() -> crate::header::SectionHeader {
        crate::header::SectionHeader {
            kind: crate::header::kind::ABSENT,
            version: Self::VERSION,
            len: size_of::<Self>() as u32,
        }
    }
}
