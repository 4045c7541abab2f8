//! Descriptors in the event loop.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::limit::Asked;

/// Watches `fd` for something to read: a pidfd for the end of its process.
///
/// # Errors
/// Where the kernel refuses it.
pub fn readable<T: Owner>(fd: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: an `Owner` has one descriptor for as long as it lives, and closes it then.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    watched.map_err(|error| Asked::Watch.explain(error.into_parts().1))
}

/// What owns one descriptor.
///
/// # Safety
/// It is always the same one, and stays open as long as the owner lives.
pub unsafe trait Owner: AsRawFd {}

// SAFETY: as its documentation says.
unsafe impl Owner for OwnedFd {}
// SAFETY: as above.
unsafe impl Owner for File {}
// SAFETY: the descriptor is owned by this value and cannot be taken out.
unsafe impl<T: Owner> Owner for Arc<T> {}
