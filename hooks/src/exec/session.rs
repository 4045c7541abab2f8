//! The processes of one session: the tree where no cgroup can hold one.

use std::fs;
use std::os::fd::AsFd;
use std::time::Duration;

use super::container::{pidfd_open, send_signal};

/// Kills every process of the session that `leader` led, until none is left. The number cannot be
/// another session's: the kernel gives no pid out that is still a session's id.
pub(super) async fn kill(leader: libc::pid_t) {
    for _ in 0..100 {
        if !signal_session(leader, libc::SIGKILL) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Sends a signal to every process of the session of `leader`, a child that has not been reaped; what has
/// made a session of its own is not reached. False when there was none.
pub fn signal_session(leader: libc::pid_t, signal: i32) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else {
        return false;
    };
    let mut found = false;
    for pid in processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<libc::pid_t>().ok())
    {
        if in_session(pid, leader)
            && let Ok(pidfd) = pidfd_open(pid)
            // Once more: the pidfd may be another process's than the one looked at.
            && in_session(pid, leader)
        {
            found = true;
            let _ = send_signal(pidfd.as_fd(), signal);
        }
    }
    found
}

/// Alive and in the session.
fn in_session(pid: libc::pid_t, leader: libc::pid_t) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name may hold anything; the fields start behind its last parenthesis.
    let Some((_, fields)) = stat.rsplit_once(") ") else {
        return false;
    };
    let mut fields = fields.split(' ');
    let state = fields.next();
    let session = fields.nth(2).and_then(|field| field.parse().ok());
    session == Some(leader) && !matches!(state, Some("Z" | "X"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_session_dies_with_all_its_processes() {
        let mut leader = Command::new("setsid")
            .args(["sh", "-c", "sleep 1000 & sleep 1000 & wait"])
            .spawn()
            .unwrap();
        let id = leader.id() as libc::pid_t;
        let members = || {
            fs::read_dir("/proc")
                .unwrap()
                .flatten()
                .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                .filter(|&pid| in_session(pid, id))
                .count()
        };
        while members() < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        kill(id).await;
        assert_eq!(members(), 0);
        leader.wait().unwrap();
    }
}
