//! A terminal of the container.
//!
//! RULE: as in `intermediate`.
//!
//! `/dev` is the container's: nothing that is found there is believed (CVE-2025-31133, CVE-2025-52565). The
//! multiplexer is looked up without following links, which a process with the host's rights would follow
//! out of the container, is opened only once it is known to be one, and gives the other end itself.

use std::ffi::c_int;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use super::joiner::at;
use crate::exec::Error;
use crate::exec::parent::container::FIRST_FREE_FD;
use crate::exec::plan::report::{Failure, Step};
use crate::exec::plan::sys;

/// What the first child needs to open one.
pub(crate) struct Terminal {
    /// Takes the master.
    pub socket: RawFd,
    pub size: Option<libc::winsize>,
}

/// Where the multiplexer is while it is looked at; `NAME` is it in a procfs.
const PLACE: c_int = 5;
const NAME: &std::ffi::CStr = c"self/fd/5";

/// Opens a terminal, sends its master to the caller and returns the other end.
pub(crate) fn open(terminal: &Terminal, procfs: c_int) -> Result<c_int, Failure> {
    at(Step::Terminal, open_pair(terminal, procfs))
}

fn open_pair(terminal: &Terminal, procfs: c_int) -> sys::Result<c_int> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    find_multiplexer()?;
    // Through the host's procfs: the file that was looked at, whatever has its name now.
    let master = sys::open(procfs, NAME, flags)?;
    sys::ioctl(master, libc::TIOCSPTLCK, &0 as &c_int)?;
    if let Some(size) = &terminal.size {
        sys::ioctl(master, libc::TIOCSWINSZ, size)?;
    }
    let slave = sys::terminal_peer(master, flags)?;
    sys::send_descriptor(terminal.socket, master)?;
    sys::dup_from(slave, FIRST_FREE_FD)
}

/// Puts the multiplexer of the devpts at `/dev/pts` to `PLACE`, as a path only: opening what is no
/// multiplexer could block, or do more. `/dev/ptmx` is not asked: it is a link to this one, or a node that
/// leads to the devpts beside it.
fn find_multiplexer() -> sys::Result<()> {
    /// Character device 5:2.
    const MULTIPLEXER: u64 = libc::makedev(5, 2);
    let flags = libc::O_PATH | libc::O_CLOEXEC;
    let resolve = libc::RESOLVE_NO_SYMLINKS | libc::RESOLVE_NO_MAGICLINKS;
    let found = sys::open_resolved(c"/dev/pts/ptmx", flags, resolve)?;
    let stat = sys::fstat(found)?;
    let right = stat.st_mode & libc::S_IFMT == libc::S_IFCHR
        && stat.st_rdev == MULTIPLEXER
        && sys::file_system(found)? == libc::DEVPTS_SUPER_MAGIC as libc::c_long;
    if !right {
        return Err(libc::ENOTTY);
    }
    sys::dup3(sys::dup_from(found, FIRST_FREE_FD)?, PLACE, libc::O_CLOEXEC)
}

/// A pair of sockets: the caller's, the first child's.
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

/// The master that a first child has sent.
pub(crate) fn receive(socket: &OwnedFd) -> Result<OwnedFd, Error> {
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

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
