//! A terminal of the container.
//!
//! `/dev` is the container's: nothing that is found there is believed (CVE-2025-31133, CVE-2025-52565). The
//! multiplexer is looked up without following links, which a process with the host's rights would follow
//! out of the container, is opened only once it is known to be one, and gives the other end itself.

use std::ffi::c_int;

use crate::exec::plan::FIRST_FREE_FD;
use crate::exec::plan::entry::Terminal;
use crate::exec::plan::report::{Failure, Step, at};
use crate::exec::plan::sys;

/// Where the multiplexer is while it is looked at; `NAME` is it in a procfs.
const PLACE: c_int = 5;
const NAME: &std::ffi::CStr = c"self/fd/5";

/// Opens a terminal, sends its master to the parent and returns the other end.
pub(super) fn open(terminal: &Terminal, procfs: c_int) -> Result<c_int, Failure> {
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
