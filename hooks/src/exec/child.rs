//! The final child: from a fork inside the container to the command.
//!
//! RULE: as in `intermediate`: system calls on data that the plan holds, nothing else.
//!
//! The order is that of runc's setns_init_linux.go and init_linux.go (finalizeNamespace); every step
//! says what it depends on.

use std::ffi::{CStr, c_int, c_ulong};

use super::intermediate::{as_raw, at, at_nth, fail};
use super::plan::Plan;
use super::process::Lookup;
use super::report::{Failure, Step};
use super::{home, sys};

/// Where the report pipe goes: right behind the stdio.
const REPORT: c_int = 3;

/// Becomes the command, or reports why not.
pub(super) fn run(plan: &mut Plan<'_>, report: c_int) -> ! {
    if let Err(failure) = enter(plan) {
        fail(report, failure);
    }
    if let Err(failure) = arrange_files(plan, report) {
        fail(report, failure);
    }
    match become_user(plan).and_then(|()| execute(plan)) {
        Ok(()) => sys::exit(255),
        Err(failure) => fail(REPORT, failure),
    }
}

/// What needs the host's privilege or the host's descriptors.
fn enter(plan: &Plan<'_>) -> Result<(), Failure> {
    let container = plan.container;
    let pidfd = as_raw(&container.pidfd);
    let procfs = as_raw(container.procfs);
    // A user namespace takes away the right to raise limits.
    for (which, (resource, limit)) in plan.limits.iter().enumerate() {
        at_nth(Step::Rlimit, which, sys::setrlimit(*resource, limit))?;
    }
    if !plan.into.is_empty() && container.namespaces & libc::CLONE_NEWCGROUP != 0 {
        at(
            Step::JoinCgroupNamespace,
            sys::setns(pidfd, libc::CLONE_NEWCGROUP),
        )?;
    }
    if container.namespaces & libc::CLONE_NEWUSER != 0 {
        at(
            Step::JoinUserNamespace,
            sys::setns(pidfd, libc::CLONE_NEWUSER),
        )?;
        at(Step::BecomeRoot, sys::setgid(0))?;
        at(Step::BecomeRoot, sys::setuid(0))?;
    }
    // Ignored signals stay so through execve, and Rust ignores SIGPIPE. The mask was full since before
    // the fork: no handler of the caller ran here.
    let ignored = container.inherited.ignored_signals;
    at(Step::Signals, sys::set_signal_actions(ignored))?;
    at(Step::Signals, sys::set_signal_mask(0))?;
    at(Step::Session, sys::setsid())?;
    // Labels go through the host's procfs, never through what the container calls /proc
    // (CVE-2019-16884, CVE-2019-19921, CVE-2025-52881).
    if let Some(label) = &plan.key_label {
        let path = c"thread-self/attr/keycreate";
        match sys::write_file(procfs, path, label.as_bytes()) {
            Err(libc::ENOENT) => {}
            other => at(Step::KeyLabel, other)?,
        }
    }
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
    restore_inherited(plan)?;
    if let Some(label) = &plan.exec_label {
        let written = sys::write_file(procfs, c"thread-self/attr/exec", label.as_bytes());
        at(Step::ExecLabel, written)?;
    }
    if let Some(profile) = &plan.apparmor {
        let text = profile.as_bytes();
        // The first since Linux 5.8; the second is shared with other security modules.
        let written = match sys::write_file(procfs, c"thread-self/attr/apparmor/exec", text) {
            Err(libc::ENOENT) => sys::write_file(procfs, c"thread-self/attr/exec", text),
            other => other,
        };
        at(Step::AppArmor, written)?;
    }
    Ok(())
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

/// Descriptors 0 to 2 and the report pipe; every other one is closed before the first path of the
/// container is used (CVE-2024-21626).
fn arrange_files(plan: &Plan<'_>, report: c_int) -> Result<(), Failure> {
    for (to, &from) in (0..).zip(plan.stdio.iter()) {
        at(Step::Stdio, sys::dup3(from, to, 0))?;
    }
    at(Step::Stdio, sys::dup3(report, REPORT, libc::O_CLOEXEC))?;
    let first = REPORT.wrapping_add(1);
    // A failure here is still reported: the old descriptor is open then.
    at(Step::CloseFiles, sys::close_from(first))
}

/// Seccomp, directory, user and capabilities.
fn become_user(plan: &mut Plan<'_>) -> Result<(), Failure> {
    // Without no_new_privs a filter needs CAP_SYS_ADMIN: while there still is one.
    if !plan.no_new_privileges {
        seccomp(plan)?;
    }
    // As root first: a directory the user cannot enter by itself. Else as the user: one on a file
    // system where root is nobody.
    let mut cwd = plan.cwd.as_deref();
    if let Some(path) = cwd {
        match sys::chdir(path) {
            Err(libc::EACCES | libc::EPERM) => {}
            other => {
                at(Step::Chdir, other)?;
                cwd = None;
            }
        }
    }
    drop_bounding_set(plan)?;
    let keep = sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0);
    at(Step::KeepCapabilities, keep)?;
    chown_stdio(plan.uid)?;
    if let Some(index) = plan.home {
        home::write(plan.uid, &mut plan.home_text);
        plan.envp.set(index, plan.home_text.as_ptr().cast());
    }
    if !plan.container.setgroups_denied {
        at(Step::SetGroups, sys::setgroups(&plan.groups))?;
    }
    at(Step::SetGid, sys::setgid(plan.gid))?;
    at(Step::SetUid, sys::setuid(plan.uid))?;
    if let Some(path) = cwd {
        at(Step::Chdir, sys::chdir(path))?;
    }
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
        seccomp(plan)?;
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
