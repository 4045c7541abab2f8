//! The one place that reaps: every child of the shim, adopted ones included.
//!
//! The shim is a subreaper: a container's init and `runc exec`'s process become its children when
//! runc ends. Their pids arrive in files, so an exit can be seen before its pid is known; see
//! [`Children`] for how none is lost.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use libc::pid_t;
use nix::sys::signal::Signal;
use podhook_hooks::exec::{Children, Exit};
use podhook_hooks::linux::limit::{Asked, may_be_filter};
use podhook_hooks::moment::Moment;
use podhook_hooks::task;
use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::host::signals::Signals;

/// Reaps children and hands each exit to the task that waits for it.
#[derive(Default)]
pub struct Reaper(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    waiting: HashMap<pid_t, oneshot::Sender<Exit>>,
    /// Exits of children that no task waits for yet, kept while there is a hold.
    kept: HashMap<pid_t, Exit>,
    holds: usize,
}

impl State {
    fn hold(&mut self) {
        self.holds = self.holds.saturating_add(1);
    }

    /// A child has ended, and its pid is free for another process.
    fn reaped(&mut self, pid: pid_t, exit: Exit) {
        if let Some(waiter) = self.waiting.remove(&pid) {
            // A waiter that went away no longer cares.
            let _ = waiter.send(exit);
        } else if self.holds > 0 {
            self.kept.insert(pid, exit);
        }
    }

    fn wait(
        &mut self,
        pid: pid_t,
        is_child: impl FnOnce(pid_t) -> bool,
    ) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        let kept = self.kept.remove(&pid);
        if is_child(pid) {
            // Alive, or ended and not reaped: a kept exit was that of an earlier process with the
            // same pid. An earlier waiter keeps its place: the pid
            // may have been read from a file that a container wrote.
            self.waiting.entry(pid).or_insert(sender);
        } else if let Some(exit) = kept {
            let _ = sender.send(exit);
        }
        receiver
    }

    fn let_go(&mut self) {
        self.holds = self.holds.saturating_sub(1);
        if self.holds == 0 {
            self.kept.clear();
        }
    }
}

struct Hold(Arc<Mutex<State>>);

impl Reaper {
    /// Becomes the subreaper and starts to reap. Call on the runtime.
    pub fn start() -> Result<Arc<Self>> {
        // SAFETY: prctl with integer arguments only.
        if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } != 0 {
            return Err(Error::sys("become child subreaper")(
                io::Error::last_os_error(),
            ));
        }
        let children =
            Signals::new(&[Signal::SIGCHLD]).map_err(Error::sys("listen for SIGCHLD"))?;
        let reaper = Arc::new(Self::default());
        let weak = Arc::downgrade(&reaper);
        task::spawn(async move {
            while children.next().await.is_ok() {
                match weak.upgrade() {
                    Some(reaper) => reaper.reap(),
                    None => return,
                }
            }
        });
        Ok(reaper)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reaps every child that has ended.
    fn reap(&self) {
        let mut state = self.lock();
        while let Some((pid, exit)) = next_exit() {
            crate::host::memory::worked();
            state.reaped(pid, exit);
        }
    }
}

impl Children for Reaper {
    fn hold(&self) -> Box<dyn Send + Sync> {
        self.lock().hold();
        Box::new(Hold(Arc::clone(&self.0)))
    }

    fn wait(&self, pid: pid_t) -> oneshot::Receiver<Exit> {
        self.lock().wait(pid, is_child)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.let_go();
    }
}

/// Reaps one child that has ended, if there is one.
fn next_exit() -> Option<(pid_t, Exit)> {
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value of that plain C struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals that outlive the call.
    let mut wait =
        || unsafe { libc::wait4(-1, &mut status, libc::WNOHANG | libc::__WALL, &mut usage) };
    let mut pid = wait();
    while pid < 0 && was_interrupted() {
        pid = wait();
    }
    (pid > 0).then(|| {
        let exit = Exit {
            raw_status: status,
            at: Moment::now(),
            cpu_user: duration(usage.ru_utime),
            cpu_system: duration(usage.ru_stime),
            max_rss: u64::try_from(usage.ru_maxrss)
                .unwrap_or(0)
                .saturating_mul(1024),
        };
        (pid, exit)
    })
}

/// Whether the last call that failed did so for a signal.
fn was_interrupted() -> bool {
    io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros))
}

/// Whether children can be reaped: without waitid(2) none is told from a stranger.
///
/// # Errors
/// Where a filter of system calls refuses it.
pub fn check() -> Result<()> {
    // Nothing to wait for is EINVAL, whatever there is.
    // SAFETY: nothing is written.
    unsafe { libc::waitid(libc::P_ALL, 0, std::ptr::null_mut(), 0) };
    let error = io::Error::last_os_error();
    match may_be_filter(&error) {
        true => Err(Error::sys("wait for children")(
            Asked::Call("waitid").explain(error),
        )),
        false => Ok(()),
    }
}

/// Whether `pid` is a child that has not been reaped.
fn is_child(pid: pid_t) -> bool {
    let Ok(id) = libc::id_t::try_from(pid) else {
        return false;
    };
    // SAFETY: an all-zero siginfo_t is a valid value of that plain C struct.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
    // SAFETY: `info` outlives the call; WNOWAIT leaves the child to be reaped.
    let mut look = || unsafe { libc::waitid(libc::P_PID, id, &mut info, flags) == 0 };
    loop {
        let found = look();
        if found || !was_interrupted() {
            return found;
        }
    }
}

#[cfg(test)]
mod tests;
