//! Bytes to wire structures: the only `unsafe` on the way in.

use std::ptr;

use bytes::Buf as _;
use dropwatch_common::{
    header::SectionHeader,
    record::{
        Section, ct_clash::CtClash, ct_insert::CtInsert, ipvs::Ipvs, nfqueue::Nfqueue,
        rp_filter::RpFilter, skb_drop::SkbDrop, stack::Stack, sysctl_write::SysctlWrite,
    },
};

/// A wire structure of integers only, for which any bytes are a valid value.
///
/// # Safety
///
/// The type is `#[repr(C)]`, without padding, and all its fields are integers or arrays of them.
unsafe trait Plain: Copy {}

// SAFETY: integers only, by definition in dropwatch-common, where the sizes are asserted.
unsafe impl Plain for SkbDrop {}
// SAFETY: as above.
unsafe impl Plain for RpFilter {}
// SAFETY: as above.
unsafe impl Plain for SysctlWrite {}
// SAFETY: as above.
unsafe impl Plain for CtInsert {}
// SAFETY: as above.
unsafe impl Plain for CtClash {}
// SAFETY: as above.
unsafe impl Plain for Nfqueue {}
// SAFETY: as above.
unsafe impl Plain for Stack {}
// SAFETY: as above.
unsafe impl Plain for Ipvs {}

/// One section of an entry.
#[derive(Debug)]
pub enum Wire {
    /// A drop.
    SkbDrop(SkbDrop),
    /// Evidence of the source check.
    RpFilter(RpFilter),
    /// A sysctl write.
    SysctlWrite(SysctlWrite),
    /// The packet's conntrack entry.
    CtInsert(CtInsert),
    /// The entry that was in its way.
    CtClash(CtClash),
    /// Its way through a queue program.
    Nfqueue(Nfqueue),
    /// The call chain.
    Stack(Stack),
    /// A packet of an IPVS connection without its conntrack entry.
    Ipvs(Ipvs),
}

fn header(mut bytes: &[u8]) -> Option<SectionHeader> {
    Some(SectionHeader {
        kind: bytes.try_get_u16_ne().ok()?,
        version: bytes.try_get_u16_ne().ok()?,
        len: bytes.try_get_u32_ne().ok()?,
    })
}

/// The kind of an entry's first section, whatever follows; `None` where there is none.
#[must_use]
pub fn first_kind(bytes: &[u8]) -> Option<u16> {
    header(bytes).map(|header| header.kind)
}

fn copy<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: long enough; `Plain` allows any bytes; the read does not ask for alignment.
    Some(unsafe { ptr::read_unaligned(bytes.as_ptr().cast::<T>()) })
}

fn section<T: Plain + Section>(header: &SectionHeader, bytes: &[u8]) -> Option<T> {
    (header.version == T::VERSION && header.len as usize == size_of::<T>())
        .then(|| copy(bytes))
        .flatten()
}

/// Splits an entry into its sections. Sections of unknown kind are stepped over; `None` when the entry
/// is malformed: cut short, or a known kind with another version or length.
pub fn sections(mut bytes: &[u8]) -> Option<Vec<Wire>> {
    let mut found = Vec::with_capacity(2);
    while !bytes.is_empty() {
        let header = header(bytes)?;
        let len = header.len as usize;
        if len < size_of::<SectionHeader>() || len > bytes.len() {
            return None;
        }
        match header.kind {
            SkbDrop::KIND => found.push(Wire::SkbDrop(section(&header, bytes)?)),
            RpFilter::KIND => found.push(Wire::RpFilter(section(&header, bytes)?)),
            SysctlWrite::KIND => found.push(Wire::SysctlWrite(section(&header, bytes)?)),
            CtInsert::KIND => found.push(Wire::CtInsert(section(&header, bytes)?)),
            CtClash::KIND => found.push(Wire::CtClash(section(&header, bytes)?)),
            Nfqueue::KIND => found.push(Wire::Nfqueue(section(&header, bytes)?)),
            Stack::KIND => found.push(Wire::Stack(section(&header, bytes)?)),
            Ipvs::KIND => found.push(Wire::Ipvs(section(&header, bytes)?)),
            _ => {}
        }
        bytes = &bytes[len..];
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u16, version: u16, len: u32) -> Vec<u8> {
        [
            &kind.to_ne_bytes()[..],
            &version.to_ne_bytes(),
            &len.to_ne_bytes(),
        ]
        .concat()
    }

    #[test]
    fn unknown_kinds_are_stepped_over() {
        let mut bytes = header(0x7fff, 1, 12);
        bytes.extend([0; 4]);
        bytes.extend(header(RpFilter::KIND, 1, size_of::<RpFilter>() as u32));
        bytes.extend([0; size_of::<RpFilter>() - 8]);
        let found = sections(&bytes).expect("well-formed");
        assert!(matches!(found[..], [Wire::RpFilter(_)]));
    }

    /// Bytes are guilty until checked: whatever comes, there is an answer and no panic.
    #[test]
    fn any_bytes_are_survived() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..20_000 {
            let len = next() as usize % 400;
            let mut bytes: Vec<u8> = (0..len).map(|_| next() as u8).collect();
            // Half of them begin as real records do.
            if next() % 2 == 0 && len >= 8 {
                let kind = (next() % 9) as u16;
                bytes[..8].copy_from_slice(&header(kind, 1, (next() % 420) as u32));
            }
            if let Some(found) = sections(&bytes) {
                assert!(found.len() <= len / 8);
            }
        }
    }

    #[test]
    fn malformed_entries_are_refused() {
        assert!(
            sections(&header(SkbDrop::KIND, 1, 8)).is_none(),
            "too short for its kind"
        );
        assert!(
            sections(&header(SkbDrop::KIND, 1, 160)).is_none(),
            "longer than the entry"
        );
        assert!(sections(&header(0x7fff, 1, 0)).is_none(), "no progress");
        assert!(sections(&[1, 2, 3]).is_none(), "no header");
        let mut newer = header(RpFilter::KIND, 2, size_of::<RpFilter>() as u32);
        newer.extend([0; size_of::<RpFilter>() - 8]);
        assert!(
            sections(&newer).is_none(),
            "another version of a known kind"
        );
    }
}
