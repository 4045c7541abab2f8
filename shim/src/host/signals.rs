//! Signals to the shim, read from a descriptor. (tokio's own need a pair of sockets, and panic where the kernel has
//! none.)

use std::io;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use podhook_hooks::linux::watch;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How long to wait after the descriptor could not be read.
const PAUSE: Duration = Duration::from_millis(20);

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
        unsafe { watch::with_interest(fd, Interest::READABLE) }.map(Self)
    }

    /// Waits for the next. Several of a kind that come at once are one. May be dropped while it waits. A descriptor that
    /// cannot be read is read again: nobody else would reap the children, say. An error is the runtime's end.
    pub async fn next(&self) -> io::Result<Signal> {
        loop {
            let mut ready = self.0.readable().await?;
            match self.0.get_ref().read_signal() {
                Ok(Some(info)) => {
                    let number = i32::try_from(info.ssi_signo).unwrap_or_default();
                    return Ok(Signal::try_from(number)?);
                }
                Ok(None) => ready.clear_ready(),
                Err(error) => {
                    log::warn!("read the signals: {error}; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd};

    use nix::sys::signal::raise;
    use nix::unistd::{dup, dup2_raw};

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_descriptor_that_cannot_be_read_for_a_while_loses_no_signal() {
        let signals = Signals::new(&[Signal::SIGUSR2]).unwrap();
        let descriptor = signals.0.get_ref().as_fd();
        let kept = dup(descriptor).unwrap();
        let nothing = OpenOptions::new().write(true).open("/dev/null").unwrap();
        // The kernel tells of the signalfd, and what is read is not one: EBADF.
        let put = |from: BorrowedFd<'_>| {
            // SAFETY: the number is the signalfd's owner's, which has it again before it closes it.
            let there = unsafe { dup2_raw(from, descriptor.as_raw_fd()) }.unwrap();
            let _ = there.into_raw_fd();
        };
        put(nothing.as_fd());
        raise(Signal::SIGUSR2).unwrap();
        let mended = async {
            tokio::time::sleep(PAUSE * 2).await;
            put(kept.as_fd());
        };
        let (told, ()) = tokio::join!(signals.next(), mended);
        assert_eq!(told.unwrap(), Signal::SIGUSR2);
    }

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
