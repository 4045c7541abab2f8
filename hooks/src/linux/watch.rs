//! Descriptors in the event loop: all of them come to it here, so that each refusal says which limit it is.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;

use super::limit::Asked;

/// Watches `fd` for something to read: a pidfd for the end of its process.
///
/// # Errors
/// Where the kernel refuses it.
pub fn readable<T: Owner>(fd: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: an `Owner` has one descriptor for as long as it lives, and closes it then.
    unsafe { with_interest(fd, Interest::READABLE) }
}

/// Watches `fd` for `interest`.
///
/// # Safety
/// It has one descriptor, always the same one, which stays open as long as it lives.
///
/// # Errors
/// Where the kernel refuses it.
pub unsafe fn with_interest<T: AsRawFd>(fd: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: as the caller says.
    let watched = unsafe { AsyncFd::register_with_interest(fd, interest) };
    watched.map_err(|error| Asked::Watch.explain(error.into_parts().1))
}

/// The end of a pipe or a fifo that is read from.
///
/// # Errors
/// Where it is none, or the kernel refuses to watch it.
pub fn receiver(fd: OwnedFd) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(fd).map_err(|error| Asked::Watch.explain(error))
}

/// The end of a pipe or a fifo that is written to.
///
/// # Errors
/// Where it is none, or the kernel refuses to watch it.
pub fn sender(fd: OwnedFd) -> io::Result<pipe::Sender> {
    pipe::Sender::from_owned_fd(fd).map_err(|error| Asked::Watch.explain(error))
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
