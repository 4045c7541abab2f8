//! The C library's words for an errno, where they are not glibc's: musl calls what everybody knows as "Too many open files" "No
//! file descriptors available". Rust's standard library has an error's words from here, so that every program says the same.

use std::ffi::{c_char, c_int};
use std::slice;

use super::errno;

/// strerror_r(3) by the name that the standard library calls: this is found before musl's own.
///
/// # Safety
/// `buffer` has `size` bytes.
#[cfg_attr(target_env = "musl", unsafe(no_mangle))]
unsafe extern "C" fn __xpg_strerror_r(number: c_int, buffer: *mut c_char, size: usize) -> c_int {
    if size == 0 {
        return libc::ERANGE;
    }
    // SAFETY: as the caller says.
    let buffer = unsafe { slice::from_raw_parts_mut(buffer.cast::<u8>(), size) };
    fill(buffer, errno::sentence(number).as_bytes())
}

/// As much of the text as there is room for, and a zero.
fn fill(buffer: &mut [u8], text: &[u8]) -> c_int {
    let room = buffer.len().saturating_sub(1);
    let fitting = text.get(..room).unwrap_or(text);
    let all = fitting.iter().copied().chain([0]);
    for (to, from) in buffer.iter_mut().zip(all) {
        *to = from;
    }
    match fitting.len() == text.len() {
        true => 0,
        false => libc::ERANGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(number: c_int, size: usize) -> (c_int, Vec<u8>) {
        let mut buffer = vec![b'-'; size];
        // SAFETY: of that size.
        let returned = unsafe { __xpg_strerror_r(number, buffer.as_mut_ptr().cast(), size) };
        (returned, buffer)
    }

    #[test]
    fn the_text_is_cut_to_the_buffer_and_ends_with_a_zero() {
        assert_eq!(
            words(libc::EBADF, 20),
            (0, b"Bad file descriptor\0".to_vec())
        );
        assert_eq!(
            words(libc::EBADF, 22),
            (0, b"Bad file descriptor\0--".to_vec())
        );
        assert_eq!(words(libc::EBADF, 4), (libc::ERANGE, b"Bad\0".to_vec()));
        assert_eq!(words(libc::EBADF, 1), (libc::ERANGE, b"\0".to_vec()));
        assert_eq!(words(libc::EBADF, 0), (libc::ERANGE, Vec::new()));
        assert_eq!(words(0, 18).1, b"Success\0----------".to_vec());
        assert_eq!(words(524, 18), (0, b"Unknown error 524\0".to_vec()));
    }
}
