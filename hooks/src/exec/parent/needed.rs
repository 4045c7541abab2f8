//! System calls that the engine cannot do without, and that `runc exec` can.

use std::io;
use std::ptr;
use std::sync::OnceLock;

use libc::{c_int, c_long};

use crate::exec::Error;
use crate::linux::limit::may_be_filter;

/// Which of them are refused, by a filter of system calls around this process or by the kernel.
struct Refused {
    any: Option<&'static str>,
    on_terminal: Option<&'static str>,
}

/// # Errors
/// [`Error::Unsupported`] where one of them is refused.
pub(super) fn check(on_terminal: bool) -> Result<(), Error> {
    static REFUSED: OnceLock<Refused> = OnceLock::new();
    let refused = REFUSED.get_or_init(ask);
    let call = refused.any.or(refused.on_terminal.filter(|_| on_terminal));
    match call {
        None => Ok(()),
        Some(call) => Err(Error::Unsupported(format!("{call} is refused"))),
    }
}

/// Calls each of them with what does nothing.
fn ask() -> Refused {
    let (none, nothing) = (ptr::null::<u8>(), 0 as c_long);
    // SAFETY: a structure without a size is not looked at, and no descriptor has so great a number.
    unsafe {
        let last = c_long::from(u32::MAX);
        let clone3 = libc::syscall(libc::SYS_clone3, none, nothing);
        let clone3 = refused("clone3", clone3);
        let close_range = libc::syscall(libc::SYS_close_range, last, last, nothing);
        let close_range = refused("close_range", close_range);
        let cwd = c_int::from(libc::AT_FDCWD);
        let openat2 = libc::syscall(libc::SYS_openat2, cwd, none, none, nothing);
        Refused {
            any: clone3.or(close_range),
            on_terminal: refused("openat2", openat2),
        }
    }
}

/// The name of a call that has just returned this, where it was refused.
fn refused(name: &'static str, returned: c_long) -> Option<&'static str> {
    (returned < 0 && may_be_filter(&io::Error::last_os_error())).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_has_them_all_is_seen_to() {
        let Refused { any, on_terminal } = ask();
        assert_eq!((any, on_terminal), (None, None));
    }
}
