//! How the engine learns that a process it made has ended: the caller owns `wait`.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::moment::Moment;

/// How a process ended and what it used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The raw status of wait4(2).
    pub raw_status: i32,
    /// When it was reaped.
    pub at: Moment,
    /// User CPU time of the process and of its descendants it waited for.
    pub cpu_user: Duration,
    /// System CPU time of the process and of its descendants it waited for.
    pub cpu_system: Duration,
    /// Peak resident memory of the largest of them, bytes.
    pub max_rss: u64,
}

impl Exit {
    /// The exit code, where the process ended by itself.
    pub fn code(&self) -> Option<i32> {
        libc::WIFEXITED(self.raw_status).then(|| libc::WEXITSTATUS(self.raw_status))
    }

    /// The signal that ended the process.
    pub fn signal(&self) -> Option<i32> {
        libc::WIFSIGNALED(self.raw_status).then(|| libc::WTERMSIG(self.raw_status))
    }

    /// The status as containerd reports it: the code, or 128 + the signal.
    pub fn status(&self) -> u32 {
        match (self.code(), self.signal()) {
            (Some(code), _) => code as u32,
            (None, Some(signal)) => 128u32.saturating_add(signal.unsigned_abs()),
            (None, None) => 255,
        }
    }
}

/// The one place in the process that reaps children.
///
/// A child can end before its maker knows its pid (a second fork tells it over a pipe). So that no
/// exit is lost, and none goes to a stranger with the same pid, a maker holds first, then makes the
/// child, then waits, then lets go of the hold.
pub trait Children: Send + Sync {
    /// While the guard lives, exits of children that no task waits for yet are kept.
    fn hold(&self) -> Box<dyn Send + Sync>;

    /// The exit of child `pid`; at once if it was kept. The channel closes without a value when
    /// `pid` is no child, or is waited for already.
    fn wait(&self, pid: libc::pid_t) -> oneshot::Receiver<Exit>;
}
