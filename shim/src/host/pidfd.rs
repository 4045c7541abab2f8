//! Processes by pidfd: a signal never hits a stranger that got the same pid.

use std::os::fd::OwnedFd;

use podhook_hooks::linux::pidfd;

use crate::error::{Error, Result};

pub use podhook_hooks::linux::pidfd::{ends_within, has_ended, send_signal, wait};

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
