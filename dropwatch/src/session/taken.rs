//! What was taken and what became of it: the reader's half of the ledger.

use crate::{ingest::decode::Undecodable, stats::Ledger};

/// Counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// Drop records.
    pub received: u64,
    /// Of them, those that could not be decoded.
    pub undecodable: u64,
    /// Other records that could not be.
    pub undecodable_events: u64,
    /// Records that were no drops, but route look-ups of our own kind.
    pub route_queries: u64,
    /// Drops that were shown, or counted in a case that was.
    pub shown: u64,
    /// Drops that were not, as somebody chose.
    pub deselected: u64,
    /// Drops whose source was refused.
    pub refusals: u64,
}

impl Taken {
    /// Takes a record that could not be decoded; returns how many there were of any kind.
    pub fn undecodable(&mut self, what: Undecodable) -> u64 {
        match what {
            Undecodable::Drop => {
                self.received += 1;
                self.undecodable += 1;
            }
            Undecodable::Other => self.undecodable_events += 1,
        }
        self.undecodable + self.undecodable_events
    }

    /// Adds this half to the kernel's.
    pub fn close(&self, ledger: &mut Ledger) {
        ledger.received = self.received;
        ledger.undecodable = self.undecodable;
        ledger.undecodable_events = self.undecodable_events;
        ledger.route_queries = self.route_queries;
        ledger.deselected = self.deselected;
        ledger.shown = self.shown;
        ledger.close();
    }
}
