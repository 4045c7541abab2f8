//! What Rust's library asks of a library that goes up the stack, in a program without the tables for that
//! (`.ci/optimised`): there is nothing above. Neither that library nor what finds the names of a backtrace's functions
//! is linked then, a twentieth of the program.

use std::ffi::{c_int, c_void};
use std::process::abort;

/// The end of the stack is reached.
const END_OF_STACK: c_int = 5;

// SAFETY: nothing else in the program has this name, or the others: what has is only linked where they are missing.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_each: *const c_void, _argument: *mut c_void) -> c_int {
    END_OF_STACK
}

/// What is asked of a frame, of which there is none.
macro_rules! of_a_frame {
    ($($name:ident)*) => {
        $(
            // SAFETY: as above.
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> ! {
                abort()
            }
        )*
    };
}

of_a_frame! {
    _Unwind_DeleteException
    _Unwind_FindEnclosingFunction
    _Unwind_GetCFA
    _Unwind_GetDataRelBase
    _Unwind_GetIP
    _Unwind_GetIPInfo
    _Unwind_GetLanguageSpecificData
    _Unwind_GetRegionStart
    _Unwind_GetTextRelBase
    _Unwind_RaiseException
    _Unwind_Resume
    _Unwind_SetGR
    _Unwind_SetIP
}
