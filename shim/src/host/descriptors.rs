//! File descriptors: how many the shim may have, and some kept back for what must not fail half-way.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

use crate::error::{Error, Result};

/// As many as a call of the OCI runtime takes: what clears away a container that could not be made.
pub const CLEARING: usize = 8;
/// As many as it takes at the most to connect a process's stdio.
pub const CONNECTING: usize = 8;

/// The limit that the shim was started with.
static GIVEN: OnceLock<libc::rlimit> = OnceLock::new();

/// Raises the soft limit to the hard one, as every program in Go does: a container's execs take nine descriptors
/// each, and the usual soft limit is 1,024.
pub fn raise_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: a valid place to write to.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0
        || limit.rlim_cur >= limit.rlim_max
    {
        return;
    }
    let given = *GIVEN.get_or_init(|| limit);
    limit.rlim_cur = given.rlim_max;
    // SAFETY: a valid limit. Where it fails (fs.nr_open), the limit stays as it was.
    unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
}

/// The limit that the shim was started with, soft and hard, where it has been raised.
pub fn given_limit() -> Option<(u64, u64)> {
    GIVEN.get().map(|given| (given.rlim_cur, given.rlim_max))
}

/// `command` starts with the limit that the shim was started with.
pub fn pass_on_limit(command: &mut Command) {
    // SAFETY: runs between fork and exec; setrlimit is async-signal-safe.
    unsafe {
        command.pre_exec(give_back_limit);
    }
}

/// In a child before execve: the limit is that which the shim was started with. Async-signal-safe.
pub fn give_back_limit() -> io::Result<()> {
    let Some(given) = GIVEN.get() else {
        return Ok(());
    };
    // SAFETY: a valid limit.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, given) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Descriptors in reserve: dropping some just before others are opened makes room for as many, since one thread
/// opens nearly all of the shim's.
pub struct Reserve(Vec<OwnedFd>);

impl Reserve {
    /// Keeps back `count`.
    pub fn take(count: usize) -> Result<Self> {
        let stdin = io::stdin();
        let kept: io::Result<Vec<_>> = (0..count)
            .map(|_| stdin.as_fd().try_clone_to_owned())
            .collect();
        kept.map(Self)
            .map_err(Error::sys("reserve file descriptors"))
    }

    /// Lets all of them go.
    pub fn release(&mut self) {
        self.0.clear();
    }
}
/// A duplicate of `fd` with the lowest free number that is not below `lowest`, closed on exec.
pub fn above(fd: BorrowedFd<'_>, lowest: i32) -> io::Result<OwnedFd> {
    // SAFETY: a valid descriptor.
    match unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: a new descriptor that nothing else owns.
        new => Ok(unsafe { OwnedFd::from_raw_fd(new) }),
    }
}
