//! The final child: from a fork inside the container to the command.
//!
//! RULE: as in `intermediate`: system calls on data that the plan holds, nothing else.
//!
//! The container sees this process. It has no descriptor of the host and, but for `Plan::late`, no right
//! that the command does not have.

use std::ffi::CStr;

use super::joiner::{GO, REPORT, at, fail};
use super::restrict;
use crate::exec::plan::command::{Last, Lookup};
use crate::exec::plan::report::{Failure, Step};
use crate::exec::plan::sys;

/// Becomes the command, or reports why not.
///
/// # Safety
/// `last` is valid, and nothing else uses it or the plan any more.
pub(crate) unsafe fn run(last: *mut Last) -> ! {
    // SAFETY: by contract; what is `late` has the plan for itself, and lets it go before `last` is used.
    let result = unsafe { become_late(last).and_then(|()| become_command(&*last)) };
    match result {
        Ok(()) => sys::exit(255),
        Err(failure) => fail(REPORT, failure),
    }
}

/// What each process must do for itself, and what is left of the restrictions.
///
/// # Safety
/// As of `run`.
unsafe fn become_late(last: *mut Last) -> Result<(), Failure> {
    // SAFETY: by contract.
    let (waits, terminal, late) = unsafe { ((*last).waits, (*last).terminal, (*last).late) };
    if waits {
        at(Step::JoinCgroup, wait_for_go())?;
    }
    at(Step::Session, sys::setsid())?;
    if terminal {
        at(Step::ControllingTerminal, sys::take_terminal(0))?;
    }
    match late {
        // SAFETY: by contract.
        Some(mut plan) => restrict::all(unsafe { plan.as_mut() }),
        None => Ok(()),
    }
}

/// Until the caller has put this process where it belongs. Where nobody does that any more, it never becomes
/// the command.
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

fn become_command(last: &Last) -> Result<(), Failure> {
    if let before @ 1.. = last.cwd_errno {
        match (sys::chdir(last.cwd), before) {
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
    let path = find(&last.lookup)?;
    // Last, so that the profile need not allow what was done before.
    if let Some((flags, program)) = last.seccomp {
        at(Step::Seccomp, sys::seccomp(flags, program))?;
    }
    // SAFETY: the arrays end in null and their strings in NUL.
    let errno = unsafe { sys::execve(path, last.argv.as_ptr(), last.envp.as_ptr()) };
    at(Step::Exec, Err(errno))
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
    match mode & libc::S_IFMT != libc::S_IFDIR && mode & 0o111 != 0 {
        true => Ok(()),
        false => Err(libc::EACCES),
    }
}
