//! The command: from a fork inside the container to the program.
//!
//! The container sees this process. It has no descriptor of the host and, but for `Plan::late`, no right that the
//! program does not have.

use std::ffi::{CStr, c_int};

use super::restrict;
use crate::exec::plan::command::{Command, Lookup};
use crate::exec::plan::report::{Failure, GO, REPORT, Step, at, fail};
use crate::exec::plan::sys;

/// Becomes the program, or reports why not.
///
/// # Safety
/// `command` is valid, and nothing else uses it or the plan any more.
pub(super) unsafe fn run(command: *mut Command) -> ! {
    // SAFETY: by contract; what is `late` has the plan for itself, and lets it go before `command` is used.
    let result = unsafe { become_late(command).and_then(|()| become_program(&*command)) };
    match result {
        Ok(()) => sys::exit(255),
        Err(failure) => fail(REPORT, failure),
    }
}

/// What each process must do for itself, and what is left of the restrictions.
///
/// # Safety
/// As of `run`.
unsafe fn become_late(command: *mut Command) -> Result<(), Failure> {
    // SAFETY: by contract.
    let (waits, terminal, late) =
        unsafe { ((*command).waits, (*command).terminal, (*command).late) };
    if waits {
        at(Step::JoinCgroup, wait_for_go())?;
    }
    at(Step::Session, sys::setsid())?;
    if terminal {
        at(Step::ControllingTerminal, sys::take_terminal(0))?;
    }
    match late {
        // SAFETY: by contract.
        Some(rights) => unsafe { restrict::all(rights.as_ref(), &mut *command) },
        None => Ok(()),
    }
}

/// Waits until the parent has moved this process to its cgroups. If the parent is gone, it never becomes
/// the program.
fn wait_for_go() -> sys::Result<()> {
    let mut byte = [0u8];
    loop {
        match sys::read(GO, &mut byte) {
            Ok(1) => return Ok(()),
            Err(libc::EINTR) => {}
            _ => return Err(libc::ECANCELED),
        }
    }
}

fn become_program(command: &Command) -> Result<(), Failure> {
    if let before @ 1.. = command.cwd_errno {
        match (sys::chdir(command.cwd), before) {
            (Err(_), libc::ENOENT) => at(Step::Chdir, Err(libc::ENOENT))?,
            (result, _) => at(Step::Chdir, result)?,
        }
    }
    // A directory outside the container's root shows as "(unreachable)…" (CVE-2024-21626).
    match sys::getcwd_first() {
        Ok(b'/') | Err(libc::ERANGE | libc::ENAMETOOLONG) => {}
        Ok(_) => return at(Step::WorkingDirectory, Err(libc::ENOENT)),
        Err(errno) => return at(Step::WorkingDirectory, Err(errno)),
    }
    let path = find(&command.lookup)?;
    // Last, so that the profile need not allow what was done before.
    if let Some(filter) = command.seccomp {
        at(Step::Seccomp, sys::seccomp(filter.flags, filter.program))?;
    }
    // SAFETY: the arrays end in null and their strings in NUL.
    let errno = unsafe { sys::execve(path, command.argv.as_ptr(), command.envp.as_ptr()) };
    match command.unexecuted {
        // What the user may not execute runc finds before it is too late to say so.
        Some(status) if !matches!(errno, libc::EACCES | libc::EAGAIN) => {
            unexecuted(path, errno, status)
        }
        _ => at(Step::Exec, Err(errno)),
    }
}

/// runc has told its caller that there is a process by then, and this is what that does.
fn unexecuted(path: &CStr, errno: c_int, status: c_int) -> ! {
    let why: &[u8] = match errno {
        libc::E2BIG => b"argument list too long",
        libc::EINVAL => b"invalid argument",
        libc::EIO => b"input/output error",
        libc::ELIBBAD => b"accessing a corrupted shared library",
        libc::ELOOP => b"too many levels of symbolic links",
        libc::ENOENT => b"no such file or directory",
        libc::ENOEXEC => b"exec format error",
        libc::ENOMEM => b"cannot allocate memory",
        libc::ENOTDIR => b"not a directory",
        libc::EPERM => b"operation not permitted",
        libc::ETXTBSY => b"text file busy",
        _ => b"it cannot be executed",
    };
    for part in [b"exec ", path.to_bytes(), b": ", why, b"\n"] {
        // There may be nobody who reads it.
        let _ = sys::write(2, part);
    }
    sys::exit(status)
}

/// Go's exec.LookPath, which is what runc's users see.
fn find(lookup: &Lookup) -> Result<&CStr, Failure> {
    match lookup {
        Lookup::Path(path) => {
            at(Step::Stat, executable(path))?;
            Ok(path)
        }
        Lookup::Search(places) => {
            for &(path, absolute) in *places {
                if executable(path).is_ok() {
                    return match absolute {
                        true => Ok(path),
                        false => at(Step::Relative, Err(libc::EACCES)),
                    };
                }
            }
            at(Step::NotFound, Err(libc::ENOENT))
        }
    }
}

/// A file that someone may execute. Whether this user may, execve says.
fn executable(path: &CStr) -> sys::Result<()> {
    let mode = sys::stat(path)?.st_mode;
    match (mode & libc::S_IFMT, mode & 0o111) {
        (libc::S_IFDIR, _) => Err(libc::EISDIR),
        (_, 0) => Err(libc::EACCES),
        _ => Ok(()),
    }
}
