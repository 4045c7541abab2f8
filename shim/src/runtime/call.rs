//! One call of the OCI runtime.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command, ExitStatus};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use podhook_hooks::exec::{Children, Exit};
use podhook_hooks::null_device;
use podhook_hooks::trace;

use super::presence;
use super::running::Running;
use crate::error::{Error, Result};
use crate::host::reaper::Reaper;
use crate::host::{capture, descriptors, passing, pidfd, signal_mask};

/// The operation in the error for a program that does not exist.
pub const START: &str = "start the OCI runtime";

/// The most of the runtime's own output that is kept for an error message.
const OUTPUT_LIMIT: u64 = 4 << 10;

/// The stdio that a call gets: the container's, for `create` and `exec`.
pub struct Stdio {
    pub stdin: OwnedFd,
    pub stdout: OwnedFd,
    /// Standard error; where absent it is captured, for the error message.
    pub stderr: Option<OwnedFd>,
}

impl Stdio {
    /// Nothing in, nothing out; errors captured.
    pub fn null() -> Result<Self> {
        // Not the node's: the runtime hands it on to the container.
        let null = null_device::open(true, true).map_err(Error::sys("make a null device"))?;
        let stdout = null
            .try_clone()
            .map_err(Error::sys("duplicate a file descriptor"))?;
        Ok(Self {
            stdin: null,
            stdout,
            stderr: None,
        })
    }
}

/// Whether what ended with this code was killed (none), or has crashed as programs in Go do.
pub fn has_died(code: Option<i32>) -> bool {
    const GO_PANIC: i32 = 2;
    matches!(code, None | Some(GO_PANIC))
}

/// How a call ended.
pub struct Ended {
    pub exit: Exit,
    stderr: String,
}

impl Ended {
    /// Whether it was killed, or has crashed as programs in Go do, for want of a thread say.
    pub fn has_died(&self) -> bool {
        has_died(self.exit.code())
    }

    /// Its status in go-runc's words, 128 and the number after a signal, and what it has printed.
    pub fn describe(&self) -> (String, &str) {
        (format!("exit status {}", self.exit.status()), &self.stderr)
    }
}

/// Runs `command` to its end, for the container of `bundle`; where that is not waited for, it is killed.
pub async fn call(
    reaper: &Arc<Reaper>,
    bundle: &Path,
    mut command: Command,
    stdio: Stdio,
) -> Result<Ended> {
    let (captured, stderr) = match stdio.stderr {
        Some(stderr) => (None, stderr),
        None => {
            let file = capture::file()?;
            let write = file
                .try_clone()
                .map_err(Error::sys("duplicate a file descriptor"))?;
            (Some(file), write.into())
        }
    };
    command
        .env_remove("NOTIFY_SOCKET")
        .envs(trace::current().variables())
        .stdin(stdio.stdin)
        .stdout(stdio.stdout)
        .stderr(stderr);
    let mark = presence::mark(bundle)?;
    let shim = process::id().cast_signed();
    signal_mask::pass_on(&mut command);
    // SAFETY: runs between fork and exec; the calls are async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            // A runtime call must not outlive the shim that would act on its result.
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // Nor one whose shim has ended before that.
            if libc::getppid() != shim {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            match &mark {
                Some(mark) if libc::fcntl(mark.as_raw_fd(), libc::F_SETFD, 0) != 0 => {
                    Err(io::Error::last_os_error())
                }
                _ => descriptors::give_back_limit(),
            }
        });
    }
    let hold = reaper.hold();
    let child = command.spawn().map_err(Error::sys(START))?;
    let pid = libc::pid_t::try_from(child.id()).map_err(|_| Error::Missing("pid out of range"))?;
    let running = Running::new(pid, reaper.wait(pid));
    drop(hold);
    // The command keeps the container's ends of the pipes open, and the mark.
    drop(command);
    let exit = running
        .end()
        .await
        .ok_or(Error::Missing("the OCI runtime's exit was lost"))?;
    let stderr = captured.map(|file| capture::read_back(file, OUTPUT_LIMIT));
    let stderr = String::from_utf8_lossy(&stderr.unwrap_or_default()).into_owned();
    Ok(Ended { exit, stderr })
}

/// What becomes of a verb's call that takes too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// It has nothing to finish.
    Kill,
    /// It may only be slow, and finishes what it has begun.
    Leave,
}

/// Between two looks at a verb's call where there is no descriptor to wait with.
const PAUSE: Duration = Duration::from_millis(10);
/// The most of a verb's call that is read.
const VERB_LIMIT: u64 = 1 << 20;

/// For a verb, which reaps its own children: runs `command` to its end, or to the `deadline`; how it ended, and
/// what it wrote to stdout and stderr. (`Command::output` panics where it cannot read.)
///
/// # Errors
/// `TimedOut` at the deadline. It goes on then if it is to be left, else it is killed.
pub fn output(
    command: &mut Command,
    deadline: Instant,
    late: Late,
) -> io::Result<(ExitStatus, [Vec<u8>; 2])> {
    // What there is no room for is not kept.
    let capture = || {
        let file = passing::insist(capture::file, |_| true).ok()?;
        Some((process::Stdio::from(file.try_clone().ok()?), file))
    };
    let [stdout, stderr] = [capture(), capture()].map(Option::unzip);
    if late == Late::Leave {
        // SAFETY: runs between fork and exec; setsid is async-signal-safe, and fails for a leader only.
        unsafe {
            command.pre_exec(|| {
                // What ends this process's session or group does not end what is left to finish.
                libc::setsid();
                Ok(())
            });
        }
    }
    let mut child = command
        .stdin(process::Stdio::null())
        .stdout(stdout.0.unwrap_or_else(process::Stdio::null))
        .stderr(stderr.0.unwrap_or_else(process::Stdio::null))
        .spawn()?;
    let pidfd = pidfd::open(child.id().cast_signed());
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            if late == Late::Kill {
                // Not waited for: what hangs in the kernel dies later.
                child.kill()?;
            }
            return Err(io::ErrorKind::TimedOut.into());
        }
        match &pidfd {
            Ok(pidfd) => drop(pidfd::ends_within(pidfd, left)),
            Err(_) => thread::sleep(PAUSE),
        }
    };
    let read =
        |file: Option<_>| file.map_or_else(Vec::new, |file| capture::read_back(file, VERB_LIMIT));
    Ok((status, [stdout.1, stderr.1].map(read)))
}
