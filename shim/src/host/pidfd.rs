//! Processes by pidfd: a signal never hits a stranger that got the same pid.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use podhook_hooks::linux::pidfd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::{Error, Result};

pub use podhook_hooks::linux::pidfd::send_signal;

/// A pidfd of `pid`: a child that the caller has not reaped.
pub fn open(pid: libc::pid_t) -> Result<OwnedFd> {
    pidfd::open(pid).map_err(Error::sys("pidfd_open"))
}

/// A pidfd of a child; none where it has been reaped.
///
/// # Errors
/// Where the kernel has none to give.
pub fn of_child(pid: libc::pid_t) -> Result<Option<OwnedFd>> {
    match open(pid) {
        Ok(fd) => Ok(Some(fd)),
        Err(Error::Sys { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether the process has ended, reaped or not.
pub fn has_ended(pidfd: &OwnedFd) -> bool {
    ends_within(pidfd, Duration::ZERO)
}

/// For a verb, which has nothing else to do: waits for the process to end, at most `limit`; whether it has.
pub fn ends_within(pidfd: &OwnedFd, limit: Duration) -> bool {
    let limit = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
    let mut poll = libc::pollfd {
        fd: pidfd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one pollfd that outlives the call.
    unsafe { libc::poll(&mut poll, 1, limit) == 1 }
}

/// Waits for the process to end, at most `limit`; whether it has.
pub async fn wait(pidfd: &OwnedFd, limit: Duration) -> bool {
    if has_ended(pidfd) || limit.is_zero() {
        return has_ended(pidfd);
    }
    // One of its own: epoll takes a descriptor once, and others may wait for the same process.
    let Ok(own) = pidfd.try_clone() else {
        return false;
    };
    // SAFETY: an `OwnedFd` has one descriptor for as long as it lives, and closes it then.
    let Ok(watched) = (unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }) else {
        return false;
    };
    tokio::time::timeout(limit, watched.readable())
        .await
        .is_ok()
}
