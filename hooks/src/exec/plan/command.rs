//! What the final child reads: all of it in an arena, and nothing of the shim's memory beside it.

use std::ffi::{CStr, CString, c_char, c_int, c_ulong};
use std::ptr::NonNull;

use super::arena::Arena;
use crate::exec::Error;
use crate::exec::child::home;
use crate::exec::parent::build::Plan;
use crate::exec::parent::process;
use crate::exec::seccomp::Filter;

/// Several times what either child needs, without optimisation too.
pub(crate) const STACK: usize = 64 * 1024;

/// Where execve looks for the command, see [`process::Lookup`].
pub(crate) enum Lookup {
    Path(&'static CStr),
    Search(&'static [(&'static CStr, bool)]),
}

/// The final child's part of a plan. Its references are into the arena that it is in itself.
pub(crate) struct Last {
    pub terminal: bool,
    /// The caller moves the final child to the container's cgroups, and it waits for that.
    pub waits: bool,
    /// The final child takes on user and restrictions itself, by the plan, and so with all of the shim's
    /// memory; set by the first child.
    pub late: Option<NonNull<Plan<'static>>>,
    pub cwd: &'static CStr,
    /// Why the first child could not enter `cwd`; 0 where it could.
    pub cwd_errno: c_int,
    /// The profile that is taken on last, just before execve.
    pub seccomp: Option<(c_ulong, &'static [libc::sock_filter])>,
    pub lookup: Lookup,
    pub argv: &'static [*const c_char],
    pub envp: &'static mut [*const c_char],
    /// Which of `envp` is HOME and still to be found; and where its text goes.
    pub home: Option<usize>,
    pub home_text: [u8; home::CAPACITY],
}

/// What goes into one.
pub(crate) struct Parts<'a> {
    pub terminal: bool,
    pub cwd: &'a CStr,
    pub seccomp: Option<&'a Filter>,
    pub lookup: &'a process::Lookup,
    pub argv: &'a [CString],
    pub envp: &'a [CString],
    pub home: Option<usize>,
}

impl Parts<'_> {
    /// Bytes that the copies take, generously.
    fn size(&self) -> usize {
        let string = |text: &CString| text.as_bytes().len() + size_of::<(&CStr, bool)>() + 1;
        let searched = match self.lookup {
            process::Lookup::Path(path) => string(path),
            process::Lookup::Search(places) => places.iter().map(|(path, _)| string(path)).sum(),
        };
        let filter = self.seccomp.map_or(0, |filter| filter.program.len() * 8);
        self.argv.iter().chain(self.envp).map(string).sum::<usize>()
            + searched
            + filter
            + self.cwd.count_bytes()
            + size_of::<Last>()
            + 4096
    }
}

/// An arena with the final child's part of a plan, and room for the stacks of both children.
pub(crate) struct Prepared {
    pub arena: Arena,
    pub last: NonNull<Last>,
    /// Ends of the stacks of the first child and of the final one.
    pub stacks: [usize; 2],
}

// SAFETY: it owns the arena that all of it is in; the pointer to the plan is set by the first child alone.
unsafe impl Send for Prepared {}

impl Prepared {
    pub fn new(parts: &Parts<'_>) -> Result<Self, Error> {
        // Room for the caller's list of mappings, too.
        let mut arena = Arena::new(2 * STACK + parts.size() + 64 * 1024)?;
        // From the front: what grows beyond a stack's start hits the mapping's end, or the other stack.
        let mut stack = || Ok(arena.room::<u128>(STACK / 16)? as usize + STACK);
        let stacks = [stack()?, stack()?];
        let last = Last {
            terminal: parts.terminal,
            waits: false,
            late: None,
            cwd: arena.string(parts.cwd)?,
            cwd_errno: 0,
            seccomp: match parts.seccomp {
                Some(filter) => Some((filter.flags, arena.copy(&filter.program)?)),
                None => None,
            },
            lookup: match parts.lookup {
                process::Lookup::Path(path) => Lookup::Path(arena.string(path)?),
                process::Lookup::Search(places) => {
                    let copies: Vec<_> = places
                        .iter()
                        .map(|(path, absolute)| Ok((arena.string(path)?, *absolute)))
                        .collect::<Result<_, Error>>()?;
                    Lookup::Search(arena.copy(&copies)?)
                }
            },
            argv: arena.strings(parts.argv.iter().map(CString::as_c_str))?,
            envp: arena.strings(parts.envp.iter().map(CString::as_c_str))?,
            home: parts.home,
            home_text: [0; home::CAPACITY],
        };
        let place = arena.room::<Last>(1)?;
        // SAFETY: `room` gave that much, aligned, to nobody else.
        unsafe { place.write(last) };
        Ok(Self {
            last: NonNull::new(place).ok_or_else(|| Error::system("mmap"))?,
            arena,
            stacks,
        })
    }
}
