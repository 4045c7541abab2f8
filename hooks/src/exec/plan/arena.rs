//! Memory for what the command reads: one mapping that holds nothing else.

use std::ffi::{CStr, c_char};
use std::io;
use std::ptr::NonNull;

/// Why something has no place in the arena.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the process's arguments and environment are too large")]
    Full,
    #[error("mmap: {0}")]
    Mmap(#[source] io::Error),
}

/// Pages of its own, given out from the front, never taken back before all of it.
#[derive(Debug)]
pub(crate) struct Arena {
    start: NonNull<u8>,
    size: usize,
    used: usize,
}

// SAFETY: it owns its memory.
unsafe impl Send for Arena {}

impl Arena {
    /// With room for `size` bytes. Only what is used costs memory.
    pub fn new(size: usize) -> Result<Self, Error> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new anonymous mapping.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), size, access, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(Error::Mmap(io::Error::last_os_error()));
        }
        let start = NonNull::new(start.cast()).ok_or(Error::Full)?;
        Ok(Self {
            start,
            size,
            used: 0,
        })
    }

    /// First address and the one behind the last.
    pub fn range(&self) -> (usize, usize) {
        let start = self.start.as_ptr() as usize;
        (start, start.saturating_add(self.size))
    }

    /// Room for `count` values, zeroed: for types of which that is a value.
    pub fn room<T>(&mut self, count: usize) -> Result<*mut T, Error> {
        let start = self.used.next_multiple_of(align_of::<T>());
        let size = size_of::<T>().checked_mul(count);
        let end = size.and_then(|size| start.checked_add(size));
        let end = end.filter(|&end| end <= self.size).ok_or(Error::Full)?;
        self.used = end;
        // SAFETY: `start` is within the mapping, by the check of `end`.
        Ok(unsafe { self.start.as_ptr().add(start) }.cast())
    }

    /// A copy of plain values. It lives as long as the arena, which the caller sees to.
    pub fn copy<T: Copy>(&mut self, values: &[T]) -> Result<&'static [T], Error> {
        let place = self.room::<T>(values.len())?;
        // SAFETY: `room` gave that much, aligned, to nobody else.
        unsafe {
            std::ptr::copy_nonoverlapping(values.as_ptr(), place, values.len());
            Ok(std::slice::from_raw_parts(place, values.len()))
        }
    }

    /// A copy of a string, with its NUL. As for `copy`.
    pub fn string(&mut self, text: &CStr) -> Result<&'static CStr, Error> {
        let bytes = self.copy(text.to_bytes_with_nul())?;
        // SAFETY: a copy of one.
        Ok(unsafe { CStr::from_bytes_with_nul_unchecked(bytes) })
    }

    /// Copies of strings, and the array of pointers to them that ends in null. As for `copy`.
    pub fn strings<'a>(
        &mut self,
        strings: impl ExactSizeIterator<Item = &'a CStr>,
    ) -> Result<&'static mut [*const c_char], Error> {
        let count = strings.len().saturating_add(1);
        let pointers = self.room::<*const c_char>(count)?;
        // SAFETY: `room` gave that much, aligned, to nobody else; null is all zeroes.
        let pointers = unsafe { std::slice::from_raw_parts_mut(pointers, count) };
        for (place, string) in pointers.iter_mut().zip(strings) {
            *place = self.string(string)?.as_ptr();
        }
        Ok(pointers)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this size; by contract no reference into it is left.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.size) };
    }
}
