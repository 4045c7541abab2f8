//! The processes of one session: the tree where no cgroup can hold one.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;
use std::{fs, io};

use nix::unistd::{Pid, getsid};

use crate::linux::process::{Stat, read_stat};
use crate::linux::{pidfd, watch};

/// So many killed processes are waited for before the next look; their descriptors are the shim's.
const WAITED: usize = 16;

/// Kills every process of the session that `leader` led, until none is left. The number cannot be
/// another session's: the kernel gives no pid out that is still a session's id.
pub(crate) async fn kill(leader: libc::pid_t) {
    for pause in pauses() {
        let mut reached = Reached::default();
        match signal_new(leader, libc::SIGKILL, &mut reached) {
            Ok(()) if reached.pids.is_empty() => return,
            Ok(()) => {}
            // None was found, or none that could be signalled: that is not the same as none.
            Err(error) => log::warn!(session = leader; "cannot kill all of a session: {error}"),
        }
        // Each look goes through all processes of the machine, on the only thread.
        tokio::time::sleep(pause).await;
        let _ = tokio::time::timeout(pause, ended(reached.first)).await;
    }
}

/// Pauses between two passes: first milliseconds, for processes that die at once; half a minute in all, for frozen
/// ones.
fn pauses() -> impl Iterator<Item = Duration> {
    (0..24).map(|n| Duration::from_millis(1 << n.min(10)))
}

async fn ended(processes: Vec<OwnedFd>) {
    for process in processes {
        // Readable once it is dead.
        if let Ok(process) = watch::readable(process) {
            let _ = process.readable().await;
        }
    }
}

/// The session of a child that somebody else has made: its own, or that of its parent (crun 1.8 starts none). Its
/// own pid where it is in this process's session, whose processes must not be signalled.
pub fn session_of(child: libc::pid_t) -> libc::pid_t {
    match (session(child), getsid(None)) {
        (Some(session), Ok(own)) if session == own => child,
        // 0 is that of a leader outside of the pid namespace.
        (Some(session), _) if session.as_raw() > 0 => session.as_raw(),
        (Some(_), _) => child,
        (None, _) => child,
    }
}

/// The session that a process is in, 0 of a kernel thread (which rustix takes for none of the kernel's answers); `None`
/// where there is no such process.
fn session(pid: libc::pid_t) -> Option<Pid> {
    getsid(Some(Pid::from_raw(pid))).ok()
}

/// How many passes look for processes of the session that were forked during the last one.
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
///
/// # Errors
/// Where procfs cannot be read, or a process of the session could not be opened: some may not have been reached.
pub fn signal_session(leader: libc::pid_t, signal: i32) -> io::Result<bool> {
    let mut reached = Reached::default();
    // Repeat until a pass finds nothing new: a process with SIGKILL pending cannot fork. A chain of processes that only
    // fork can run ahead of it: what holds such a tree is a cgroup.
    for _ in 0..PASSES {
        let before = reached.pids.len();
        signal_new(leader, signal, &mut reached)?;
        if reached.pids.len() == before {
            break;
        }
    }
    Ok(!reached.pids.is_empty())
}

/// One pass, for those not `reached` yet. The first error is returned once all others have been signalled.
fn signal_new(leader: libc::pid_t, signal: i32, reached: &mut Reached) -> io::Result<()> {
    let mut failed = None;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if reached.pids.contains(&pid) {
            continue;
        }
        match member(pid, leader) {
            Ok(None) => {}
            Ok(Some(pidfd)) => {
                reached.pids.insert(pid);
                let _ = pidfd::send_signal(pidfd.as_fd(), signal);
                if reached.first.len() < WAITED {
                    reached.first.push(pidfd);
                }
            }
            Err(error) => drop(failed.get_or_insert(error)),
        }
    }
    failed.map_or(Ok(()), Err)
}

/// A process, if it is alive and in the session.
fn member(pid: libc::pid_t, leader: libc::pid_t) -> io::Result<Option<OwnedFd>> {
    if !in_session(pid, leader)? {
        return Ok(None);
    }
    match pidfd::open(pid) {
        // Once more: the pidfd may be another process's than the one looked at.
        Ok(pidfd) => Ok(in_session(pid, leader)?.then_some(pidfd)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Alive and in the session.
fn in_session(pid: libc::pid_t, leader: libc::pid_t) -> io::Result<bool> {
    // Most are in another; their files need not be read for that.
    if session(pid).is_none_or(|session| session.as_raw() != leader) {
        return Ok(false);
    }
    match read_stat(pid) {
        Ok(stat) => Ok(Stat::parse(&stat).is_some_and(|stat| !stat.has_ended())),
        Err(error) if is_gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
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
            .filter(|&pid| in_session(pid, id).unwrap())
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

    #[test]
    fn a_session_of_nobody_is_told_from_one_that_was_not_reached() {
        let (mut leader, id) = session("sleep 1000");
        leader.kill().unwrap();
        leader.wait().unwrap();
        // The shell may have executed sleep, or have forked it.
        while signal_session(id, libc::SIGKILL).unwrap() {}
        // A process that has no descriptor left sees a session that it cannot reach.
        let (mut leader, id) = session("sleep 1000");
        while members(id) == 0 {}
        let script = "ulimit -n 8; exec \"$0\" --exact --ignored exec::tree::session::tests::in_a_process_without_descriptors";
        let own = std::env::current_exe().unwrap();
        let mut child = Command::new("sh");
        let child = child
            .args(["-c", script])
            .arg(own)
            .env("PODHOOK_TEST_SESSION", id.to_string());
        let seen = child.output().unwrap();
        // All of it: the shell may have forked sleep.
        while signal_session(id, libc::SIGKILL).unwrap() {}
        leader.wait().unwrap();
        assert!(seen.status.success(), "{seen:?}");
    }

    /// Run by the test above, with a limit of descriptors.
    #[test]
    #[ignore = "is run by another test, with few descriptors"]
    fn in_a_process_without_descriptors() {
        let Ok(id) = std::env::var("PODHOOK_TEST_SESSION") else {
            return;
        };
        let mut taken = Vec::new();
        while let Ok(file) = fs::File::open("/proc/version") {
            taken.push(file);
        }
        let error = signal_session(id.parse().unwrap(), 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        // With room for the list and for one file, but not for a pidfd beside the list.
        taken.pop();
        let error = signal_session(id.parse().unwrap(), 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    }

    #[tokio::test]
    async fn one_kill_reaches_what_is_forked_meanwhile() {
        let (mut leader, id) =
            session("n=0; while [ $n -lt 500 ]; do sleep 1000 & n=$((n+1)); done; wait");
        until(|| members(id) >= 10).await;
        assert!(signal_session(id, libc::SIGKILL).unwrap());
        // Those that were reached end, and there are no others.
        let over = tokio::time::timeout(Duration::from_secs(60), until(|| members(id) == 0));
        let over = over.await;
        kill(id).await;
        over.unwrap();
        leader.wait().unwrap();
    }
}
