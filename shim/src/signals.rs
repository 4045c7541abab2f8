//! Signals to the shim, read from a descriptor. (tokio's own need a pair of sockets, and panic where the kernel has
//! none.)

use std::{io, sync::OnceLock};

use nix::sys::{
    signal::{SigSet, SigmaskHow, Signal, pthread_sigmask},
    signalfd::{SfdFlags, SignalFd},
};
use tokio::io::{Interest, unix::AsyncFd};

/// The mask that the shim was started with.
static GIVEN: OnceLock<SigSet> = OnceLock::new();

/// In a child before execve: the mask is that which the shim was started with. Async-signal-safe.
pub fn give_back_mask() -> io::Result<()> {
    Ok(GIVEN.get().map_or(Ok(()), SigSet::thread_set_mask)?)
}

/// Signals that somebody waits for. They are blocked from now on, and would be in what the shim executes: see
/// [`give_back_mask`]. (The exec engine sees to that itself.)
pub struct Signals(AsyncFd<SignalFd>);

impl Signals {
    /// Takes these signals over. On the runtime, and before there is another thread.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let set: SigSet = signals.iter().copied().collect();
        let mut before = SigSet::empty();
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), Some(&mut before))?;
        GIVEN.get_or_init(|| before);
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        // SAFETY: a `SignalFd` has one descriptor for as long as it lives, and closes it then.
        let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        watched.map(Self).map_err(|error| error.into_parts().1)
    }

    /// Waits for the next. Several of a kind that come at once are one. May be dropped while it waits.
    pub async fn next(&self) -> io::Result<Signal> {
        loop {
            let mut ready = self.0.readable().await?;
            match self.0.get_ref().read_signal()? {
                Some(info) => {
                    let number = i32::try_from(info.ssi_signo).unwrap_or_default();
                    return Ok(Signal::try_from(number)?);
                }
                None => ready.clear_ready(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn each_signal_is_told_and_only_once() {
        let signals = Signals::new(&[Signal::SIGUSR1, Signal::SIGWINCH]).unwrap();
        for signal in [Signal::SIGUSR1, Signal::SIGWINCH, Signal::SIGUSR1] {
            raise(signal).unwrap();
            assert_eq!(signals.next().await.unwrap(), signal);
        }
        tokio::select! {
            biased;
            other = signals.next() => panic!("{other:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
}
