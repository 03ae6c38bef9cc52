//! The call chain that freed a packet.

use super::Section;
use crate::header::{SectionHeader, kind};

/// Most frames kept: enough to see a netfilter hook's caller and, behind it, a queue program's verdict.
pub const MOST_FRAMES: usize = 24;

/// Return addresses, the innermost first. The tracer's own frames may come before the kernel's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Kind [`kind::STACK`].
    pub header: SectionHeader,
    /// Addresses; 0 behind the last one.
    pub frames: [u64; MOST_FRAMES],
}

impl Section for Stack {
    const KIND: u16 = kind::STACK;
    const VERSION: u16 = 1;
}

const _: () = assert!(size_of::<Stack>() == 8 + 8 * MOST_FRAMES && align_of::<Stack>() == 8);
