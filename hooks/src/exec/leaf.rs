//! A cgroup below the container's, for one tree of processes.

use std::fs;
use std::future::Future;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
    /// Where survivors go if the cgroup above takes no process.
    moved: Option<PathBuf>,
    /// Removed already.
    gone: AtomicBool,
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
    /// `moved`: where the init has gone in cgroup v2, if it has.
    pub fn new(cgroups: &Membership, moved: Option<&Path>) -> Option<Self> {
        let unified = cgroups.unified();
        let kill = unified.filter(|_| cgroups.can_kill);
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
            .find_map(|(own, stop)| {
                let mut leaf = Self::in_hierarchy(own, stop)?;
                leaf.moved = moved.filter(|_| own.is_unified()).map(Path::to_path_buf);
                Some(leaf)
            })
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
                    return Some(Self {
                        dir,
                        path,
                        stop,
                        moved: None,
                        gone: AtomicBool::new(false),
                    });
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
        // Most leave nothing behind: there is nobody to look for then.
        if self.remove() {
            return None;
        }
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
        let gone = match fs::remove_dir(&self.dir) {
            Ok(()) => true,
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
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

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// A cgroup of this test in one v1 hierarchy or in cgroup v2, gone at its end.
    struct Home(Hierarchy);

    impl Home {
        fn new(controller: Option<&str>, test: &str) -> Option<Self> {
            let own = Membership::of(std::process::id() as libc::pid_t).unwrap();
            let mut hierarchy = match controller {
                Some(name) => own.controller(name)?.clone(),
                None => own.unified()?.clone(),
            };
            let name = format!("podhook-unit-{test}-{}", std::process::id());
            hierarchy.dir.push(&name);
            hierarchy.path = format!("{}/{name}", hierarchy.path.trim_end_matches('/'));
            fs::create_dir(&hierarchy.dir).unwrap();
            Some(Self(hierarchy))
        }

        fn processes(&self) -> usize {
            let procs = fs::read_to_string(self.0.dir.join("cgroup.procs")).unwrap();
            procs.lines().count()
        }
    }

    impl Drop for Home {
        fn drop(&mut self) {
            let _ = fs::remove_dir(&self.0.dir);
        }
    }

    /// A shell in the leaf that forks without end, out of its session too.
    fn storm(leaf: &Leaf) -> Child {
        let script =
            "echo $$ > \"$0\"; while :; do setsid sleep 0.2 & setsid sleep 1000 & sleep 0.01; done";
        Command::new("sh")
            .args(["-c", script])
            .arg(leaf.dir().join("cgroup.procs"))
            .spawn()
            .unwrap()
    }

    async fn started(leaf: &Leaf) {
        let procs = leaf.dir().join("cgroup.procs");
        while fs::read_to_string(&procs).unwrap().lines().count() < 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn dies(controller: Option<&str>, stop: Stop, test: &str) {
        let Some(home) = Home::new(controller, test) else {
            eprintln!("not on this machine: {controller:?}");
            return;
        };
        let leaf = Leaf::in_hierarchy(&home.0, stop).unwrap();
        let mut shell = storm(&leaf);
        started(&leaf).await;
        let dir = leaf.dir().to_path_buf();
        // As the shim does while a tree dies: its own children must be reaped.
        let reaper = std::thread::spawn(move || shell.wait());
        leaf.kill().await;
        assert!(!dir.exists());
        assert_eq!(home.processes(), 0);
        reaper.join().unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_storm_dies_by_cgroup_kill() {
        dies(None, Stop::CgroupKill, "kill").await;
    }

    #[tokio::test]
    async fn a_storm_dies_by_v2_freeze() {
        dies(None, Stop::Freeze, "freeze").await;
    }

    #[tokio::test]
    async fn a_storm_dies_by_v1_pids() {
        dies(Some("pids"), Stop::PidsMax, "pids").await;
    }

    #[tokio::test]
    async fn a_storm_dies_by_v1_freezer() {
        dies(Some("freezer"), Stop::Freezer, "freezer").await;
    }

    #[tokio::test]
    async fn survivors_of_a_v1_leaf_move_up() {
        let Some(home) = Home::new(Some("pids"), "move") else {
            return;
        };
        let leaf = Leaf::in_hierarchy(&home.0, Stop::PidsMax).unwrap();
        let dir = leaf.dir().to_path_buf();
        let mut sleeper = Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(dir.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
        if let Some(rest) = leaf.release() {
            rest.await;
        }
        assert!(!dir.exists());
        assert_eq!(home.processes(), 1);
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }

    #[test]
    fn the_hosts_root_cgroup_gets_no_leaf() {
        let root = Hierarchy {
            controllers: None,
            path: "/".to_string(),
            dir: PathBuf::from("/sys/fs/cgroup"),
        };
        let cgroups = Membership {
            hierarchies: vec![root],
            can_kill: true,
        };
        assert!(Leaf::new(&cgroups, None).is_none());
    }
}
