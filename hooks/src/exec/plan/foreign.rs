//! What the joiner unmaps before it makes the command: the copy of the parent's memory, in which are its environment
//! and what it knows of other containers. A container with CAP_SYS_PTRACE in the host's user namespace may read the
//! memory of a joining process.

/// First address and the one behind the last.
pub(crate) type Range = (usize, usize);

/// All that is to be unmapped, in the arena.
#[derive(Clone, Copy)]
pub(crate) struct Foreign {
    pub holes: &'static [Range],
    /// Pages to be emptied only: the kernel writes there when it schedules the process (rseq(2)).
    pub emptied: Option<Range>,
}
