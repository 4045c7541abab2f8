//! Blocked signals that the shim was started with go on to the OCI runtime, and by it to containers, as with every
//! other shim: `Command` starts a program with none.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};

use crate::error::{Error, Result};

/// What was blocked when the server started: what it blocks itself, to read it from a descriptor, is not to go on.
static GIVEN: OnceLock<SigSet> = OnceLock::new();

/// What the server itself waits for is not blocked. A containerd in Go never hands on these. Before anything else is
/// blocked.
pub fn unblock_own() -> Result<()> {
    let own = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT];
    pthread_sigmask(
        SigmaskHow::SIG_UNBLOCK,
        Some(&own.into_iter().collect()),
        None,
    )
    .map_err(Error::sys("unblock signals"))?;
    if let Some(mask) = current() {
        let _ = GIVEN.set(mask);
    }
    Ok(())
}

fn current() -> Option<SigSet> {
    let mut mask = SigSet::empty();
    let read = pthread_sigmask(SigmaskHow::SIG_BLOCK, None, Some(&mut mask));
    read.is_ok().then_some(mask)
}

/// `command` starts with the signal mask that the shim was started with.
pub fn pass_on(command: &mut Command) {
    let Some(mask) = GIVEN.get().copied().or_else(current) else {
        return;
    };
    // SAFETY: runs between fork and exec; sigprocmask is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&mask), None).map_err(io::Error::from)
        });
    }
}
