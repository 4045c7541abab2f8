//! The kernel's two ways to say that a cgroup file has changed.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use podhook_hooks::linux::watch;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Descriptors that a task can wait for.
#[derive(Debug)]
pub(super) enum Notifier {
    /// An eventfd, which the kernel of v1 raises.
    Eventfd(AsyncFd<File>),
    /// Files of cgroup v2: poll(2) says POLLPRI when they change. (inotify would, too, but a user has 128 instances
    /// of that for all its programs.)
    Files([AsyncFd<File>; 2]),
}

impl Notifier {
    /// An eventfd. Signals add up until they are taken.
    pub(super) fn eventfd() -> io::Result<Self> {
        // SAFETY: takes no pointers; the result is checked below.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor, and nothing else knows of it.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        watched(file, Interest::READABLE).map(Self::Eventfd)
    }

    /// Two files of cgroup v2.
    pub(super) fn files([first, second]: [&Path; 2]) -> io::Result<Self> {
        let watch = |path| watched(File::open(path)?, Interest::PRIORITY);
        Ok(Self::Files([watch(first)?, watch(second)?]))
    }

    /// The number to hand to the kernel.
    pub(super) fn raw(&self) -> i32 {
        match self {
            Self::Eventfd(fd) | Self::Files([fd, _]) => fd.as_raw_fd(),
        }
    }

    /// Waits until there is something to take, and takes it. May be dropped while it waits: what
    /// comes later is there for the next call.
    pub(super) async fn changed(&self) -> io::Result<u64> {
        match self {
            Self::Eventfd(fd) => loop {
                let mut guard = fd.readable().await?;
                match self.take()? {
                    0 => guard.clear_ready(),
                    taken => return Ok(taken),
                }
            },
            Self::Files([first, second]) => {
                let mut guard = tokio::select! {
                    guard = first.ready(Interest::PRIORITY) => guard?,
                    guard = second.ready(Interest::PRIORITY) => guard?,
                };
                guard.clear_ready();
                Ok(1)
            }
        }
    }

    /// Takes all there is, without waiting: the number of an eventfd's signals. Of files nothing can be taken: that
    /// they have changed says no more than "look again".
    pub(super) fn take(&self) -> io::Result<u64> {
        let Self::Eventfd(fd) = self else {
            return Ok(0);
        };
        let mut taken = 0u64;
        // For an inotify descriptor, which stands in for one in tests: room for an event with the longest name.
        let mut buffer = [0; 1024];
        loop {
            match fd.get_ref().read(&mut buffer) {
                // An eventfd hands out its counter and is empty then; an inotify event is longer.
                Ok(8) => {
                    let mut counter = [0; 8];
                    counter.copy_from_slice(&buffer[..8]);
                    taken = taken.saturating_add(u64::from_ne_bytes(counter));
                }
                Ok(_) => taken = 1,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(taken),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

fn watched(file: File, interest: Interest) -> io::Result<AsyncFd<File>> {
    // SAFETY: the file owns its descriptor, and closes it only when `AsyncFd` drops it.
    unsafe { watch::with_interest(file, interest) }
}

#[cfg(test)]
pub(super) mod tests {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    /// The stand-in for ordinary files, which cannot be polled.
    pub(in super::super) fn inotify(paths: [&Path; 2]) -> io::Result<Notifier> {
        // SAFETY: takes no pointers; the result is checked below.
        let fd = unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) };
        assert!(fd >= 0);
        for path in paths {
            let path = CString::new(path.as_os_str().as_bytes())?;
            // SAFETY: `path` is a NUL-terminated string that outlives the call.
            let watch = unsafe { libc::inotify_add_watch(fd, path.as_ptr(), libc::IN_MODIFY) };
            assert!(watch >= 0);
        }
        // SAFETY: the kernel has just made this descriptor, and nothing else knows of it.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        watched(file, Interest::READABLE).map(Notifier::Eventfd)
    }
}
