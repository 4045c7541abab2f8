//! What the command may do: user, capabilities, limits, seccomp profile.

use std::ffi::{CStr, c_int, c_ulong};

use super::entry::Limit;

/// What is taken on before execve, by the joiner or, where that cannot be, by the command.
pub(crate) struct Rights<'a> {
    pub signals: Signals,
    /// The session keyring to join, `_ses.ID` as runc names it.
    pub keyring: Option<&'a CStr>,
    pub no_new_privileges: bool,
    pub umask: Option<u32>,
    pub scheduler: Option<&'a libc::sched_attr>,
    pub io_priority: Option<c_int>,
    pub personality: Option<c_ulong>,
    /// Nanoseconds.
    pub timer_slack: Option<c_ulong>,
    pub thp_disabled: bool,
    pub limits: &'a [Limit],
    pub seccomp: Option<Filter<'a>>,
    pub uid: u32,
    pub gid: u32,
    pub groups: &'a [u32],
    /// setgroups(2) is forbidden in the container's user namespace.
    pub setgroups_denied: bool,
    pub capabilities: Sets,
    /// The highest that the kernel knows.
    pub last_capability: u32,
}

/// Sets of signals: signal n is bit n - 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Signals {
    pub ignored: u64,
    pub blocked: u64,
}

/// The five sets of capabilities as bit masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sets {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

/// A seccomp profile: flags of seccomp(2) and the program.
#[derive(Clone, Copy)]
pub(crate) struct Filter<'a> {
    pub flags: c_ulong,
    pub program: &'a [libc::sock_filter],
}
