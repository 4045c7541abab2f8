//! Signals to the shim, read from a descriptor. (tokio's own need a pair of sockets, and panic where the kernel has
//! none.)

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Signals that a task waits for. They are blocked from now on: whoever executes another program unblocks them, as
/// `Command` and the exec engine do.
pub struct Signals(AsyncFd<SignalFd>);

impl Signals {
    /// Takes these signals over. On the runtime, and before there is another thread.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let set: SigSet = signals.iter().copied().collect();
        set.thread_block()?;
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
