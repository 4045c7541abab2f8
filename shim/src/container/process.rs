//! A process of a container: init, or one made by `Exec`.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use containerd_shim::io::Stdio;
use tokio::sync::SetOnce;

use super::deps::Held;
use crate::error::{Error, Result};
use crate::stdio::ProcessIo;

/// How a process ended, as containerd reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitInfo {
    /// The exit code, or 128 + the signal.
    pub status: u32,
    pub at: SystemTime,
}

pub struct Process {
    /// The exec id; empty for init.
    pub exec_id: String,
    /// Where containerd wants the stdio.
    pub stdio: Stdio,
    state: Mutex<State>,
    exit: SetOnce<ExitInfo>,
}

#[derive(Default)]
struct State {
    pid: Option<u32>,
    held: Option<Arc<dyn Held>>,
    io: Option<Arc<ProcessIo>>,
    stdin_closed: bool,
}

impl Process {
    /// A process that does not exist yet.
    pub fn new(exec_id: String, stdio: Stdio) -> Self {
        Self {
            exec_id,
            stdio,
            state: Mutex::default(),
            exit: SetOnce::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the process, a child of the shim, once it exists. One that is not held has ended and was reaped, and its
    /// exit is on the way.
    pub fn set_child(&self, pid: libc::pid_t, held: Option<Arc<dyn Held>>) {
        let mut state = self.lock();
        state.pid = u32::try_from(pid).ok();
        state.held = held;
    }

    /// The pid, 0 before there is one.
    pub fn pid(&self) -> u32 {
        self.lock().pid.unwrap_or(0)
    }

    /// A pidfd for who watches it, which epoll takes once per descriptor.
    pub fn pidfd(&self) -> Option<OwnedFd> {
        self.lock().held.as_ref()?.pidfd()
    }

    /// Hands over its stdio.
    pub fn set_io(&self, io: ProcessIo) {
        let mut state = self.lock();
        if state.stdin_closed {
            io.close_stdin();
        }
        state.io = Some(Arc::new(io));
    }

    /// Its stdio, once it runs.
    pub fn io(&self) -> Option<Arc<ProcessIo>> {
        self.lock().io.clone()
    }

    /// Lets go of stdin, now or as soon as there is one.
    pub fn close_stdin(&self) {
        let mut state = self.lock();
        state.stdin_closed = true;
        if let Some(io) = &state.io {
            io.close_stdin();
        }
    }

    /// Records the exit and answers every Wait. Later calls change nothing.
    pub fn set_exit(&self, exit: ExitInfo) -> bool {
        self.exit.set(exit).is_ok()
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<ExitInfo> {
        self.exit.get().copied()
    }

    pub async fn wait(&self) -> ExitInfo {
        *self.exit.wait().await
    }

    /// Whether it has ended, or is on its way out.
    pub fn is_ending(&self) -> bool {
        let state = self.lock();
        match (state.pid, &state.held) {
            (Some(pid), Some(held)) => held.is_ending(pid),
            _ => true,
        }
    }

    /// Sends a signal. One that has ended is NotFound, as `runc kill` answers.
    pub fn signal(&self, signal: i32) -> Result<()> {
        let finished = || Error::NotFound("process already finished".to_owned());
        if self.exit().is_some() {
            return Err(finished());
        }
        let state = self.lock();
        if state.pid.is_none() {
            return Err(Error::FailedPrecondition("process not created".to_owned()));
        }
        let held = state.held.as_ref().ok_or_else(finished)?;
        held.signal(signal).map_err(|e| match e.raw_os_error() {
            Some(libc::ESRCH) => finished(),
            Some(libc::EINVAL) => Error::InvalidArgument(format!("invalid signal {signal}")),
            _ => Error::sys("send a signal")(e),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> Process {
        Process::new(String::new(), Stdio::default())
    }

    fn exit(status: u32) -> ExitInfo {
        ExitInfo {
            status,
            at: SystemTime::now(),
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn many_waiters_get_the_first_exit_and_late_ones_too() {
        let process = process();
        let early = async { process.wait().await.status };
        let end = async {
            assert!(process.set_exit(exit(3)));
            assert!(!process.set_exit(exit(4)), "an exit happens once");
        };
        let (early, ()) = tokio::join!(early, end);
        assert_eq!((early, process.wait().await.status), (3, 3));
    }

    #[test]
    fn a_signal_to_what_does_not_run_is_refused() {
        let process = process();
        assert!(matches!(
            process.signal(15),
            Err(Error::FailedPrecondition(_))
        ));
        process.set_exit(exit(0));
        assert!(matches!(process.signal(15), Err(Error::NotFound(_))));
    }
}
