//! Signals that end a session.

use std::{
    fs, io,
    sync::Weak,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use signal_hook::{
    consts::{SIGHUP, SIGINT},
    iterator::Signals,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::ready_file::ReadyFile;

/// What comes together is one wish: `timeout` and terminals may tell process and process group.
const TOGETHER: Duration = Duration::from_millis(200);

/// What a shell shows for a process that SIGINT ended.
const INTERRUPTED: i32 = 128 + SIGINT;

/// The signals that end a session in good order.
pub(super) struct Endings {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    /// `None` where it is ignored: whoever started dropwatch by `nohup` wants it to stay.
    hangup: Option<Signal>,
}

impl Endings {
    /// Listens from now on.
    ///
    /// # Errors
    ///
    /// When the system has no more descriptors or threads.
    pub(super) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("listening to signals");
        let hangup = (!is_ignored(SIGHUP)).then(|| listen(SignalKind::hangup()));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            quit: listen(SignalKind::quit())?,
            hangup: hangup.transpose()?,
        })
    }

    /// Waits for one.
    pub(super) async fn recv(&mut self) {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.quit.recv() => {}
            _ = hangup => {}
        }
    }
}

/// A second SIGINT ends the process at once, whatever it waits for: a reader of its output that does not read, for one.
/// Only the ready file is removed then.
///
/// # Errors
///
/// When the system has no more descriptors or threads.
pub(super) fn leave_on_second_interrupt(ready_file: Weak<ReadyFile>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT])?;
    let watch = move || {
        let mut first: Option<Instant> = None;
        for _ in signals.forever() {
            if first.get_or_insert_with(Instant::now).elapsed() > TOGETHER {
                if let Some(ready_file) = ready_file.upgrade() {
                    ready_file.remove();
                }
                std::process::exit(INTERRUPTED);
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(watch)?;
    Ok(())
}

/// Whether this process was told to ignore a signal; not where /proc does not say.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_known() {
        // Rust ignores it before main.
        assert!(is_ignored(signal_hook::consts::SIGPIPE));
        assert!(!is_ignored(signal_hook::consts::SIGUSR2));
    }
}
