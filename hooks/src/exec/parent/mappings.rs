//! What the first child unmaps before it makes the final one: the copy of the caller's memory, in which are
//! its environment and what it knows of other containers. A container with CAP_SYS_PTRACE in the host's
//! user namespace may read the memory of a joining process.
//!
//! What stays is the program itself and its libraries, with their variables, and what is told to stay.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use crate::exec::Error;
use crate::exec::plan::arena::Arena;
use crate::exec::plan::sys;

/// First address and the one behind the last.
pub(crate) type Range = (usize, usize);

/// All that is to be unmapped, in the arena.
#[derive(Clone, Copy)]
pub(crate) struct Foreign {
    holes: &'static [Range],
    /// Pages to be emptied only: the kernel writes there when it schedules the process (rseq(2)).
    emptied: Option<Range>,
}

impl Foreign {
    /// Everything but the program, the arena and `kept`.
    pub fn new(arena: &mut Arena, kept: Range) -> Result<Self, Error> {
        let mut stay = objects();
        stay.extend([arena.range(), kept].map(pages));
        let emptied = rseq().map(pages);
        stay.extend(emptied);
        stay.sort_unstable();
        let mut holes = Vec::with_capacity(stay.len() + 1);
        let mut at = 0;
        for (start, end) in stay {
            if start > at {
                holes.push((at, start));
            }
            at = at.max(end);
        }
        let top = top()?;
        if top > at {
            holes.push((at, top));
        }
        Ok(Self {
            holes: arena.copy(&holes)?,
            emptied,
        })
    }

    /// Unmaps it. RULE: as in `intermediate`.
    ///
    /// # Safety
    /// The process has this memory for itself, runs on a stack that stays, and uses nothing else of what
    /// goes: no variable of its thread either.
    pub unsafe fn unmap(&self) -> sys::Result<()> {
        if let Some((start, end)) = self.emptied {
            // SAFETY: by contract.
            unsafe { sys::empty(start, end.wrapping_sub(start))? };
        }
        for &(start, end) in self.holes {
            // SAFETY: by contract.
            unsafe { sys::unmap(start, end.wrapping_sub(start))? };
        }
        Ok(())
    }
}

fn page() -> usize {
    // SAFETY: no pointers.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// The whole pages that a range is on.
fn pages((start, end): Range) -> Range {
    let page = page();
    (
        start.checked_div(page).unwrap_or_default() * page,
        end.next_multiple_of(page),
    )
}

/// The segments of the program and its libraries.
fn objects() -> Vec<Range> {
    unsafe extern "C" fn add(
        object: *mut libc::dl_phdr_info,
        _: usize,
        found: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader passes a valid object, the caller below its vector.
        let (object, found) = unsafe { (&*object, &mut *found.cast::<Vec<Range>>()) };
        for index in 0..usize::from(object.dlpi_phnum) {
            // SAFETY: there are that many headers.
            let header = unsafe { &*object.dlpi_phdr.add(index) };
            if header.p_type == libc::PT_LOAD {
                let start = (object.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
                found.push(pages((start, start.wrapping_add(header.p_memsz as usize))));
            }
        }
        0
    }
    let mut found: Vec<Range> = Vec::with_capacity(64);
    // SAFETY: the callback gets the vector back and nothing keeps it.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut found).cast()) };
    found
}

/// The end of the main thread's stack, above which the kernel maps nothing of the program's: the program's
/// name is the last thing there, behind arguments and environment.
fn top() -> Result<usize, Error> {
    // SAFETY: no pointers.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const libc::c_char;
    if name.is_null() {
        return Err(Error::Unsupported("no AT_EXECFN".into()));
    }
    // SAFETY: the kernel's string, which stays as long as the process.
    let length = unsafe { libc::strlen(name) };
    Ok(pages((0, (name as usize) + length + 1 + size_of::<usize>())).1)
}

/// Where the C library has registered the calling thread's `struct rseq`.
fn rseq() -> Option<Range> {
    /// glibc's `__rseq_offset`, from the thread pointer; `None` where there is none.
    static OFFSET: OnceLock<Option<isize>> = OnceLock::new();
    /// More than the structure has in any Linux.
    const SIZE: usize = 256;
    let offset = (*OFFSET.get_or_init(|| {
        // SAFETY: a C string; the symbol, where there is one, is an initialised `ptrdiff_t`.
        unsafe {
            let symbol = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr());
            symbol.cast::<isize>().as_ref().copied()
        }
    }))?;
    let start = sys::thread_pointer().wrapping_add_signed(offset);
    Some((start, start.wrapping_add(SIZE)))
}
