//! Whether processes of the OCI runtime are at work for a bundle; for `delete`, which comes after a killed shim.
//!
//! A call of the runtime has a descriptor of one file of the bundle, with a shared lock on it, and so has what it
//! starts and does not close it for. The kernel gives the lock back with the last of these descriptors: not when a
//! process is killed, but when it has ended, after the system calls that its threads were in. A killed runtime can
//! make a cgroup for some milliseconds more.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::error::{Error, Result};
use crate::host::file::Identity;
use crate::host::pidfd;

const FILE: &str = "runtime.lock";

/// Between two looks at the lock, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// The descriptor that a call of the runtime inherits. For reading only: it may get into the container's reach. None
/// where the bundle is gone, and with it who could ask.
pub fn mark(bundle: &Path) -> Result<Option<OwnedFd>> {
    let path = bundle.join(FILE);
    let flags = OFlag::O_RDONLY | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let file = match open(&path, flags, Mode::S_IRUSR) {
        Ok(file) => File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(e) => return Err(Error::io("open", &path)(e.into())),
    };
    // Only `delete` locks it for itself: the container is on its way out.
    file.try_lock_shared()
        .map_err(|e| Error::io("lock", &path)(e.into()))?;
    Ok(Some(file.into()))
}

/// The runtime's processes of one bundle.
pub struct Presence {
    file: File,
    /// Its device and inode: it may have several names.
    identity: Identity,
}

impl Presence {
    /// None where the runtime was never called, or by another shim.
    pub fn of(bundle: &Path) -> Option<Self> {
        let file = File::open(bundle.join(FILE)).ok()?;
        let identity = Identity::behind(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        Some(Self { file, identity })
    }

    /// Whether there is none any more. No call can begin then, as long as this value lives.
    pub fn is_over(&self) -> bool {
        self.file.try_lock().is_ok()
    }

    /// Waits until there is none any more and kills those that are `ours` meanwhile; false where some are left at the
    /// deadline.
    pub fn end(&self, deadline: Instant, ours: impl Fn(i32) -> bool) -> bool {
        let (mut pause, most) = PAUSES;
        while !self.is_over() {
            if Instant::now() > deadline {
                return false;
            }
            for pid in processes().filter(|&pid| !is_same_program(pid)) {
                // Once more behind the pidfd: it may be another process's than the one looked at.
                if self.is_held_by(pid)
                    && ours(pid)
                    && let Ok(fd) = pidfd::open(pid)
                    && self.is_held_by(pid)
                {
                    let _ = pidfd::send_signal(&fd, libc::SIGKILL);
                }
            }
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2).min(most);
        }
        true
    }

    fn is_held_by(&self, pid: i32) -> bool {
        let entries = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        entries
            .flatten()
            .any(|entry| Identity::behind(entry.path()) == Some(self.identity))
    }
}

/// Another `delete` of the same bundle is no call of the runtime.
fn is_same_program(pid: i32) -> bool {
    let own = Identity::behind("/proc/self/exe");
    own.is_some() && Identity::behind(format!("/proc/{pid}/exe")) == own
}

/// Every process but this one.
fn processes() -> impl Iterator<Item = i32> {
    let own = std::process::id().cast_signed();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(move |&pid| pid != own)
}

/// Whether a process was started with a path of the bundle among its arguments, as every call of the runtime that makes
/// a process is.
pub fn names(pid: i32, bundle: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|&byte| byte == 0)
        .any(|argument| Path::new(OsStr::from_bytes(argument)).starts_with(bundle))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// A process with the descriptor.
    fn call(bundle: &Path, script: &str) -> Child {
        let mark = mark(bundle).unwrap().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(bundle);
        // SAFETY: runs between fork and exec; fcntl is async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                libc::fcntl(mark.as_raw_fd(), libc::F_SETFD, 0);
                Ok(())
            });
        }
        command.spawn().unwrap()
    }

    #[test]
    fn a_bundle_without_a_call_has_nobody() {
        let bundle = tempfile::tempdir().unwrap();
        assert!(Presence::of(bundle.path()).is_none());
    }

    #[test]
    fn what_a_call_has_started_counts_until_its_end() {
        let bundle = tempfile::tempdir().unwrap();
        let mut child = call(bundle.path(), "sleep 1 &");
        child.wait().unwrap();
        let presence = Presence::of(bundle.path()).unwrap();
        assert!(!presence.is_over());
        assert!(!presence.end(Instant::now(), |_| false));
        assert!(presence.end(soon(), |_| false));
        assert!(mark(bundle.path()).is_err(), "no call begins any more");
        drop(presence);
        assert!(mark(bundle.path()).unwrap().is_some());
        assert!(mark(&bundle.path().join("gone")).unwrap().is_none());
    }

    #[test]
    fn what_names_the_bundle_is_killed() {
        let bundle = tempfile::tempdir().unwrap();
        let mut child = call(bundle.path(), "sleep 1000; :");
        let presence = Presence::of(bundle.path()).unwrap();
        let ours = |pid| names(pid, bundle.path()) || pid != child.id().cast_signed();
        assert!(presence.end(soon(), ours));
        assert!(!child.wait().unwrap().success());
        assert!(!names(std::process::id().cast_signed(), bundle.path()));
    }
}
