//! Which of the parent's mappings the joiner unmaps: all but the program itself and its libraries, with their
//! variables, and what is told to stay.

use std::ffi::{c_int, c_void};

use crate::exec::Error;
use crate::exec::plan::arena::Arena;
use crate::exec::plan::foreign::{Foreign, Range};
use crate::exec::plan::sys;

/// Everything but the program, the arena and `kept`. The list is put into the arena.
pub(crate) fn foreign(arena: &mut Arena, kept: Range) -> Result<Foreign, Error> {
    let mut stay = objects();
    stay.extend([arena.range(), kept].map(pages));
    let emptied = rseq().map(pages);
    stay.extend(emptied);
    stay.sort_unstable();
    let mut holes = Vec::with_capacity(stay.len().saturating_add(1));
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
    Ok(Foreign {
        holes: arena.copy(&holes)?,
        emptied,
    })
}

fn page() -> usize {
    // SAFETY: no pointers.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// The whole pages that a range is on.
fn pages((start, end): Range) -> Range {
    let page = page();
    (
        start
            .checked_div(page)
            .map_or(0, |pages| pages.saturating_mul(page)),
        end.checked_next_multiple_of(page).unwrap_or(end),
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
    // The NUL, and a word of zeroes.
    let end = (name as usize)
        .saturating_add(length)
        .saturating_add(1)
        .saturating_add(size_of::<usize>());
    Ok(pages((0, end)).1)
}

/// Where the C library has registered the calling thread's `struct rseq`.
fn rseq() -> Option<Range> {
    /// More than the structure has in any Linux.
    const SIZE: usize = 256;
    let offset = rseq_offset()?;
    let start = sys::thread_pointer().wrapping_add_signed(offset);
    Some((start, start.wrapping_add(SIZE)))
}

/// glibc's `__rseq_offset`, from the thread pointer. A static program is linked with a C library that has it.
#[cfg(all(target_feature = "crt-static", target_env = "gnu"))]
fn rseq_offset() -> Option<isize> {
    unsafe extern "C" {
        static __rseq_offset: isize;
    }
    // SAFETY: an initialised `ptrdiff_t`, which does not change.
    Some(unsafe { __rseq_offset })
}

/// glibc's `__rseq_offset`, from the thread pointer; `None` where the C library has none.
#[cfg(not(all(target_feature = "crt-static", target_env = "gnu")))]
fn rseq_offset() -> Option<isize> {
    static OFFSET: std::sync::OnceLock<Option<isize>> = std::sync::OnceLock::new();
    *OFFSET.get_or_init(|| {
        // SAFETY: a C string; the symbol, where there is one, is an initialised `ptrdiff_t`.
        unsafe {
            let symbol = libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr());
            symbol.cast::<isize>().as_ref().copied()
        }
    })
}
