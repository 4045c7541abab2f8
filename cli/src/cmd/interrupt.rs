//! Ctrl-C while something is half done.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::Error;

/// SIGINT and SIGTERM, as an event instead of the end of the process.
#[derive(Debug)]
pub(crate) struct Interrupts {
    int: Signal,
    term: Signal,
}

impl Interrupts {
    /// From now on the signals are events.
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
        })
    }

    /// Does `work` until one of the signals comes; the work is dropped then.
    pub(crate) async fn stop<T>(
        &mut self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            result = work => result,
            _ = self.int.recv() => Err(Error::Interrupted),
            _ = self.term.recv() => Err(Error::Interrupted),
        }
    }
}
