//! The kernel's two ways to say that a cgroup file has changed.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// An eventfd or an inotify descriptor that a task can wait for.
#[derive(Debug)]
pub(super) struct Notifier {
    fd: AsyncFd<File>,
}

impl Notifier {
    /// An eventfd. Signals add up until they are taken.
    pub(super) fn eventfd() -> io::Result<Self> {
        // SAFETY: takes no pointers; the result is checked below.
        Self::new(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })
    }

    /// An inotify descriptor that watches nothing yet.
    pub(super) fn inotify() -> io::Result<Self> {
        // SAFETY: takes no pointers; the result is checked below.
        Self::new(unsafe { libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK) })
    }

    fn new(fd: libc::c_int) -> io::Result<Self> {
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor, and nothing else knows of it.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: the file owns its descriptor, and closes it only when `AsyncFd` drops it.
        let fd = unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) };
        let fd = fd.map_err(|error| error.into_parts().1)?;
        Ok(Self { fd })
    }

    /// Watches a file for changes, for an inotify descriptor.
    pub(super) fn watch(&self, path: &Path) -> io::Result<()> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let fd = self.fd.as_raw_fd();
        // SAFETY: `path` is a NUL-terminated string that outlives the call.
        match unsafe { libc::inotify_add_watch(fd, path.as_ptr(), libc::IN_MODIFY) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// The number to hand to the kernel.
    pub(super) fn raw(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// Waits until there is something to take, and takes it. May be dropped while it waits: what
    /// comes later is there for the next call.
    pub(super) async fn changed(&self) -> io::Result<u64> {
        loop {
            let mut guard = self.fd.readable().await?;
            match self.take()? {
                0 => guard.clear_ready(),
                taken => return Ok(taken),
            }
        }
    }

    /// Takes all there is, without waiting: the number of an eventfd's signals; for inotify, whose
    /// events say no more than "look again", 1 or 0.
    pub(super) fn take(&self) -> io::Result<u64> {
        let mut taken = 0;
        // More than one inotify event with the longest name needs; less would be EINVAL.
        let mut buffer = [0; 1024];
        loop {
            match self.fd.get_ref().read(&mut buffer) {
                // An eventfd hands out its counter and is empty then; an inotify event is longer.
                Ok(8) => {
                    let mut counter = [0; 8];
                    counter.copy_from_slice(&buffer[..8]);
                    taken += u64::from_ne_bytes(counter);
                }
                Ok(_) => taken = 1,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(taken),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}
