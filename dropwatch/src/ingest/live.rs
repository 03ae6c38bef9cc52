//! The live ring buffer.

use std::io;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use dropwatch_common::names;
use tokio::io::unix::AsyncFd;

/// Reader of the ring buffer.
pub struct Live {
    ring: AsyncFd<RingBuf<MapData>>,
    /// The last reading stopped before the ring was empty: nobody will wake us for the rest.
    more: bool,
}

impl Live {
    /// Takes the ring buffer out of the loaded object.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let map = ebpf
            .take_map(names::EVENTS)
            .context("the eBPF object has no ring buffer")?;
        let ring = RingBuf::try_from(map).context("opening the ring buffer")?;
        // SAFETY: the ring buffer owns its map's descriptor and never changes it; the reader below never
        // gives the ring buffer away, so the descriptor stays open as long as it is registered.
        let ring = unsafe { AsyncFd::register(ring) }.context("polling the ring buffer")?;
        Ok(Self { ring, more: false })
    }

    /// Waits until there is something to read.
    pub async fn ready(&mut self) -> io::Result<()> {
        if self.more {
            return Ok(());
        }
        let mut guard = self.ring.readable_mut().await?;
        // Cleared before reading: what arrives while we read makes it ready again.
        guard.clear_ready();
        Ok(())
    }

    /// Hands at most `most` entries to `each`; returns how many there were.
    pub fn drain(&mut self, most: usize, mut each: impl FnMut(&[u8])) -> usize {
        let ring = self.ring.get_mut();
        let mut n = 0;
        while n < most
            && let Some(entry) = ring.next()
        {
            each(&entry);
            n += 1;
        }
        self.more = n == most;
        n
    }
}
