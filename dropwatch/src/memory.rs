//! Giving memory back after the start.

/// Returns free heap memory to the system: parsing BTF takes some 20 MiB for a moment, which the allocator
/// would keep for a process that never needs it again.
pub fn release() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: no preconditions; the allocator takes its own locks (malloc_trim(3), MT-safe).
        let released = unsafe { libc::malloc_trim(0) };
        log::debug!("malloc_trim: {released}");
    }
}
