//! The first child: joins the container from the outside and makes the process inside.
//!
//! RULE of this module and of `child`: between clone and execve there are only system calls on data
//! that the plan holds. No allocation, no lock, no log, no panic, no libc call with state: the child of
//! a threaded process has copies of locks that no thread will ever release. A failure is written to the
//! report pipe, then the process exits.

use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use super::plan::{Plan, Stack};
use super::report::{Failure, Step};
use super::{child, sys};

/// libc's constant does not fit its type.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Memory shared with the caller. The kernel writes the pid as part of the clone, before the new process
/// runs: whatever happens to the intermediate then, the caller knows its grandchild.
#[repr(C)]
pub(super) struct Shared {
    /// The final child's pid, 0 while there is none.
    pub pid: AtomicI32,
    /// Which entry of `Plan::into` it was made in.
    pub place: AtomicU32,
}

/// Runs the first child to its end.
///
/// # Safety
/// Only in a new process with its own copy of the memory; `shared` is the page shared with the caller.
/// Never unwinds: `extern "C"` turns a panic, should there be one, into an abort.
pub(super) unsafe extern "C" fn run(
    plan: *mut Plan<'_>,
    report: c_int,
    shared: *const Shared,
) -> ! {
    {
        let entrance = Entrance { plan, report };
        // SAFETY: by contract both are valid in this copy of the memory, and nothing else uses the plan.
        let (plan, shared) = unsafe { (&*plan, &*shared) };
        if let Err(failure) = join(plan) {
            fail(report, failure);
        }
        // SAFETY: this frame, and with it `entrance`, is never left: it ends in `exit`.
        if let Err(failure) = unsafe { make_child(plan, shared, &entrance) } {
            fail(report, failure);
        }
    }
    // The caller waits for the end of this pipe, and dying takes longer than all the rest.
    sys::close(report);
    sys::exit(0)
}

/// What the final child starts with.
struct Entrance<'a> {
    plan: *mut Plan<'a>,
    report: c_int,
}

/// The final child's first function.
///
/// # Safety
/// `entrance` points to an [`Entrance`] whose plan nothing else uses any more.
unsafe extern "C" fn enter(entrance: *mut libc::c_void) -> ! {
    // SAFETY: by contract.
    let entrance = unsafe { &*entrance.cast::<Entrance<'_>>() };
    // SAFETY: the intermediate does not touch the plan once the child runs.
    child::run(unsafe { &mut *entrance.plan }, entrance.report)
}

/// Writes the failure and ends the process.
pub(super) fn fail(report: c_int, failure: Failure) -> ! {
    let _ = sys::write(report, &failure.to_bytes());
    sys::exit(255)
}

/// Names the step of a failed system call.
pub(super) fn at<T>(step: Step, result: sys::Result<T>) -> Result<T, Failure> {
    at_nth(step, 0, result)
}

/// The same for one of several.
pub(super) fn at_nth<T>(step: Step, which: usize, result: sys::Result<T>) -> Result<T, Failure> {
    match result {
        Ok(value) => Ok(value),
        Err(errno) => Err(Failure {
            step,
            errno,
            which: which as u32,
        }),
    }
}

fn join(plan: &Plan<'_>) -> Result<(), Failure> {
    if let Some(mask) = &plan.initial_affinity {
        at(Step::InitialAffinity, sys::setaffinity(mask))?;
    }
    // First of all: what follows is the container's to pay for. "0" is the writing process.
    for (which, join) in plan.joins.iter().enumerate() {
        let mut written = sys::write(join.procs, b"0");
        if let (Err(_), Some(otherwise)) = (written, join.otherwise) {
            written = sys::write(otherwise, b"0");
        }
        at_nth(Step::JoinCgroup, which, written)?;
    }
    let procfs = as_raw(plan.container.procfs);
    // Before the process is not dumpable: its files in procfs change owner then.
    if let Some(score) = &plan.oom_score_adj {
        let written = sys::write_file(procfs, c"self/oom_score_adj", score.as_bytes());
        at(Step::OomScoreAdj, written)?;
    }
    // CVE-2016-9962: a process of the container must not trace this one once it is inside.
    at(Step::NotDumpable, sys::prctl(libc::PR_SET_DUMPABLE, 0, 0))?;
    let namespaces = outer_namespaces(plan);
    if namespaces != 0 {
        let joined = sys::setns(as_raw(&plan.container.pidfd), namespaces);
        at(Step::JoinNamespaces, joined)?;
    }
    if let Some(mask) = &plan.final_affinity {
        at(Step::FinalAffinity, sys::setaffinity(mask))?;
    }
    Ok(())
}

/// The user namespace is the child's to join: the others are joined with the host's privilege. So is the
/// cgroup namespace where clone3 places the child: with `nsdelegate` a process inside it cannot move
/// another one in from outside.
fn outer_namespaces(plan: &Plan<'_>) -> c_int {
    let mut later = libc::CLONE_NEWUSER;
    if !plan.into.is_empty() {
        later |= libc::CLONE_NEWCGROUP;
    }
    plan.container.namespaces & !later
}

/// Makes the final child: a second process, since a pid namespace takes in only children; CLONE_PARENT, so
/// that it is the caller's to wait for. It shares this process's memory instead of copying it once more,
/// and nothing but that: this process has only its end before it.
///
/// # Safety
/// `entrance` stays valid until the child executes or exits.
unsafe fn make_child(
    plan: &Plan<'_>,
    shared: &Shared,
    entrance: &Entrance<'_>,
) -> Result<(), Failure> {
    let entrance = std::ptr::from_ref(entrance).cast_mut().cast();
    // SAFETY: `clone_args` is plain data, all zeroes is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = (libc::CLONE_VM | libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID) as u64;
    args.parent_tid = shared.pid.as_ptr() as u64;
    args.stack = plan.stack.as_ptr() as u64;
    args.stack_size = size_of::<Stack>() as u64;
    let mut outcome = Err(libc::EINVAL);
    if plan.into.is_empty() {
        // SAFETY: the plan's stack is used by nothing else; this process makes no failing call after.
        outcome = unsafe { sys::clone3_sharing(&args, enter, entrance) };
    }
    for (place, &cgroup) in plan.into.iter().enumerate() {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup as u64;
        shared.place.store(place as u32, Ordering::Relaxed);
        // SAFETY: as above.
        outcome = unsafe { sys::clone3_sharing(&args, enter, entrance) };
        if outcome.is_ok() {
            break;
        }
    }
    at(Step::ForkInside, outcome).map(drop)
}

pub(super) fn as_raw(fd: &std::os::fd::OwnedFd) -> c_int {
    std::os::fd::AsRawFd::as_raw_fd(fd)
}
