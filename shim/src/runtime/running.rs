//! A running call of the OCI runtime, and how it is ended when it is no longer waited for.
//!
//! The runtime makes the container's process by children of its own (`runc init`), which can be stopped, frozen or
//! waiting for a file system when the runtime is killed, and would go on later: they are killed first.

use std::collections::HashSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::time::Duration;

use podhook_hooks::exec::Exit;
use podhook_hooks::linux::process::state;
use tokio::sync::oneshot;

use crate::host::pidfd;

/// How long the runtime may take to stop.
const STOP_LIMIT: u32 = 100;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// A call that runs. One that is dropped before its end is killed, in the background.
pub struct Running(Option<Call>);

struct Call {
    pid: libc::pid_t,
    /// `None`: it has ended already.
    pidfd: Option<OwnedFd>,
    exit: oneshot::Receiver<Exit>,
}

impl Running {
    /// Child `pid`, and its end to come.
    pub fn new(pid: libc::pid_t, exit: oneshot::Receiver<Exit>) -> Self {
        Self(Some(Call {
            pid,
            pidfd: pidfd::open(pid).ok(),
            exit,
        }))
    }

    /// Waits for its end; `None` where that was lost.
    pub async fn end(mut self) -> Option<Exit> {
        let exit = match &mut self.0 {
            Some(call) => (&mut call.exit).await.ok(),
            None => None,
        };
        self.0 = None;
        exit
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(call) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(call.kill());
        }
    }
}

impl Call {
    async fn kill(self) {
        let Some(pidfd) = &self.pidfd else { return };
        // It makes no child while it is stopped; and as long as it is not reaped the number is its own.
        if pidfd::send_signal(pidfd, libc::SIGSTOP).is_err() {
            return;
        }
        for _ in 0..STOP_LIMIT {
            if !matches!(state(self.pid), Some('R' | 'S' | 'D')) {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        // Repeat until a pass finds nothing new: a process with SIGKILL pending cannot fork.
        let mut killed = HashSet::new();
        while kill_new(self.pid, &mut killed) {}
        let _ = pidfd::send_signal(pidfd, libc::SIGKILL);
        let _ = self.exit.await;
    }
}

/// Kills the descendants of `parent` that are not in `killed`; whether there were any.
fn kill_new(parent: libc::pid_t, killed: &mut HashSet<libc::pid_t>) -> bool {
    let mut found = false;
    for child in children(parent) {
        if !killed.contains(&child)
            && let Ok(pidfd) = pidfd::open(child)
            // Checked again: the pid may have been reused between the listing and the open.
            && children(parent).contains(&child)
        {
            found |= kill_new(child, killed);
            found |= pidfd::send_signal(&pidfd, libc::SIGKILL).is_ok();
            killed.insert(child);
        }
    }
    found
}

/// The children of all its threads.
fn children(parent: libc::pid_t) -> Vec<libc::pid_t> {
    let threads = fs::read_dir(format!("/proc/{parent}/task"));
    threads
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            let pids = list
                .split_whitespace()
                .map(str::parse)
                .map_while(Result::ok);
            pids.collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_call_that_nobody_waits_for_dies_with_its_children() {
        let script = "sleep 1000 & (sleep 1000 & wait) & kill -STOP %1; wait";
        let mut call = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pid = call.id().cast_signed();
        let all = || {
            let children = children(pid);
            let below = children.iter().flat_map(|&child| self::children(child));
            children.iter().copied().chain(below).collect::<Vec<_>>()
        };
        while all().len() < 3 {
            tokio::time::sleep(PAUSE).await;
        }
        let pids = all();
        let (sender, exit) = oneshot::channel();
        drop(Running::new(pid, exit));
        let ended = |pid: &libc::pid_t| matches!(state(*pid), None | Some('Z'));
        while !pids.iter().chain([&pid]).all(ended) {
            tokio::time::sleep(PAUSE).await;
        }
        call.wait().unwrap();
        drop(sender);
    }
}
