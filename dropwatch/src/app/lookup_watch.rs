//! When route look-ups are watched: while sources are refused, and some time after.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::{attach::load::Attached, stats::Counters};

/// Route look-ups are watched while sources are refused, and some time after.
#[derive(Default)]
pub(super) struct LookupWatch {
    refusals: u64,
    last: Option<Instant>,
}

impl LookupWatch {
    /// How long to go on after the last refusal.
    const PATIENCE: Duration = Duration::from_secs(10);

    /// Takes the number of refusals so far.
    pub(super) fn refused(
        &mut self,
        refusals: u64,
        attached: &mut Attached,
        counters: &mut Counters,
    ) -> Result<()> {
        if refusals == self.refusals {
            return Ok(());
        }
        self.refusals = refusals;
        self.last = Some(Instant::now());
        match &mut attached.lookups {
            Some(lookups) if !lookups.is_on() => {
                counters.watch_lookups(true)?;
                if let Err(e) = lookups.on(&mut attached.ebpf) {
                    log::warn!("watching route look-ups: {e:#}");
                    attached.lookups = None;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Ends the watch when it was quiet for long enough.
    pub(super) fn tick(&mut self, attached: &mut Attached, counters: &mut Counters) -> Result<()> {
        match (&mut attached.lookups, self.last) {
            (Some(lookups), Some(last)) if lookups.is_on() && last.elapsed() > Self::PATIENCE => {
                counters.watch_lookups(false)?;
                lookups
                    .off(&mut attached.ebpf)
                    .context("detaching from route look-ups")
            }
            _ => Ok(()),
        }
    }
}
