//! Processes by pidfd: a signal never hits a stranger that got the same pid.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use std::{fs, io};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use super::limit::{self, Asked};
use super::process::status_field;
use super::watch;

/// A pidfd of process `pid`.
///
/// # Errors
/// `ESRCH` where there is no such process (any more), also where its number is still that of a session or a process
/// group: the kernel says `EINVAL` then (`ENOENT` since 6.15).
pub fn open(pid: libc::pid_t) -> io::Result<OwnedFd> {
    // A negative number is a group's, and rustix takes none.
    let pid = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(fd) => Ok(fd),
        Err(Errno::INVAL | Errno::NOENT) => Err(gone()),
        Err(errno) => Err(Asked::Call("pidfd_open").explain(errno.into())),
    }
}

/// Signals the process that `pidfd` stands for. 0 only asks whether it could be signalled.
///
/// Where a filter of system calls refuses it, kill(2) does it, with the number that the pidfd itself has a moment before.
///
/// # Errors
/// `ESRCH` where it has been reaped.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let fd = pidfd.as_fd();
    let refused = match by_pidfd(fd, signal) {
        Err(error) if limit::may_be_filter(&error) => error,
        done => return done,
    };
    match by_number(fd, signal) {
        Err(error) if limit::may_be_filter(&error) => {
            Err(Asked::Call("pidfd_send_signal").explain(refused))
        }
        done => done,
    }
}

fn by_pidfd(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // rustix takes named signals only, and users send real-time ones and 0.
    // SAFETY: an open descriptor, and no signal information is passed.
    match unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            none,
            0,
        )
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn by_number(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info = format!("/proc/thread-self/fdinfo/{}", pidfd.as_raw_fd());
    let info = fs::read_to_string(info)?;
    // -1 once it has been reaped.
    let pid = status_field(&info, "Pid").and_then(|pid| pid.parse().ok());
    let pid: libc::pid_t = pid.filter(|pid| *pid > 0).ok_or_else(gone)?;
    // SAFETY: no pointers.
    match unsafe { libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Blocks until the process has ended, reaped or not, at most `limit`; whether it has.
pub fn ends_within(pidfd: impl AsFd, limit: Duration) -> bool {
    let limit = Timespec::try_from(limit).ok();
    let mut one = [PollFd::new(&pidfd, PollFlags::IN)];
    matches!(poll(&mut one, limit.as_ref()), Ok(1))
}

/// Whether the process has ended, reaped or not.
pub fn has_ended(pidfd: impl AsFd) -> bool {
    ends_within(pidfd, Duration::ZERO)
}

/// Waits for the process to end, at most `limit`; whether it has.
pub async fn wait(pidfd: &OwnedFd, limit: Duration) -> bool {
    if has_ended(pidfd) || limit.is_zero() {
        return has_ended(pidfd);
    }
    // One of its own: epoll takes a descriptor once, and others may wait for the same process.
    let own = pidfd.try_clone().and_then(watch::readable);
    let Ok(watched) = own else {
        return false;
    };
    tokio::time::timeout(limit, watched.readable())
        .await
        .is_ok()
}

fn gone() -> io::Error {
    io::Error::from_raw_os_error(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_that_is_gone_but_whose_session_lives_on_is_gone() {
        let mut leader = Command::new("setsid")
            .args(["sh", "-c", "sleep 600 <&- >&- 2>&- & echo $!"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = leader.id().cast_signed();
        let mut said = String::new();
        io::Read::read_to_string(leader.stdout.as_mut().unwrap(), &mut said).unwrap();
        let _ = leader.wait();
        let gone = open(pid).unwrap_err();
        let member = open(said.trim().parse().unwrap()).unwrap();
        send_signal(&member, libc::SIGKILL).unwrap();
        assert_eq!(gone.raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn no_number_of_a_group_is_taken_for_a_process() {
        for pid in [0, -1, libc::pid_t::MIN] {
            assert_eq!(open(pid).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_end_of_a_process_is_seen_reaped_or_not() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pidfd = open(child.id().cast_signed()).unwrap();
        assert!(!ends_within(&pidfd, Duration::from_millis(1)));
        assert!(!wait(&pidfd, Duration::ZERO).await);
        assert!(!wait(&pidfd, Duration::from_millis(1)).await);
        child.kill().unwrap();
        assert!(wait(&pidfd, Duration::from_secs(60)).await);
        assert!(ends_within(&pidfd, Duration::from_secs(60)));
        child.wait().unwrap();
        assert!(wait(&pidfd, Duration::ZERO).await);
        assert_eq!(
            send_signal(&pidfd, 0).unwrap_err().raw_os_error(),
            Some(libc::ESRCH)
        );
    }

    #[test]
    fn by_its_number_too_nobody_else_is_signalled() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pidfd = open(child.id().cast_signed()).unwrap();
        by_number(pidfd.as_fd(), 0).unwrap();
        by_number(pidfd.as_fd(), libc::SIGKILL).unwrap();
        assert!(ends_within(&pidfd, Duration::from_secs(60)));
        // As of the call by pidfd, to one that is not reaped.
        by_number(pidfd.as_fd(), libc::SIGKILL).unwrap();
        child.wait().unwrap();
        let gone = by_number(pidfd.as_fd(), libc::SIGKILL).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_running_process_can_be_asked_for() {
        let own = open(std::process::id().cast_signed()).unwrap();
        send_signal(&own, 0).unwrap();
    }
}
