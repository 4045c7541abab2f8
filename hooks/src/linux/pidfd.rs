//! Processes by pidfd: a signal never hits a stranger that got the same pid.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags};

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
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {
            Err(io::Error::from_raw_os_error(libc::ESRCH))
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Signals the process that `pidfd` stands for. 0 only asks whether it could be signalled.
///
/// # Errors
/// `ESRCH` where it has been reaped.
pub fn send_signal(pidfd: impl AsFd, signal: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    let fd = pidfd.as_fd().as_raw_fd();
    // rustix takes named signals only, and users send real-time ones and 0.
    // SAFETY: an open descriptor, and no signal information is passed.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, none, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
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

    #[test]
    fn a_running_process_can_be_asked_for() {
        let own = open(std::process::id().cast_signed()).unwrap();
        send_signal(&own, 0).unwrap();
    }
}
