//! What takes long and is done by other threads, so that the session never waits for it: reading symbols, loading
//! programs for modules.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::{JoinHandle, spawn_blocking},
};

use crate::{attach::late::Late, kernel::symbols::Symbols, model::coverage::ProbeStatus};

/// Reads the kernel's symbols, one reading at a time.
pub(super) struct SymbolsAside {
    tell: UnboundedSender<Symbols>,
    told: UnboundedReceiver<Symbols>,
    reading: bool,
    /// Something changed since the reading began.
    again: bool,
}

impl SymbolsAside {
    /// Somebody else begins the first reading, and has [`SymbolsAside::listener`] told of it.
    pub(super) fn new() -> Self {
        let (tell, told) = unbounded_channel();
        Self {
            tell,
            told,
            reading: true,
            again: false,
        }
    }

    /// Takes what was read.
    pub(super) fn listener(&self) -> impl FnOnce(Symbols) + Send + 'static {
        let tell = self.tell.clone();
        // The session may have ended; then nobody wants them.
        move |symbols| drop(tell.send(symbols))
    }

    /// Has them read, or read again.
    pub(super) fn read(&mut self) {
        self.again = self.reading;
        if self.reading {
            return;
        }
        let listener = self.listener();
        let read = thread::Builder::new()
            .name("symbols".into())
            .spawn(|| listener(Symbols::read()));
        match read {
            Ok(_) => self.reading = true,
            Err(e) => log::warn!("reading the kernel's symbols again: {e}"),
        }
    }

    /// Waits for the next.
    pub(super) async fn next(&mut self) -> Symbols {
        let Some(symbols) = self.told.recv().await else {
            return std::future::pending().await;
        };
        self.reading = false;
        if std::mem::take(&mut self.again) {
            self.read();
        }
        symbols
    }
}

/// Attaches to modules that come, one round at a time.
pub(super) struct ModulesAside {
    late: Arc<Mutex<Late>>,
    round: Option<JoinHandle<Vec<ProbeStatus>>>,
}

impl ModulesAside {
    /// For these.
    pub(super) fn new(late: &Arc<Mutex<Late>>) -> Self {
        Self {
            late: Arc::clone(late),
            round: None,
        }
    }

    /// Begins a round if modules came or went.
    pub(super) fn tick(&mut self) {
        let due = || self.late.try_lock().is_ok_and(|late| late.is_due());
        if self.round.is_some() || !due() {
            return;
        }
        let late = Arc::clone(&self.late);
        self.round = Some(spawn_blocking(move || {
            let mut late = late.lock().unwrap_or_else(PoisonError::into_inner);
            late.advance(None)
        }));
    }

    /// Waits for what the round that is under way brings.
    pub(super) async fn next(&mut self) -> Vec<ProbeStatus> {
        let Some(round) = &mut self.round else {
            return std::future::pending().await;
        };
        let news = round.await;
        self.round = None;
        news.unwrap_or_default()
    }

    /// What the last round brings, if one is under way: programs that it attaches must not outlive the session.
    pub(super) async fn last(mut self) -> Vec<ProbeStatus> {
        match self.round {
            Some(_) => self.next().await,
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_read_once_for_all_that_changed_meanwhile() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut symbols = SymbolsAside::new();
            let listener = symbols.listener();
            symbols.read();
            symbols.read();
            assert!(symbols.reading && symbols.again);
            listener(Symbols::default());
            symbols.next().await;
            assert!(symbols.reading && !symbols.again, "once more");
            symbols.next().await;
            assert!(!symbols.reading);
        });
    }
}
