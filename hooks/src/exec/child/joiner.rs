//! The joiner: joins the container from the outside, takes on what the command may do, and makes the command.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use super::{command, labels, memory, restrict, terminal, view};
use crate::exec::plan::command::Command;
use crate::exec::plan::entry::{ALL_CPUS, Affinity, CommandFiles, Entry};
use crate::exec::plan::report::{Failure, GO, REPORT, Step, at, at_nth, fail, tell};
use crate::exec::plan::{CLONE_FLAGS, Plan, Shared, sys};

/// Runs the joiner to its end.
///
/// # Safety
/// `plan` points to a [`Plan`] whose references are valid. Only in a new process with its own copy of the memory, on a
/// stack in the plan's arena; `shared` is the page shared with the parent. Never unwinds: `extern "C"` turns a panic,
/// should there be one, into an abort.
pub(in crate::exec) unsafe extern "C" fn run(plan: *mut c_void) -> ! {
    // SAFETY: by contract.
    let plan = unsafe { &*plan.cast::<Plan<'static>>() };
    // What is used after the parent's memory has gone is copied to this stack.
    let (foreign, go, shared) = (plan.foreign, plan.go, plan.shared);
    let (mut command, command_stack) = (plan.command, plan.command_stack);
    // SAFETY: by contract both are valid in this copy of the memory, and nothing else uses them.
    unsafe { become_inside(plan, command.as_mut(), shared.as_ref()) };
    let prepared = match plan.late {
        true => {
            // SAFETY: as above.
            unsafe { command.as_mut() }.late = Some(NonNull::from(&plan.rights));
            Ok(())
        }
        // SAFETY: this process has its memory for itself, its stack and all that is used from here on are in
        // the arena, and system calls need no variable of the thread.
        false => at(Step::Memory, unsafe { memory::unmap(&foreign) }),
    };
    // SAFETY: this process uses `command` no more, and the command's stack is used by nothing else.
    let made = prepared.and_then(|()| unsafe { make_command(command, command_stack, shared) });
    match (made, go) {
        (Err(failure), _) => fail(REPORT, failure),
        // It waits for the parent.
        (Ok(pid), Some(_)) => tell(REPORT, Failure::made(pid)),
        (Ok(_), None) => {}
    }
    // The parent waits for the end of this pipe, and dying takes longer than all the rest.
    sys::close(REPORT);
    sys::exit(0)
}

/// All that needs the plan.
fn become_inside(plan: &Plan<'_>, command: &mut Command, shared: &Shared) {
    command.waits = plan.go.is_some();
    let joined = join(&plan.entry, shared);
    if let Err(failure) = joined.and_then(|stdio| arrange_files(stdio, plan.report, plan.go)) {
        fail(plan.report, failure);
    }
    if !plan.late
        && let Err(failure) = restrict::all(&plan.rights, command)
    {
        fail(REPORT, failure);
    }
}

/// The command's first function.
///
/// # Safety
/// `command` points to a [`Command`] that nothing else uses any more.
unsafe extern "C" fn enter(command: *mut c_void) -> ! {
    // SAFETY: by contract.
    unsafe { command::run(command.cast::<Command>()) }
}

/// Joins the container. Returns the stdio, which may be a terminal of the container.
fn join(entry: &Entry<'_>, shared: &Shared) -> Result<[c_int; 3], Failure> {
    if let Some(mask) = entry.initial_affinity {
        at(Step::InitialAffinity, sys::setaffinity(mask))?;
    }
    // First of all: what follows is the container's to pay for. "0" is the writing process, which waits for no
    // other as long as it has one thread and writes to `tasks`.
    for join in entry.joins {
        let mut written = sys::write(join.tasks, b"0");
        if let (Err(_), Some(otherwise)) = (written, join.otherwise) {
            shared.leaf_refused.store(1, Ordering::Release);
            written = sys::write(otherwise, b"0");
        }
        at_nth(Step::JoinCgroup, join.which, written)?;
    }
    // Before the process is not dumpable: its files in procfs change owner then.
    if let Some(score) = entry.oom_score_adj {
        let written = sys::write_file(entry.procfs, c"self/oom_score_adj", score.as_bytes());
        at(Step::OomScoreAdj, written)?;
    }
    labels::set(entry)?;
    // CVE-2016-9962: a process of the container must not trace this one once it is inside.
    at(Step::NotDumpable, sys::prctl(libc::PR_SET_DUMPABLE, 0, 0))?;
    // The user namespace comes later: the others take the host's privilege.
    let namespaces = entry.namespaces & !libc::CLONE_NEWUSER;
    if namespaces != 0 {
        at(Step::JoinNamespaces, sys::setns(entry.init, namespaces))?;
    }
    match entry.final_affinity {
        Affinity::Kept => {}
        // runc warns where that fails.
        Affinity::All => drop(sys::setaffinity(&ALL_CPUS)),
        Affinity::Set(mask) => at(Step::FinalAffinity, sys::setaffinity(mask))?,
    }
    // So does raising a limit.
    for (resource, limit) in entry.raised_limits {
        let raised = sys::setrlimit(*resource, limit);
        at_nth(Step::Rlimit, *resource as usize, raised)?;
    }
    if entry.namespaces & libc::CLONE_NEWUSER != 0 {
        let joined = sys::setns(entry.init, libc::CLONE_NEWUSER);
        at(Step::JoinUserNamespace, joined)?;
        at(Step::BecomeRoot, sys::setgid(0))?;
        at(Step::BecomeRoot, sys::setuid(0))?;
        // A change of user makes a process dumpable again where fs.suid_dumpable says so.
        at(Step::NotDumpable, sys::prctl(libc::PR_SET_DUMPABLE, 0, 0))?;
    }
    if let Some(visits) = entry.root {
        view::make_root(visits);
    }
    // As root of the container: the terminal's owner.
    match &entry.stdio {
        CommandFiles::Given(files) => Ok(*files),
        CommandFiles::Terminal(terminal) => Ok([terminal::open(terminal, entry.procfs)?; 3]),
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

/// Makes the command: a second process, since a pid namespace takes in only children.
///
/// # Safety
/// `shared` is mapped. The caller does not use `command` after this, nor anything else the stack that ends at
/// `end`.
unsafe fn make_command(
    command: NonNull<Command>,
    end: usize,
    shared: NonNull<Shared>,
) -> Result<libc::pid_t, Failure> {
    // SAFETY: by contract.
    let pid = unsafe { shared.as_ref() }.pid.as_ptr();
    let command = command.as_ptr().cast::<c_void>();
    // SAFETY: by contract.
    let made = unsafe { sys::clone_sharing(CLONE_FLAGS, end, pid, enter, command) };
    at(Step::ForkInside, made)
}
