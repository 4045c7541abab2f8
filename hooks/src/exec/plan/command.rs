//! What the command reads: all of it in the arena, and nothing of the parent's memory beside it.

use std::ffi::{CStr, c_char, c_int};
use std::ptr::NonNull;

use super::rights::{Filter, Rights};

/// Room for `HOME=` and a path, ending in NUL.
pub(crate) const HOME_CAPACITY: usize = 5 + libc::PATH_MAX as usize + 1;

/// The command's part of a plan. Its references are into the arena that it is in itself.
pub(crate) struct Command {
    pub terminal: bool,
    /// The parent moves the command to the container's cgroups, and it waits for that.
    pub waits: bool,
    /// What the command takes on itself, with all of the parent's memory still mapped; set by the joiner.
    pub late: Option<NonNull<Rights<'static>>>,
    pub cwd: &'static CStr,
    /// Why the joiner could not enter `cwd`; 0 where it could.
    pub cwd_errno: c_int,
    /// The profile that is taken on last, just before execve.
    pub seccomp: Option<Filter<'static>>,
    pub lookup: Lookup,
    /// The status with which it ends where execve fails, once it has said why on its standard error. None: that is reported,
    /// and there never was a process.
    pub unexecuted: Option<c_int>,
    pub argv: &'static [*const c_char],
    pub envp: &'static mut [*const c_char],
    /// Which of `envp` is HOME and still to be found; and where its text goes.
    pub home: Option<usize>,
    pub home_text: [u8; HOME_CAPACITY],
}

/// Where execve looks for the command, in order.
pub(crate) enum Lookup {
    /// This file and no other.
    Path(&'static CStr),
    /// The first of these that can be executed. `false`: the directory is relative, and what is found there is
    /// refused.
    Search(&'static [(&'static CStr, bool)]),
}
