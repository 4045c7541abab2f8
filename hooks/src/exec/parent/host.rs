//! The host's procfs, and descriptors that stay clear of those that the joiner rearranges.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::exec::Error;
use crate::exec::plan::{FIRST_FREE_FD, sys};

/// The host's procfs, one for all containers.
pub(crate) fn procfs() -> Result<&'static OwnedFd, Error> {
    static PROCFS: OnceLock<OwnedFd> = OnceLock::new();
    match PROCFS.get() {
        Some(procfs) => Ok(procfs),
        None => {
            let opened = open_procfs()?;
            Ok(PROCFS.get_or_init(|| opened))
        }
    }
}

/// Checked to be a procfs (CVE-2019-16884).
fn open_procfs() -> Result<OwnedFd, Error> {
    let file = |operation| {
        move |source| Error::File {
            operation,
            path: PathBuf::from("/proc"),
            source,
        }
    };
    let directory = std::fs::File::open("/proc").map_err(file("open"))?;
    let kind = sys::file_system(directory.as_raw_fd())
        .map_err(|errno| file("statfs")(io::Error::from_raw_os_error(errno)))?;
    if kind != libc::PROC_SUPER_MAGIC {
        return Err(file("is no procfs:")(io::Error::from_raw_os_error(
            libc::EINVAL,
        )));
    }
    above(directory.into())
}

/// The same file at a number that the joiner does not use for itself.
pub(crate) fn above(fd: OwnedFd) -> Result<OwnedFd, Error> {
    if fd.as_raw_fd() >= FIRST_FREE_FD {
        return Ok(fd);
    }
    // SAFETY: a valid descriptor.
    let new = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FIRST_FREE_FD) };
    if new < 0 {
        return Err(Error::system("fcntl(F_DUPFD_CLOEXEC)"));
    }
    // SAFETY: a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}
