//! From root of the container to what the command may do: user, capabilities, seccomp profile.
//!
//! The joiner does it, so that the command's process, which the container sees from its first instruction on, has no
//! right that the command does not have. Only where that cannot be (`Plan::late`) it is left to the command. The order
//! is that of runc's setns_init_linux.go and init_linux.go (finalizeNamespace); every step says what it depends on.

use std::ffi::c_ulong;

use super::home;
use crate::exec::plan::command::Command;
use crate::exec::plan::report::{Failure, Step, at, at_nth};
use crate::exec::plan::rights::Rights;
use crate::exec::plan::sys;

/// Takes on `rights`. What the command needs of it later is noted in `command`.
pub(super) fn all(rights: &Rights<'_>, command: &mut Command) -> Result<(), Failure> {
    settings(rights)?;
    find_home(rights.uid, command);
    limits(rights)?;
    // Without no_new_privs a filter needs CAP_SYS_ADMIN: while there still is one.
    if !rights.no_new_privileges {
        seccomp(rights)?;
    }
    become_user(rights, command)
}

/// What a user may not set.
fn settings(rights: &Rights<'_>) -> Result<(), Failure> {
    // Ignored signals stay so through execve, and Rust ignores SIGPIPE. The mask is full since before the
    // first fork: no handler of the parent runs here. After this a signal ends the process. A profile may
    // forbid both calls.
    let signals = rights.signals;
    at(Step::Signals, sys::set_signal_actions(signals.ignored))?;
    at(Step::Signals, sys::set_signal_mask(signals.blocked))?;
    if let Some(name) = rights.keyring {
        match sys::join_session_keyring(name) {
            // A kernel without keyrings.
            Err(libc::ENOSYS) => {}
            other => at(Step::Keyring, other)?,
        }
    }
    if rights.no_new_privileges {
        let set = sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0);
        at(Step::NoNewPrivileges, set)?;
    }
    if let Some(mask) = rights.umask {
        sys::umask(mask);
    }
    if let Some(attributes) = rights.scheduler {
        at(Step::Scheduler, sys::setattr(attributes))?;
    }
    if let Some(priority) = rights.io_priority {
        at(Step::IoPriority, sys::set_io_priority(priority))?;
    }
    if let Some(domain) = rights.personality {
        at(Step::Personality, sys::personality(domain))?;
    }
    restore_inherited(rights)
}

/// What the parent may have changed for itself and fork passed on.
fn restore_inherited(rights: &Rights<'_>) -> Result<(), Failure> {
    if let Some(slack) = rights.timer_slack {
        let set = sys::prctl(libc::PR_SET_TIMERSLACK, slack, 0);
        at(Step::Inherited, set)?;
    }
    let disabled = c_ulong::from(rights.thp_disabled);
    let set = sys::prctl(libc::PR_SET_THP_DISABLE, disabled, 0);
    at(Step::Inherited, set)?;
    Ok(())
}

/// As root of the container, and before a limit of open files or a profile can forbid to read a file.
fn find_home(uid: u32, command: &mut Command) {
    if let Some(index) = command.home {
        home::write(uid, &mut command.home_text);
        if let Some(place) = command.envp.get_mut(index) {
            *place = command.home_text.as_ptr().cast();
        }
    }
}

/// They are the command's, not this process's, which has made what it needs by now: its files, its terminal. A
/// profile may forbid it, and the kernel compares the limit of processes at the change of user.
fn limits(rights: &Rights<'_>) -> Result<(), Failure> {
    for (resource, limit) in rights.limits {
        let set = sys::setrlimit(*resource, limit);
        at_nth(Step::Rlimit, *resource as usize, set)?;
    }
    Ok(())
}

/// Directory, user and capabilities.
fn become_user(rights: &Rights<'_>, command: &mut Command) -> Result<(), Failure> {
    // As root first: a directory the user cannot enter by itself. What is not entered here the
    // command tries as the user: a directory on a file system where root is nobody. So it does with one that
    // is not there, which /proc/self is for a process outside the container's pid namespace.
    match sys::chdir(command.cwd) {
        Err(errno @ (libc::EACCES | libc::EPERM | libc::ENOENT)) => {
            command.cwd_errno = errno;
        }
        other => at(Step::Chdir, other)?,
    }
    drop_bounding_set(rights)?;
    let keep = sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0);
    at(Step::KeepCapabilities, keep)?;
    chown_stdio(rights.uid)?;
    if !rights.setgroups_denied {
        at(Step::SetGroups, sys::setgroups(rights.groups))?;
    }
    at(Step::SetGid, sys::setgid(rights.gid))?;
    at(Step::SetUid, sys::setuid(rights.uid))?;
    let keep = sys::prctl(libc::PR_SET_KEEPCAPS, 0, 0);
    at(Step::KeepCapabilities, keep)?;
    // The change of user made the process dumpable again where fs.suid_dumpable says so.
    at(Step::NotDumpable, sys::prctl(libc::PR_SET_DUMPABLE, 0, 0))?;
    set_capabilities(rights)
}

fn drop_bounding_set(rights: &Rights<'_>) -> Result<(), Failure> {
    for capability in 0..=rights.last_capability {
        let bit = 1u64.wrapping_shl(capability);
        if rights.capabilities.bounding & bit == 0 {
            let dropped = sys::prctl(libc::PR_CAPBSET_DROP, c_ulong::from(capability), 0);
            at(Step::BoundingSet, dropped)?;
        }
    }
    Ok(())
}

fn set_capabilities(rights: &Rights<'_>) -> Result<(), Failure> {
    let sets = &rights.capabilities;
    let set = sys::capset(sets.effective, sets.permitted, sets.inheritable);
    at(Step::Capabilities, set)?;
    // The shim may have been given ambient capabilities; a process of the container has its own only.
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong;
    at(
        Step::Capabilities,
        sys::prctl(libc::PR_CAP_AMBIENT, clear, 0),
    )?;
    for capability in 0..=rights.last_capability {
        if sets.ambient & 1u64.wrapping_shl(capability) != 0 {
            let raise = libc::PR_CAP_AMBIENT_RAISE as c_ulong;
            // One that is not permitted and inheritable too cannot be ambient. runc leaves it out.
            let _ = sys::prctl(libc::PR_CAP_AMBIENT, raise, c_ulong::from(capability));
        }
    }
    Ok(())
}

/// The user can reopen its own stdio through /proc/self/fd.
fn chown_stdio(uid: u32) -> Result<(), Failure> {
    /// Character device 1:3.
    const DEV_NULL: u64 = libc::makedev(1, 3);
    for fd in 0..3 {
        let stat = at(Step::ChownStdio, sys::fstat(fd))?;
        let null = stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == DEV_NULL;
        if stat.st_uid == uid || null {
            continue;
        }
        match sys::fchown(fd, uid) {
            // Not ours to change: an owner that the user namespace does not map, a read-only file.
            Err(libc::EPERM | libc::EINVAL | libc::EROFS) => {}
            other => at(Step::ChownStdio, other)?,
        }
    }
    Ok(())
}

fn seccomp(rights: &Rights<'_>) -> Result<(), Failure> {
    match rights.seccomp {
        Some(filter) => at(Step::Seccomp, sys::seccomp(filter.flags, filter.program)),
        None => Ok(()),
    }
}
