//! Blocked signals that the shim was started with go on to the OCI runtime, and by it to containers, as with every
//! other shim: `Command` starts a program with none.

use std::{io, os::unix::process::CommandExt, process::Command};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

use crate::error::{Error, Result};

/// What the server itself waits for is not blocked. A containerd in Go never hands on these.
pub fn unblock_own() -> Result<()> {
    let own = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT];
    pthread_sigmask(
        SigmaskHow::SIG_UNBLOCK,
        Some(&own.into_iter().collect()),
        None,
    )
    .map_err(Error::sys("unblock signals"))
}

/// `command` starts with the signal mask of the calling thread.
pub fn pass_on(command: &mut Command) {
    let mut mask = SigSet::empty();
    if pthread_sigmask(SigmaskHow::SIG_BLOCK, None, Some(&mut mask)).is_err() {
        return;
    }
    // SAFETY: runs between fork and exec; sigprocmask is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&mask), None).map_err(io::Error::from)
        });
    }
}
