//! From the OCI runtime's `start` to the entrypoint.
//!
//! `start` returns when its init has been told to go on, which has yet to execute the container's program: until
//! then it is a process of the runtime, and what looks at it from inside sees that.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use podhook_hooks::linux::process::{Stat, read_stat};
use podhook_hooks::linux::watch;
use tokio::io::unix::AsyncFd;
use tokio::time::{sleep, timeout};

use super::Container;
use crate::host::pidfd;

/// How long a hook or an exec waits. What takes longer is a `startContainer` hook under crun, or a program on a slow
/// disk.
const LIMIT: Duration = Duration::from_secs(5);
/// Between two looks where the kernel tells; it tells all, as far as is known.
const RARELY: Duration = Duration::from_millis(500);
/// Between two looks where the kernel does not tell: in the middle of execve(2), or where no inotify instance is left.
const OFTEN: Duration = Duration::from_millis(2);

impl Container {
    /// The runtime's `start` has succeeded.
    pub(super) fn await_entrypoint(&self) {
        self.lock().awaits_entrypoint = true;
    }

    /// Waits until init is the container's own program, or has ended, or the limit is over. At once before the start,
    /// and for a container that was restored: nothing is executed there.
    pub(super) async fn entrypoint(&self) {
        if !self.lock().awaits_entrypoint {
            return;
        }
        let pid = self.pid();
        let ended = async {
            if let Some(init) = self.init.pidfd() {
                while !pidfd::wait(&init, LIMIT).await {}
            }
        };
        let executed = async {
            tokio::select! {
                () = executed(pid) => {}
                () = ended => {}
            }
        };
        if timeout(LIMIT, executed).await.is_err() {
            log::warn!(
                id = self.id.as_str(), pid = pid;
                "init has not executed the container's program {} s after its start: a hook or an exec does not wait longer",
                LIMIT.as_secs()
            );
        }
        self.lock().awaits_entrypoint = false;
    }
}

/// Waits until process `pid` has executed a program.
async fn executed(pid: u32) {
    let mut closes: Option<io::Result<Closes>> = None;
    loop {
        match (progress(pid), &closes) {
            (Progress::Done, _) => return,
            // A change after this point is reported by the kernel, or found by the next check.
            (Progress::Forked, None) => closes = Some(Closes::of_program(pid)),
            (Progress::Forked, Some(Ok(closes))) => {
                if let Ok(Err(_)) = timeout(RARELY, closes.next()).await {
                    sleep(OFTEN).await;
                }
            }
            (Progress::Forked, Some(Err(_))) | (Progress::Executing, _) => sleep(OFTEN).await,
        }
    }
}

/// How far a process is from the fork to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It has executed nothing yet.
    Forked,
    /// It is amid execve(2): its arguments, environment and memory are not those of the program yet.
    Executing,
    /// It is the program, or has ended.
    Done,
}

fn progress(pid: u32) -> Progress {
    let stat = read_stat(pid.cast_signed()).unwrap_or_default();
    progress_by(&stat)
}

/// By `/proc/PID/stat` (proc(5)).
fn progress_by(stat: &str) -> Progress {
    let Some(stat) = Stat::parse(stat) else {
        return Progress::Done;
    };
    let Some(start_code) = stat.field(26) else {
        return Progress::Done;
    };
    if stat.has_ended() {
        Progress::Done
    } else if stat.is_only_forked() {
        Progress::Forked
    } else if start_code == 0 {
        Progress::Executing
    } else {
        Progress::Done
    }
}

/// Tells when the file is closed that a process is the program of, which the last one does by executing another.
struct Closes(AsyncFd<OwnedFd>);

impl Closes {
    fn of_program(pid: u32) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let program = format!("/proc/{pid}/exe");
        inotify.add_watch(Path::new(&program), AddWatchFlags::IN_CLOSE_NOWRITE)?;
        Ok(Self(watch::readable(inotify.into())?))
    }

    /// Waits until any process has closed it.
    async fn next(&self) -> io::Result<()> {
        let mut buffer = [0; 1024];
        loop {
            let mut ready = self.0.readable().await?;
            let read = ready.try_io(|fd| Ok(nix::unistd::read(fd.get_ref(), &mut buffer)?));
            match read {
                Ok(read) => return read.map(drop),
                // Nothing there after all.
                Err(_) => continue,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_a_process_has_executed_is_known_by_its_flags_and_its_memory() {
        let stat = |state: &str, flags: u64, start_code: u64| {
            let between = "90 0 0 0 1 2 0 0 20 0 1 0 900 8192 33 18446744073709551615";
            progress_by(&format!(
                "7 (a) Z b) {state} 1 7 7 0 -1 {flags} {between} {start_code} 9 9\n"
            ))
        };
        assert_eq!(stat("S", 0x40_0140, 4096), Progress::Forked);
        assert_eq!(stat("R", 0x40_0140, 0), Progress::Forked);
        assert_eq!(stat("R", 0x40_0100, 0), Progress::Executing);
        assert_eq!(stat("S", 0x40_0100, 4096), Progress::Done);
        assert_eq!(stat("Z", 0x40_0140, 0), Progress::Done, "it has ended");
        assert_eq!(progress_by(""), Progress::Done, "it is gone");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_kernel_tells_when_a_program_is_executed() {
        let dir = tempfile::tempdir().unwrap();
        let gate = dir.path().join("gate");
        nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // A copy of the shell that has executed nothing yet; the shell itself ends, as the runtime's `create` does.
        let script = r#"(exec < "$0"; exec sleep 60) > /dev/null 2>&1 & echo $!"#;
        let gate_path = gate.display().to_string();
        let made = Command::new("sh").args(["-c", script, &gate_path]).output();
        let pid: u32 = String::from_utf8_lossy(&made.unwrap().stdout)
            .trim()
            .parse()
            .unwrap();
        assert_eq!(progress(pid), Progress::Forked);
        let closes = Closes::of_program(pid).unwrap();
        fs::OpenOptions::new().write(true).open(&gate).unwrap();
        let mut told = 0;
        while progress(pid) != Progress::Done {
            closes.next().await.unwrap();
            told += 1;
        }
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid.cast_signed()),
            nix::sys::signal::Signal::SIGKILL,
        );
        assert!(told < 100, "it was looked for, not waited for: {told}");
    }
}
