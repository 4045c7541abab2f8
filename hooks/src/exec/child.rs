//! The final child: from a fork inside the container to the command.
//!
//! RULE: as in `intermediate`: system calls on data that the plan holds, nothing else.
//!
//! The container sees this process. It has no descriptor of the host and, but for `Plan::late`, no right
//! that the command does not have.

use std::ffi::CStr;

use super::intermediate::{REPORT, at, fail};
use super::plan::Plan;
use super::process::Lookup;
use super::report::{Failure, Step};
use super::{restrict, sys};

/// Becomes the command, or reports why not.
pub(super) fn run(plan: &mut Plan<'_>) -> ! {
    match enter(plan).and_then(|()| execute(plan)) {
        Ok(()) => sys::exit(255),
        Err(failure) => fail(REPORT, failure),
    }
}

/// What each process must do for itself.
fn enter(plan: &mut Plan<'_>) -> Result<(), Failure> {
    at(Step::Session, sys::setsid())?;
    if plan.terminal.is_some() {
        at(Step::ControllingTerminal, sys::take_terminal(0))?;
    }
    if plan.late {
        restrict::all(plan)?;
    }
    // Last: from here on a signal of the container ends it.
    at(Step::Signals, sys::set_signal_mask(0))?;
    match (&plan.cwd, plan.cwd_errno) {
        (None, _) | (_, 0) => Ok(()),
        (Some(path), before) => match (sys::chdir(path), before) {
            (Err(_), libc::ENOENT) => at(Step::Chdir, Err(libc::ENOENT)),
            (result, _) => at(Step::Chdir, result),
        },
    }
}

fn execute(plan: &Plan<'_>) -> Result<(), Failure> {
    // A directory outside the container's root shows as "(unreachable)…" (CVE-2024-21626).
    match sys::getcwd_first() {
        Ok(b'/') | Err(libc::ERANGE | libc::ENAMETOOLONG) => {}
        Ok(_) => return at(Step::WorkingDirectory, Err(libc::ENOENT)),
        Err(errno) => return at(Step::WorkingDirectory, Err(errno)),
    }
    let path = find(&plan.lookup)?;
    // Last, so that the profile need not allow what was done before.
    if plan.no_new_privileges {
        restrict::seccomp(plan)?;
    }
    // SAFETY: the plan's arrays end in null and their strings in NUL.
    let errno = unsafe { sys::execve(path, plan.argv.as_ptr(), plan.envp.as_ptr()) };
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
            for (path, absolute) in places {
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
