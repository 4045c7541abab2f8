//! Whether a process is about to be gone: the kernel takes its files, its namespaces and the processes of its pid
//! namespace away before its end can be seen by a pidfd.

use std::{fs, io};

use podhook_hooks::linux::process::Stat;

/// Whether every thread of the process is on its way out, or has a SIGKILL to take. The caller knows that it was not
/// reaped. Nothing that was done to a process by its own end is seen before this is so.
pub fn is_ending(pid: u32) -> bool {
    match fs::read_dir(format!("/proc/{pid}/task")) {
        Ok(threads) => threads.flatten().all(|thread| {
            fs::read_to_string(thread.path().join("stat")).map_or_else(is_gone, |stat| ends(&stat))
        }),
        Err(e) => is_gone(e),
    }
}

/// ESRCH says that it has ended; any other error says nothing.
fn is_gone(error: io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

/// The same of a thread, by its `stat`.
fn ends(stat: &str) -> bool {
    Stat::parse(stat).is_some_and(|stat| stat.is_exiting() == Some(true) || stat.is_killed())
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_process_that_runs_does_not_end() {
        assert!(!is_ending(std::process::id()));
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        assert!(!is_ending(other.id()));
        other.kill().unwrap();
        // Between the signal, which it has taken, and its way out there is a moment.
        let ends = |_| {
            thread::sleep(Duration::from_millis(10));
            is_ending(other.id())
        };
        assert!((0..6000).any(ends), "killed, and not reaped");
        other.wait().unwrap();
        assert!(is_ending(other.id()));
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_does_not() {
        // SAFETY: the child makes a thread, which glibc allows after a fork, and ends its own.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            thread::spawn(|| thread::sleep(Duration::from_secs(600)));
            // SAFETY: exit(2) of this thread alone; nothing of it is used any more.
            unsafe { libc::syscall(libc::SYS_exit, 0) };
        }
        let stat = format!("/proc/{pid}/stat");
        let ended = || fs::read_to_string(&stat).is_ok_and(|stat| ends(&stat));
        let began = Instant::now();
        while !ended() && began.elapsed() < Duration::from_secs(60) {
            thread::sleep(Duration::from_millis(10));
        }
        let seen = (ended(), is_ending(pid.cast_unsigned()));
        // SAFETY: our own child, not reaped yet; no pointers but null.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
        assert_eq!(seen, (true, false));
    }

    #[test]
    fn a_name_does_not_hide_the_flags() {
        let stat = |flags: u64, pending: u64| {
            format!(
                "7 (a) b) S 1 7 7 0 -1 {flags} 1 2 3 4 5 6 7 8 20 0 1 0 9 10 11 12 13 14 15 16 17 {pending} 0 0"
            )
        };
        assert!(!ends(&stat(4_194_304, 0)));
        assert!(ends(&stat(4_194_308, 0)));
        assert!(ends(&stat(0, 256)));
        assert!(!ends(&stat(0, 16_384)), "a SIGTERM may be caught");
    }
}
