//! The first child: joins the container from the outside, becomes what the command may be, and makes the
//! process inside.
//!
//! RULE of this module and of all that the two children run: between clone and execve there are only
//! system calls on data that the plan holds. No allocation, no lock, no log, no panic, no libc call with
//! state: the child of a threaded process has copies of locks that no thread will ever release. A failure
//! is written to the report pipe, then the process exits.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, Ordering};

use super::{command, labels, restrict, terminal};
use crate::exec::parent::build::{Affinity, Plan};
use crate::exec::parent::mappings::Foreign;
use crate::exec::parent::view;
use crate::exec::plan::command::Last;
use crate::exec::plan::report::{Failure, Step};
use crate::exec::plan::sys;
use crate::exec::settings::schedule;

/// Where the report pipe goes: right behind the stdio.
pub(crate) const REPORT: c_int = 3;

/// Where the pipe goes from which the final child hears that it is where it belongs, if it waits for that.
pub(crate) const GO: c_int = 4;

/// How the final child is made. CLONE_PARENT, so that it is the caller's to wait for. It shares this
/// process's memory instead of copying it once more, and nothing but that: this process has only its end
/// before it.
pub(crate) const CLONE_FLAGS: c_int =
    libc::CLONE_VM | libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID;

/// Memory shared with the caller. The kernel writes the pid as part of the clone, before the new process
/// runs: whatever happens to the intermediate then, the caller knows its grandchild.
#[repr(C)]
pub(crate) struct Shared {
    /// The final child's pid, 0 while there is none.
    pub pid: AtomicI32,
    /// Not 0 where the first child is beside the tree's leaf, which did not take it.
    pub leaf_refused: AtomicI32,
}

/// What the first child starts with.
pub(crate) struct Start<'a> {
    pub plan: *mut Plan<'a>,
    pub report: c_int,
    pub go: Option<c_int>,
    pub shared: *const Shared,
    pub foreign: Foreign,
}

/// Runs the first child to its end.
///
/// # Safety
/// `start` points to a [`Start`]. Only in a new process with its own copy of the memory, on the first of the
/// plan's stacks; `shared` is the page shared with the caller. Never unwinds: `extern "C"` turns a panic,
/// should there be one, into an abort.
pub(crate) unsafe extern "C" fn run(start: *mut c_void) -> ! {
    // SAFETY: by contract.
    let Start {
        plan,
        report,
        go,
        shared,
        foreign,
    } = unsafe { start.cast::<Start<'static>>().read() };
    // SAFETY: by contract both are valid in this copy of the memory, and nothing else uses the plan.
    let (late, mut last, end) = unsafe { become_inside(&mut *plan, &*shared, report, go) };
    let prepared = match late {
        true => {
            // SAFETY: as above.
            unsafe { last.as_mut() }.late = NonNull::new(plan);
            Ok(())
        }
        // SAFETY: this process has its memory for itself, its stack and all that is used from here on are in
        // the arena, and system calls need no variable of the thread.
        false => at(Step::Memory, unsafe { foreign.unmap() }),
    };
    // SAFETY: this process uses `last` no more, and the child's stack is used by nothing else.
    let made = prepared.and_then(|()| unsafe { make_child(last, end, shared) });
    match (made, go) {
        (Err(failure), _) => fail(REPORT, failure),
        // It waits for the caller.
        (Ok(pid), Some(_)) => tell(REPORT, Failure::made(pid)),
        (Ok(_), None) => {}
    }
    // The caller waits for the end of this pipe, and dying takes longer than all the rest.
    sys::close(REPORT);
    sys::exit(0)
}

/// All that needs the plan: whether it is needed later, too, what the final child reads, and the end of its
/// stack.
fn become_inside(
    plan: &mut Plan<'_>,
    shared: &Shared,
    report: c_int,
    go: Option<c_int>,
) -> (bool, NonNull<Last>, usize) {
    plan.last().waits = go.is_some();
    if let Err(failure) = join(plan, shared).and_then(|stdio| arrange_files(stdio, report, go)) {
        fail(report, failure);
    }
    if !plan.late
        && let Err(failure) = restrict::all(plan)
    {
        fail(REPORT, failure);
    }
    let [_, end] = plan.prepared.stacks;
    (plan.late, plan.prepared.last, end)
}

/// The final child's first function.
///
/// # Safety
/// `last` points to a [`Last`] that nothing else uses any more.
unsafe extern "C" fn enter(last: *mut c_void) -> ! {
    // SAFETY: by contract.
    unsafe { command::run(last.cast::<Last>()) }
}

/// Writes the failure and ends the process.
pub(crate) fn fail(report: c_int, failure: Failure) -> ! {
    tell(report, failure);
    sys::exit(255)
}

fn tell(report: c_int, message: Failure) {
    let _ = sys::write(report, &message.to_bytes());
}

/// Names the step of a failed system call.
pub(crate) fn at<T>(step: Step, result: sys::Result<T>) -> Result<T, Failure> {
    at_nth(step, 0, result)
}

/// The same for one of several.
pub(crate) fn at_nth<T>(step: Step, which: usize, result: sys::Result<T>) -> Result<T, Failure> {
    match result {
        Ok(value) => Ok(value),
        Err(errno) => Err(Failure {
            step,
            errno,
            which: which as u32,
        }),
    }
}

/// Joins the container. Returns the stdio, which may be a terminal of the container.
fn join(plan: &Plan<'_>, shared: &Shared) -> Result<[c_int; 3], Failure> {
    if let Some(mask) = &plan.initial_affinity {
        at(Step::InitialAffinity, sys::setaffinity(mask))?;
    }
    // First of all: what follows is the container's to pay for. "0" is the writing process, which waits for no
    // other as long as it has one thread and writes to `tasks`.
    for join in &plan.places.joins {
        let mut written = sys::write(as_raw(&join.tasks), b"0");
        if let (Err(_), Some(otherwise)) = (written, &join.otherwise) {
            shared.leaf_refused.store(1, Ordering::Release);
            written = sys::write(as_raw(otherwise), b"0");
        }
        at_nth(Step::JoinCgroup, join.which, written)?;
    }
    let procfs = as_raw(plan.container.procfs);
    // Before the process is not dumpable: its files in procfs change owner then.
    if let Some(score) = &plan.oom_score_adj {
        let written = sys::write_file(procfs, c"self/oom_score_adj", score.as_bytes());
        at(Step::OomScoreAdj, written)?;
    }
    labels::set(plan, procfs)?;
    // CVE-2016-9962: a process of the container must not trace this one once it is inside.
    at(Step::NotDumpable, sys::prctl(libc::PR_SET_DUMPABLE, 0, 0))?;
    let pidfd = as_raw(&plan.container.pidfd);
    // The user namespace comes later: the others take the host's privilege.
    let namespaces = plan.container.namespaces & !libc::CLONE_NEWUSER;
    if namespaces != 0 {
        at(Step::JoinNamespaces, sys::setns(pidfd, namespaces))?;
    }
    match &plan.final_affinity {
        Affinity::Kept => {}
        // runc warns where that fails.
        Affinity::All => drop(sys::setaffinity(&schedule::ALL_CPUS)),
        Affinity::Set(mask) => at(Step::FinalAffinity, sys::setaffinity(mask))?,
    }
    // So does raising a limit.
    for (resource, limit) in &plan.limits.raise {
        let raised = sys::setrlimit(*resource, limit);
        at_nth(Step::Rlimit, *resource as usize, raised)?;
    }
    if plan.container.namespaces & libc::CLONE_NEWUSER != 0 {
        let joined = sys::setns(pidfd, libc::CLONE_NEWUSER);
        at(Step::JoinUserNamespace, joined)?;
        at(Step::BecomeRoot, sys::setgid(0))?;
        at(Step::BecomeRoot, sys::setuid(0))?;
        // A change of user makes a process dumpable again where fs.suid_dumpable says so.
        at(Step::NotDumpable, sys::prctl(libc::PR_SET_DUMPABLE, 0, 0))?;
    }
    if let Some(visits) = &plan.places.root {
        view::make_root(visits);
    }
    // As root of the container: the terminal's owner.
    match &plan.terminal {
        Some(terminal) => Ok([terminal::open(terminal, procfs)?; 3]),
        None => Ok(plan.stdio),
    }
}

/// Descriptors 0 to 2, the report pipe and the one it waits at; every other one is closed before there is a process that the
/// container can see: with CAP_SYS_PTRACE it opens what that has through /proc/PID/fd (CVE-2016-9962); and
/// before the first path of the container is used for the command (CVE-2024-21626).
fn arrange_files(stdio: [c_int; 3], report: c_int, go: Option<c_int>) -> Result<(), Failure> {
    for (to, from) in (0..).zip(stdio) {
        at(Step::Stdio, sys::dup3(from, to, 0))?;
    }
    at(Step::Stdio, sys::dup3(report, REPORT, libc::O_CLOEXEC))?;
    let last = match go {
        Some(go) => {
            at(Step::Stdio, sys::dup3(go, GO, libc::O_CLOEXEC))?;
            GO
        }
        None => REPORT,
    };
    // A failure here is still reported: the old descriptor is open then.
    at(Step::CloseFiles, sys::close_from(last.wrapping_add(1)))
}

/// Makes the final child: a second process, since a pid namespace takes in only children.
///
/// # Safety
/// `shared` is mapped. The caller does not use `last` after this, nor anything else the stack that ends at
/// `end`.
unsafe fn make_child(
    last: NonNull<Last>,
    end: usize,
    shared: *const Shared,
) -> Result<libc::pid_t, Failure> {
    // SAFETY: by contract.
    let pid = unsafe { (*shared).pid.as_ptr() };
    let last = last.as_ptr().cast::<c_void>();
    // SAFETY: by contract.
    let made = unsafe { sys::clone_sharing(CLONE_FLAGS, end, pid, enter, last) };
    at(Step::ForkInside, made)
}

pub(crate) fn as_raw(fd: &std::os::fd::OwnedFd) -> c_int {
    std::os::fd::AsRawFd::as_raw_fd(fd)
}
