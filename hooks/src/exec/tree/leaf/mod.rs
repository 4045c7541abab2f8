//! A cgroup below the container's, for one tree of processes.

mod make;
#[cfg(test)]
mod tests;

use std::fs;
use std::future::Future;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::linux::cgroup::Membership;
use crate::linux::pidfd;

/// Give up emptying and removing a leaf after this time. What is left goes with the container's cgroup.
const PATIENCE: Duration = Duration::from_secs(60);

/// At most this many cgroups below a leaf are handled in one pass: a process that may write to it can make any number.
const MOST: usize = 256;

/// A leaf cgroup. Removed by `kill` or `release`; a dropped one is removed if it is empty.
#[derive(Debug)]
pub(crate) struct Leaf {
    dir: PathBuf,
    /// As /proc/PID/cgroup names it.
    path: String,
    stop: Stop,
    /// Where survivors go if the cgroup above takes no process.
    moved: Option<PathBuf>,
    /// Its processes see it as the root, in a cgroup namespace of their own.
    is_root: bool,
    /// Removed already.
    gone: AtomicBool,
}

/// How forks are kept from outrunning the kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// cgroup.kill does it all (Linux 5.14).
    CgroupKill,
    /// v1 pids: with a limit of 0 no process of the leaf can fork.
    PidsMax,
    /// v1 freezer: killed while frozen, they die when thawed.
    Freezer,
    /// v2 before cgroup.kill: frozen processes can be killed.
    Freeze,
    /// Another v1 hierarchy: only faster than the forks.
    None,
}

impl Leaf {
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Kills until the leaf is empty, then removes it.
    pub async fn kill(self) {
        retry(Duration::from_millis(500), || {
            self.kill_once();
            self.remove()
        })
        .await;
    }

    /// Leaves survivors to the container and removes the leaf. What could not be done at once is returned.
    ///
    /// They move to the container's cgroup. Those that see the leaf as their root stay in it: from anywhere else
    /// they would see themselves outside of it (`/..`), and find no limit there.
    pub fn release(self) -> Option<impl Future<Output = ()> + Send> {
        // Most hooks leave no process behind, and the leaf is empty.
        if self.remove() {
            return None;
        }
        if !self.is_root {
            self.move_survivors();
            if self.remove() {
                return None;
            }
        }
        Some(async move {
            let most = match self.is_root {
                // A daemon; else the container's end removes the leaf.
                true => PATIENCE,
                false => Duration::from_millis(500),
            };
            retry(most, || {
                if !self.is_root {
                    self.move_survivors();
                }
                self.remove()
            })
            .await;
        })
    }

    fn kill_once(&self) {
        let write = |file: &str, text: &str| {
            let _ = fs::write(self.dir.join(file), text);
        };
        match self.stop {
            Stop::CgroupKill => return write("cgroup.kill", "1"),
            Stop::PidsMax => write("pids.max", "0"),
            Stop::Freezer => write("freezer.state", "FROZEN"),
            Stop::Freeze => write("cgroup.freeze", "1"),
            Stop::None => {}
        }
        self.each_process(|pidfd, _| {
            let _ = pidfd::send_signal(pidfd, libc::SIGKILL);
        });
        match self.stop {
            Stop::Freezer => write("freezer.state", "THAWED"),
            Stop::Freeze => write("cgroup.freeze", "0"),
            _ => {}
        }
    }

    fn move_survivors(&self) {
        let homes = [self.dir.parent(), self.moved.as_deref()];
        self.each_process(|_, pid| {
            for home in homes.into_iter().flatten() {
                if fs::write(home.join("cgroup.procs"), pid.to_string()).is_ok() {
                    break;
                }
            }
        });
    }

    /// Calls `act` for each process of the leaf. The pidfd is opened before the process is looked at
    /// again, so a recycled pid is never taken for one of ours.
    fn each_process(&self, act: impl Fn(std::os::fd::BorrowedFd<'_>, libc::pid_t)) {
        for dir in self.tree() {
            let list = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            for pid in list.lines().filter_map(|line| line.parse().ok()) {
                if let Ok(pidfd) = pidfd::open(pid)
                    && self.contains(pid)
                {
                    act(pidfd.as_fd(), pid);
                }
            }
        }
    }

    pub fn contains(&self, pid: libc::pid_t) -> bool {
        fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| {
            text.lines()
                .filter_map(Membership::parse)
                .any(|found| Path::new(&found.path).starts_with(&self.path))
        })
    }

    /// The leaf and the cgroups below it, each after its parent.
    fn tree(&self) -> Vec<PathBuf> {
        let mut dirs = vec![self.dir.clone()];
        let mut next = 0;
        while let Some(dir) = dirs.get(next)
            && dirs.len() < MOST
        {
            let entries = fs::read_dir(dir).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            let room = MOST.saturating_sub(dirs.len());
            let below: Vec<_> = below.take(room).map(|entry| entry.path()).collect();
            dirs.extend(below);
            next = next.saturating_add(1);
        }
        dirs
    }

    /// True once the leaf is gone.
    fn remove(&self) -> bool {
        let is_gone = || match fs::remove_dir(&self.dir) {
            Ok(()) => true,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        let gone = is_gone() || {
            let tree = self.tree();
            tree.len() > 1 && {
                for below in tree.iter().skip(1).rev() {
                    let _ = fs::remove_dir(below);
                }
                is_gone()
            }
        };
        if gone {
            self.gone.store(true, Ordering::Relaxed);
        }
        gone
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        // After kill or release it is gone.
        if !self.gone.load(Ordering::Relaxed) {
            self.remove();
        }
    }
}

/// Calls `done` until it is true, less and less often, `most` apart in the end.
async fn retry(most: Duration, done: impl Fn() -> bool) {
    let mut pause = Duration::from_millis(1);
    let mut waited = Duration::ZERO;
    while !done() && waited < PATIENCE {
        tokio::time::sleep(pause).await;
        waited = waited.saturating_add(pause);
        pause = pause.saturating_mul(2).min(most);
    }
}
