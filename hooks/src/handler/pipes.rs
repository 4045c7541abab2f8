//! Pipes by their descriptors.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Of a new pipe, bytes.
pub(super) const USUAL_SIZE: libc::c_int = 64 * 1024;

/// How much one read takes: no packet of a pipe is longer than a page, and what of a packet does not fit is lost.
pub(super) fn chunk_size() -> usize {
    // SAFETY: no pointers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(page).unwrap_or(0).max(16 * 1024)
}

/// Both ends of one.
pub(super) struct Pipe {
    pub read: OwnedFd,
    pub write: OwnedFd,
}

/// Makes a pipe; `flags` besides close-on-exec.
pub(super) fn pipe(flags: libc::c_int) -> io::Result<Pipe> {
    let mut fds = [-1; 2];
    // SAFETY: `fds` has room for two descriptors.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let [read, write] = fds;
    // SAFETY: two new descriptors that nothing else owns.
    Ok(unsafe {
        Pipe {
            read: OwnedFd::from_raw_fd(read),
            write: OwnedFd::from_raw_fd(write),
        }
    })
}

/// Changes how much a pipe takes; the kernel rounds up to pages.
pub(super) fn set_size(pipe: &OwnedFd, bytes: libc::c_int) -> io::Result<()> {
    // SAFETY: a valid descriptor, no pointers.
    match unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, bytes) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Makes this end non-blocking; the other end is another open file.
pub(super) fn set_nonblocking(pipe: &OwnedFd) -> io::Result<()> {
    // SAFETY: a valid descriptor, no pointers.
    match unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Reads what is there.
pub(super) fn read(pipe: &impl AsRawFd, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: a buffer of that size.
        let count = unsafe { libc::read(pipe.as_raw_fd(), chunk.as_mut_ptr().cast(), chunk.len()) };
        match usize::try_from(count) {
            Ok(count) => return Ok(count),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}
