//! The command's part of a plan, packed into an arena.

use std::ffi::{CStr, CString};
use std::ptr::NonNull;

use super::process;
use crate::exec::Error;
use crate::exec::plan::STACK;
use crate::exec::plan::arena::{self, Arena};
use crate::exec::plan::command::{Command, HOME_CAPACITY, Lookup};
use crate::exec::plan::rights::Filter;

/// What goes into it.
pub(crate) struct Parts<'a> {
    pub terminal: bool,
    pub cwd: &'a CStr,
    pub seccomp: Option<Filter<'a>>,
    pub lookup: &'a process::Lookup,
    pub argv: &'a [CString],
    pub envp: &'a [CString],
    pub home: Option<usize>,
    /// See [`Command::unexecuted`].
    pub unexecuted: Option<i32>,
}

impl Parts<'_> {
    /// Bytes that the copies take, generously.
    fn size(&self) -> usize {
        let string = |text: &CString| {
            let with_nul = text.as_bytes_with_nul().len();
            with_nul.saturating_add(size_of::<(&CStr, bool)>())
        };
        let searched = match self.lookup {
            process::Lookup::Path(path) => string(path),
            process::Lookup::Search(places) => places.iter().map(|(path, _)| string(path)).sum(),
        };
        let filter = self
            .seccomp
            .map_or(0, |filter| filter.program.len().saturating_mul(8));
        let strings = self.argv.iter().chain(self.envp).map(string);
        strings
            .chain([searched, filter, self.cwd.count_bytes(), 4096])
            .fold(size_of::<Command>(), usize::saturating_add)
    }
}

/// An arena with the command's part of a plan, and room for the stacks of the joiner and of the command.
pub(crate) struct Packed {
    pub arena: Arena,
    pub command: NonNull<Command>,
    /// Ends of the two stacks.
    pub joiner_stack: usize,
    pub command_stack: usize,
}

// SAFETY: it owns the arena that all of it is in; the pointer to the rights is set by the joiner alone.
unsafe impl Send for Packed {}

impl Packed {
    pub fn new(parts: &Parts<'_>) -> Result<Self, Error> {
        // Room for the parent's list of mappings, too.
        let mut arena = Arena::new(parts.size().saturating_add(2 * STACK + 64 * 1024))?;
        // From the front: what grows beyond a stack's start hits the mapping's end, or the other stack.
        let joiner_stack = stack(&mut arena)?;
        let command_stack = stack(&mut arena)?;
        let command = Command {
            terminal: parts.terminal,
            waits: false,
            late: None,
            cwd: arena.string(parts.cwd)?,
            cwd_errno: 0,
            seccomp: match parts.seccomp {
                Some(Filter { flags, program }) => Some(Filter {
                    flags,
                    program: arena.copy(program)?,
                }),
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
            unexecuted: parts.unexecuted,
            home: parts.home,
            home_text: [0; HOME_CAPACITY],
        };
        let place = arena.room::<Command>(1)?;
        // SAFETY: `room` gave that much, aligned, to nobody else.
        unsafe { place.write(command) };
        Ok(Self {
            command: NonNull::new(place).ok_or(arena::Error::Full)?,
            arena,
            joiner_stack,
            command_stack,
        })
    }
}

/// The end of a stack.
fn stack(arena: &mut Arena) -> Result<usize, Error> {
    let start = arena.room::<u128>(STACK / 16)? as usize;
    Ok(start.saturating_add(STACK))
}
