//! From root of the container to what the command may do: user, capabilities, seccomp profile.
//!
//! RULE: as in `intermediate`.
//!
//! The first child does it, so that the final one, which the container sees from its first instruction
//! on, has no right that the command does not have. Only where that cannot be (`Plan::late`) it is left
//! to the final child. The order is that of runc's setns_init_linux.go and init_linux.go
//! (finalizeNamespace); every step says what it depends on.

use std::ffi::c_ulong;

use super::home;
use super::joiner::{at, at_nth};
use crate::exec::parent::build::Plan;
use crate::exec::plan::report::{Failure, Step};
use crate::exec::plan::sys;

/// Everything of this module.
pub(crate) fn all(plan: &mut Plan<'_>) -> Result<(), Failure> {
    settings(plan)?;
    find_home(plan);
    limits(plan)?;
    // Without no_new_privs a filter needs CAP_SYS_ADMIN: while there still is one.
    if !plan.no_new_privileges {
        seccomp(plan)?;
    }
    become_user(plan)
}

/// What a user may not set.
fn settings(plan: &Plan<'_>) -> Result<(), Failure> {
    let container = plan.container;
    // Ignored signals stay so through execve, and Rust ignores SIGPIPE. The mask is full since before the
    // first fork: no handler of the caller runs here. After this a signal ends the process. A profile may
    // forbid both calls.
    let signals = container.inherited.signals;
    at(Step::Signals, sys::set_signal_actions(signals.ignored))?;
    at(Step::Signals, sys::set_signal_mask(signals.blocked))?;
    if let Some(name) = &container.keyring {
        match sys::join_session_keyring(name) {
            // A kernel without keyrings.
            Err(libc::ENOSYS) => {}
            other => at(Step::Keyring, other)?,
        }
    }
    if plan.no_new_privileges {
        let set = sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0);
        at(Step::NoNewPrivileges, set)?;
    }
    if let Some(mask) = container.umask {
        sys::umask(mask);
    }
    if let Some(attributes) = &plan.scheduler {
        at(Step::Scheduler, sys::setattr(attributes))?;
    }
    if let Some(priority) = plan.io_priority {
        at(Step::IoPriority, sys::set_io_priority(priority))?;
    }
    if let Some(domain) = plan.personality {
        at(Step::Personality, sys::personality(domain))?;
    }
    restore_inherited(plan)
}

/// What the caller may have changed for itself and fork passed on.
fn restore_inherited(plan: &Plan<'_>) -> Result<(), Failure> {
    let inherited = &plan.container.inherited;
    if let Some(slack) = inherited.timer_slack {
        let set = sys::prctl(libc::PR_SET_TIMERSLACK, slack, 0);
        at(Step::Inherited, set)?;
    }
    let disabled = c_ulong::from(inherited.thp_disabled);
    let set = sys::prctl(libc::PR_SET_THP_DISABLE, disabled, 0);
    at(Step::Inherited, set)?;
    Ok(())
}

/// As root of the container, and before a limit of open files or a profile can forbid to read a file.
fn find_home(plan: &mut Plan<'_>) {
    let uid = plan.uid;
    let last = plan.last();
    if let Some(index) = last.home {
        home::write(uid, &mut last.home_text);
        if let Some(place) = last.envp.get_mut(index) {
            *place = last.home_text.as_ptr().cast();
        }
    }
}

/// They are the command's, not this process's, which has made what it needs by now: its files, its terminal. A
/// profile may forbid it, and the kernel compares the limit of processes at the change of user.
fn limits(plan: &Plan<'_>) -> Result<(), Failure> {
    for (resource, limit) in &plan.limits.set {
        let set = sys::setrlimit(*resource, limit);
        at_nth(Step::Rlimit, *resource as usize, set)?;
    }
    Ok(())
}

/// Directory, user and capabilities.
fn become_user(plan: &mut Plan<'_>) -> Result<(), Failure> {
    // As root first: a directory the user cannot enter by itself. What is not entered here the final
    // child tries as the user: a directory on a file system where root is nobody. So it does with one that
    // is not there, which /proc/self is for a process outside the container's pid namespace.
    match sys::chdir(plan.last().cwd) {
        Err(errno @ (libc::EACCES | libc::EPERM | libc::ENOENT)) => {
            plan.last().cwd_errno = errno;
        }
        other => at(Step::Chdir, other)?,
    }
    drop_bounding_set(plan)?;
    let keep = sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0);
    at(Step::KeepCapabilities, keep)?;
    chown_stdio(plan.uid)?;
    if !plan.container.setgroups_denied {
        at(Step::SetGroups, sys::setgroups(&plan.groups))?;
    }
    at(Step::SetGid, sys::setgid(plan.gid))?;
    at(Step::SetUid, sys::setuid(plan.uid))?;
    let keep = sys::prctl(libc::PR_SET_KEEPCAPS, 0, 0);
    at(Step::KeepCapabilities, keep)?;
    // The change of user made the process dumpable again where fs.suid_dumpable says so.
    at(Step::NotDumpable, sys::prctl(libc::PR_SET_DUMPABLE, 0, 0))?;
    set_capabilities(plan)
}

fn drop_bounding_set(plan: &Plan<'_>) -> Result<(), Failure> {
    for capability in 0..=plan.container.last_capability {
        let bit = 1u64.wrapping_shl(capability);
        if plan.capabilities.bounding & bit == 0 {
            let dropped = sys::prctl(libc::PR_CAPBSET_DROP, c_ulong::from(capability), 0);
            at(Step::BoundingSet, dropped)?;
        }
    }
    Ok(())
}

fn set_capabilities(plan: &Plan<'_>) -> Result<(), Failure> {
    let sets = &plan.capabilities;
    let set = sys::capset(sets.effective, sets.permitted, sets.inheritable);
    at(Step::Capabilities, set)?;
    // The shim may have been given ambient capabilities; a process of the container has its own only.
    let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong;
    at(
        Step::Capabilities,
        sys::prctl(libc::PR_CAP_AMBIENT, clear, 0),
    )?;
    for capability in 0..=plan.container.last_capability {
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

fn seccomp(plan: &Plan<'_>) -> Result<(), Failure> {
    match &plan.seccomp {
        Some(filter) => at(Step::Seccomp, sys::seccomp(filter.flags, &filter.program)),
        None => Ok(()),
    }
}
