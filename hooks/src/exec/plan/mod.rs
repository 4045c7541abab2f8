//! What the parent prepares and the joiner and the command read: numbers, descriptors and references, nothing that
//! owns anything.
//!
//! Imports nothing of the other folders, so that what the child can reach is what is here.

#[allow(unsafe_code)]
pub mod arena;
pub mod command;
pub mod entry;
pub mod foreign;
#[allow(unsafe_code)]
pub mod report;
pub mod rights;
#[allow(unsafe_code)]
pub mod sys;

use std::ffi::c_int;
use std::ptr::NonNull;
use std::sync::atomic::AtomicI32;

use command::Command;
use entry::Entry;
use foreign::Foreign;
use rights::Rights;

/// Descriptors of the engine stay clear of those that the joiner rearranges.
pub(crate) const FIRST_FREE_FD: c_int = 10;

/// Several times what the joiner or the command needs, without optimisation too.
pub(crate) const STACK: usize = 64 * 1024;

/// How the joiner makes the command. CLONE_PARENT, so that it is the parent's to wait for. It shares the joiner's
/// memory instead of copying it once more, and nothing but that: the joiner has only its end before it.
pub(crate) const CLONE_FLAGS: c_int =
    libc::CLONE_VM | libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID;

/// What the joiner starts with.
pub(crate) struct Plan<'a> {
    pub entry: Entry<'a>,
    pub rights: Rights<'a>,
    /// The command takes on `rights` itself: what is asked for does not survive a fork, or forbids it.
    pub late: bool,
    /// What the command reads; in the arena.
    pub command: NonNull<Command>,
    /// End of the command's stack; in the arena.
    pub command_stack: usize,
    /// The parent's memory, which is unmapped before there is a command.
    pub foreign: Foreign,
    /// Where failures go, see [`report`].
    pub report: c_int,
    /// Where the command waits until the parent has moved it, if it has to.
    pub go: Option<c_int>,
    pub shared: NonNull<Shared>,
}

/// A page shared with the parent. The kernel writes the pid as part of the clone, before the command runs: whatever
/// happens to the joiner then, the parent knows its grandchild.
#[repr(C)]
pub(crate) struct Shared {
    /// The command's pid, 0 while there is none.
    pub pid: AtomicI32,
    /// Not 0 where the joiner is beside the tree's leaf, which did not take it.
    pub leaf_refused: AtomicI32,
}
