//! Where the command's stdin, stdout and stderr come from.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::host::above;
use crate::exec::Error;
use crate::exec::plan::entry::{self, Terminal};
use crate::exec::settings::spec;

/// The three files of a new process.
#[derive(Debug)]
pub struct Stdio {
    /// Becomes descriptor 0.
    pub stdin: OwnedFd,
    /// Becomes descriptor 1.
    pub stdout: OwnedFd,
    /// Becomes descriptor 2.
    pub stderr: OwnedFd,
}

/// Where the files of a new process come from.
pub(crate) enum Files {
    Given(Stdio),
    /// From a terminal of the container, whose master goes through this socket.
    Terminal(OwnedFd),
}

/// Files at numbers that the joiner does not use for itself, open as long as the plan.
pub(crate) struct Kept {
    pub plan: entry::CommandFiles,
    _files: Vec<OwnedFd>,
}

impl Kept {
    pub fn new(files: Files, size: Option<&spec::ConsoleSize>) -> Result<Self, Error> {
        let mut kept = Vec::new();
        let mut keep = |fd: OwnedFd| -> Result<RawFd, Error> {
            let fd = above(fd)?;
            let raw = fd.as_raw_fd();
            kept.push(fd);
            Ok(raw)
        };
        let plan = match files {
            Files::Given(given) => entry::CommandFiles::Given([
                keep(given.stdin)?,
                keep(given.stdout)?,
                keep(given.stderr)?,
            ]),
            Files::Terminal(socket) => entry::CommandFiles::Terminal(Terminal {
                socket: keep(socket)?,
                size: size.and_then(spec::ConsoleSize::get),
            }),
        };
        Ok(Self { plan, _files: kept })
    }

    pub fn is_terminal(&self) -> bool {
        matches!(self.plan, entry::CommandFiles::Terminal(_))
    }
}

/// A pair of sockets: the parent's, the joiner's.
pub(crate) fn sockets() -> Result<(OwnedFd, OwnedFd), Error> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: `fds` has room for two descriptors.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) } != 0 {
        return Err(Error::system("socketpair"));
    }
    // SAFETY: two new descriptors that nothing else owns.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// The master that the joiner has sent.
pub(crate) fn receive(socket: &OwnedFd) -> Result<OwnedFd, Error> {
    let failed = |errno: nix::Error| Error::System {
        operation: "receive the terminal",
        source: errno.into(),
    };
    let mut byte = [0u8; 1];
    let mut parts = [std::io::IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!(RawFd);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags);
    let message = message.map_err(failed)?;
    for control in message.cmsgs().map_err(failed)? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let &[fd] = fds.as_slice()
        {
            // SAFETY: the kernel has just made this descriptor for us.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Err(failed(nix::Error::ENOMSG))
}
