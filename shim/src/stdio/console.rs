//! The socket over which the OCI runtime sends a terminal's master.

use std::fs::{self, File};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use tokio::io::Interest;
use tokio::net::UnixListener;

use crate::containerd::socket;
use crate::error::{Error, Result};

/// The runtime has connected before it ends, so this is only reached when it did not.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);

/// A listening socket, gone when dropped.
pub struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    /// Makes the socket. Not in the bundle: a socket's path has at most 107 bytes.
    pub fn new() -> Result<Self> {
        let path = socket::beside("pty")?;
        let listener = UnixListener::bind(&path).map_err(Error::io("bind", &path))?;
        Ok(Self { listener, path })
    }

    /// The value of `--console-socket`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The master, from a runtime that has succeeded.
    pub async fn receive(self) -> Result<File> {
        let receive = async {
            let (stream, _) = self.listener.accept().await?;
            stream
                .async_io(Interest::READABLE, || receive_fd(stream.as_fd()))
                .await
        };
        let master = tokio::time::timeout(ACCEPT_TIMEOUT, receive)
            .await
            .map_err(|_| Error::Missing("the OCI runtime sent no terminal"))?
            .map_err(Error::sys("receive the terminal"))?;
        Ok(File::from(master))
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn receive_fd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut name = [0; 4096];
    let mut slices = [IoSliceMut::new(&mut name)];
    let mut control = nix::cmsg_space!([std::os::fd::RawFd; 1]);
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut slices,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let Some(&fd) = fds.first()
        {
            // SAFETY: the kernel has just made this descriptor for us.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "the message carried no file descriptor",
    ))
}

/// Sets a terminal's size.
pub fn set_size(terminal: BorrowedFd<'_>, size: libc::winsize) -> Result<()> {
    // SAFETY: TIOCSWINSZ reads a winsize, which outlives the call.
    match unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) } {
        0 => Ok(()),
        _ => Err(Error::sys("resize the terminal")(io::Error::last_os_error())),
    }
}
