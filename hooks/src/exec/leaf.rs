//! A cgroup below the container's, for one tree of processes.

use std::fs;
use std::future::Future;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::cgroup::{Hierarchy, Membership};
use super::container::{pidfd_open, send_signal};

/// How long a leaf is tried to be emptied and removed. What is left goes with the container's cgroup.
const PATIENCE: Duration = Duration::from_secs(60);

/// A leaf cgroup. Removed by `kill` or `release`; a dropped one is removed if it is empty.
#[derive(Debug)]
pub(super) struct Leaf {
    dir: PathBuf,
    /// As /proc/PID/cgroup names it.
    path: String,
    stop: Stop,
}

/// How forks are kept from outrunning the kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
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
    /// A new leaf in the best hierarchy; `None` where the container has no cgroup of its own anywhere.
    pub fn new(cgroups: &Membership) -> Option<Self> {
        let unified = cgroups.unified();
        let kill = unified.filter(|own| own.dir.join("cgroup.kill").exists());
        let by_choice = [
            (kill, Stop::CgroupKill),
            (cgroups.controller("pids"), Stop::PidsMax),
            (cgroups.controller("freezer"), Stop::Freezer),
            (unified, Stop::Freeze),
        ];
        let others = cgroups
            .hierarchies
            .iter()
            .filter(|other| !other.is_unified())
            .map(|other| (Some(other), Stop::None));
        by_choice
            .into_iter()
            .chain(others)
            .filter_map(|(own, stop)| Some((own?, stop)))
            .filter(|(own, _)| !own.is_root())
            .find_map(|(own, stop)| Self::in_hierarchy(own, stop))
    }

    pub fn in_hierarchy(own: &Hierarchy, stop: Stop) -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // A few tries: an earlier shim of the same container may have left names behind.
        for _ in 0..16 {
            let name = format!("podhook-{}", NEXT.fetch_add(1, Ordering::Relaxed));
            let dir = own.dir.join(&name);
            match fs::create_dir(&dir) {
                Ok(()) => {
                    let path = format!("{}/{name}", own.path.trim_end_matches('/'));
                    return Some(Self { dir, path, stop });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(_) => return None,
            }
        }
        None
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Kills until the leaf is empty, then removes it.
    pub async fn kill(self) {
        retry(|| {
            self.kill_once();
            self.remove()
        })
        .await;
    }

    /// Moves survivors to the container's cgroup and removes the leaf. What could not be done at once is
    /// returned.
    pub fn release(self) -> Option<impl Future<Output = ()> + Send> {
        self.move_survivors();
        if self.remove() {
            return None;
        }
        Some(async move {
            retry(|| {
                self.move_survivors();
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
            let _ = send_signal(pidfd, libc::SIGKILL);
        });
        match self.stop {
            Stop::Freezer => write("freezer.state", "THAWED"),
            Stop::Freeze => write("cgroup.freeze", "0"),
            _ => {}
        }
    }

    fn move_survivors(&self) {
        let Some(parent) = self.dir.parent() else {
            return;
        };
        let home = parent.join("cgroup.procs");
        self.each_process(|_, pid| {
            let _ = fs::write(&home, pid.to_string());
        });
    }

    /// Calls `act` for each process of the leaf. The pidfd is opened before the process is looked at
    /// again, so a recycled pid is never taken for one of ours.
    fn each_process(&self, act: impl Fn(std::os::fd::BorrowedFd<'_>, libc::pid_t)) {
        let Ok(list) = fs::read_to_string(self.dir.join("cgroup.procs")) else {
            return;
        };
        for pid in list.lines().filter_map(|line| line.parse().ok()) {
            if let Ok(pidfd) = pidfd_open(pid)
                && self.contains(pid)
            {
                act(pidfd.as_fd(), pid);
            }
        }
    }

    fn contains(&self, pid: libc::pid_t) -> bool {
        fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| {
            text.lines().any(|line| {
                line.strip_suffix(self.path.as_str())
                    .is_some_and(|rest| rest.ends_with(':'))
            })
        })
    }

    /// True once the leaf is gone.
    fn remove(&self) -> bool {
        match fs::remove_dir(&self.dir) {
            Ok(()) => true,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        }
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        // After kill or release it is gone, and the name is never used again.
        self.remove();
    }
}

/// Calls `done` until it is true, less and less often.
async fn retry(done: impl Fn() -> bool) {
    let mut pause = Duration::from_millis(1);
    let mut waited = Duration::ZERO;
    while !done() && waited < PATIENCE {
        tokio::time::sleep(pause).await;
        waited += pause;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}
