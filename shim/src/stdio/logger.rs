//! `binary://`: a program that takes a process's output as fd 3 and 4 and says on fd 5 that it is
//! ready.

use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use podhook_hooks::linux::watch;
use tokio::io::AsyncReadExt;

use super::Owner;
use crate::error::{Error, Result};
use crate::host::{descriptors, signal_mask};

/// How long a logger may take to be ready: the Go shim's `binaryIOProcStartTimeout`.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long after SIGTERM it is killed: `binaryIOProcTermTimeout`.
const TERM_TIMEOUT: Duration = Duration::from_secs(12);

/// A running logging program.
pub struct Logger {
    pidfd: OwnedFd,
}

impl Logger {
    /// Starts the program and waits until it is ready.
    pub async fn start(
        path: &Path,
        args: &[String],
        owner: Owner<'_>,
        stdout: Option<PipeReader>,
        stderr: Option<PipeReader>,
        byte_required: bool,
    ) -> Result<Self> {
        let (ready, ready_writer) = io::pipe().map_err(Error::sys("make a pipe"))?;
        let mut command = Command::new(path);
        command
            .args(args)
            // As in the Go shim: what containerd's environment holds (credentials of a proxy) is not for loggers.
            .env_clear()
            .env("CONTAINER_ID", owner.id)
            .env("CONTAINER_NAMESPACE", owner.namespace)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let null = std::fs::File::open("/dev/null").map_err(Error::io("open", "/dev/null"))?;
        let or_null =
            |end: &Option<PipeReader>| end.as_ref().map_or(null.as_raw_fd(), AsRawFd::as_raw_fd);
        let fds = [or_null(&stdout), or_null(&stderr), ready_writer.as_raw_fd()];
        signal_mask::pass_on(&mut command);
        // SAFETY: runs between fork and exec; fcntl and dup2 are async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                place(fds)?;
                descriptors::give_back_limit()
            });
        }
        let mut child = command
            .spawn()
            .map_err(Error::io("start logging binary", path))?;
        drop((ready_writer, stdout, stderr));
        let pidfd = crate::host::pidfd::open(child.id().cast_signed()).inspect_err(|_| {
            // Not reaped yet: this is the thread that does it.
            let _ = child.kill();
        })?;
        let logger = Self { pidfd };
        match is_ready(ready, byte_required).await {
            Ok(true) => Ok(logger),
            not_ready => {
                logger.stop().await;
                not_ready?;
                Err(Error::LoggerNotReady(path.to_owned()))
            }
        }
    }

    /// Ends the program: it has seen the end of both outputs, or gets SIGTERM, or is killed.
    pub async fn stop(&self) {
        if crate::host::pidfd::wait(&self.pidfd, Duration::from_millis(100)).await {
            return;
        }
        let _ = crate::host::pidfd::send_signal(&self.pidfd, libc::SIGTERM);
        if !crate::host::pidfd::wait(&self.pidfd, TERM_TIMEOUT).await {
            let _ = crate::host::pidfd::send_signal(&self.pidfd, libc::SIGKILL);
        }
    }
}

/// Waits until the program says that it is, or closes the pipe without where that is enough.
async fn is_ready(pipe: PipeReader, byte_required: bool) -> Result<bool> {
    let mut pipe = watch::receiver(pipe.into()).map_err(Error::sys("watch a pipe"))?;
    let mut byte = [0];
    Ok(
        match tokio::time::timeout(READY_TIMEOUT, pipe.read(&mut byte)).await {
            Ok(Ok(1)) => true,
            Ok(Ok(_)) => !byte_required,
            _ => false,
        },
    )
}

/// Puts the descriptors at 3, 4 and 5, whatever numbers they have.
fn place(fds: [RawFd; 3]) -> io::Result<()> {
    let mut high = [-1; 3];
    for (copy, fd) in high.iter_mut().zip(fds) {
        // SAFETY: fcntl and dup2 take plain integers.
        *copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 16) };
        if *copy < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    for (copy, target) in high.into_iter().zip(3..) {
        // SAFETY: as above.
        if unsafe { libc::dup2(copy, target) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
