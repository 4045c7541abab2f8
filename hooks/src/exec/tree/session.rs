//! The processes of one session: the tree where no cgroup can hold one.

use std::collections::HashSet;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::linux::pidfd;

/// So many killed processes are waited for before the next look; their descriptors are the shim's.
const WAITED: usize = 16;

/// Kills every process of the session that `leader` led, until none is left. The number cannot be
/// another session's: the kernel gives no pid out that is still a session's id.
pub(crate) async fn kill(leader: libc::pid_t) {
    for pause in pauses() {
        let mut reached = Reached::default();
        signal_new(leader, libc::SIGKILL, &mut reached);
        if reached.pids.is_empty() {
            return;
        }
        // Each look goes through all processes of the machine, on the only thread.
        tokio::time::sleep(pause).await;
        let _ = tokio::time::timeout(pause, ended(reached.first)).await;
    }
}

/// Between two looks: some milliseconds for what dies at once, in all half a minute for what is frozen.
fn pauses() -> impl Iterator<Item = Duration> {
    (0..24).map(|n| Duration::from_millis(1 << n.min(10)))
}

async fn ended(processes: Vec<OwnedFd>) {
    for process in processes {
        // Readable once it is dead.
        // SAFETY: an `OwnedFd` has one descriptor for as long as it lives, and closes it then.
        let process = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) };
        if let Ok(process) = process {
            let _ = process.readable().await;
        }
    }
}

/// The session of a child that somebody else has made: its own, or that of who has made it (crun 1.8 starts none). Its
/// own number where it is in this process's session, of which nobody must be signalled.
pub fn session_of(child: libc::pid_t) -> libc::pid_t {
    // SAFETY: takes integers only.
    let (session, own) = unsafe { (libc::getsid(child), libc::getsid(0)) };
    if session <= 0 || session == own {
        child
    } else {
        session
    }
}

/// How often a session is looked through for processes that were forked meanwhile.
const PASSES: usize = 10;

/// The processes that a signal was sent to.
#[derive(Default)]
struct Reached {
    pids: HashSet<libc::pid_t>,
    /// The first of them.
    first: Vec<OwnedFd>,
}

/// Sends a signal to every process of the session that `leader` leads or has led; what has made a session of its own is
/// not reached. False when there was none.
pub fn signal_session(leader: libc::pid_t, signal: i32) -> bool {
    let mut reached = Reached::default();
    // What is forked behind the eyes of one pass is seen by the next; who has a SIGKILL to come forks no more. A chain
    // of processes that only fork can run ahead of it: what holds such a tree is a cgroup.
    for _ in 0..PASSES {
        let before = reached.pids.len();
        signal_new(leader, signal, &mut reached);
        if reached.pids.len() == before {
            break;
        }
    }
    !reached.pids.is_empty()
}

/// One pass, for those not `reached` yet.
fn signal_new(leader: libc::pid_t, signal: i32, reached: &mut Reached) {
    let Ok(processes) = fs::read_dir("/proc") else {
        return;
    };
    for pid in processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<libc::pid_t>().ok())
    {
        if !reached.pids.contains(&pid)
            && in_session(pid, leader)
            && let Ok(pidfd) = pidfd::open(pid)
            // Once more: the pidfd may be another process's than the one looked at.
            && in_session(pid, leader)
        {
            reached.pids.insert(pid);
            let _ = pidfd::send_signal(pidfd.as_fd(), signal);
            if reached.first.len() < WAITED {
                reached.first.push(pidfd);
            }
        }
    }
}

/// Alive and in the session.
fn in_session(pid: libc::pid_t, leader: libc::pid_t) -> bool {
    // Most are in another; their files need not be read for that.
    // SAFETY: takes an integer only.
    if unsafe { libc::getsid(pid) } != leader {
        return false;
    }
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name may hold anything; the fields start behind its last parenthesis.
    let state = stat
        .rsplit_once(") ")
        .and_then(|(_, fields)| fields.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    fn session(script: &str) -> (Child, libc::pid_t) {
        let leader = Command::new("setsid").args(["sh", "-c", script]).spawn();
        let leader = leader.unwrap();
        let id = leader.id() as libc::pid_t;
        (leader, id)
    }

    fn members(id: libc::pid_t) -> usize {
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|&pid| in_session(pid, id))
            .count()
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_session_dies_with_all_its_processes() {
        let (mut leader, id) = session("sleep 1000 & sleep 1000 & wait");
        until(|| members(id) >= 3).await;
        kill(id).await;
        assert_eq!(members(id), 0);
        leader.wait().unwrap();
    }

    #[test]
    fn a_child_in_this_processs_session_stands_for_itself() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let id = child.id() as libc::pid_t;
        assert_eq!(session_of(id), id);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_session_that_cannot_die_is_looked_for_a_few_times_only() {
        let pauses: Vec<_> = pauses().collect();
        assert!(pauses.len() < 30);
        assert!(pauses.iter().sum::<Duration>() > Duration::from_secs(10));
        assert_eq!(pauses[0], Duration::from_millis(1));
    }

    #[tokio::test]
    async fn one_kill_reaches_what_is_forked_meanwhile() {
        let (mut leader, id) =
            session("n=0; while [ $n -lt 500 ]; do sleep 1000 & n=$((n+1)); done; wait");
        until(|| members(id) >= 10).await;
        signal_session(id, libc::SIGKILL);
        // Those that were reached end, and there are no others.
        let over = tokio::time::timeout(Duration::from_secs(60), until(|| members(id) == 0));
        let over = over.await;
        kill(id).await;
        over.unwrap();
        leader.wait().unwrap();
    }
}
