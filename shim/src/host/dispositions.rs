//! What signals do that this process was started with: whoever starts it may ignore some.

/// Before anything else, in each of the program's roles.
pub fn settle() {
    // SAFETY: signal with a constant, and with a function that does nothing.
    unsafe {
        // Where it is ignored the kernel keeps no child's status for the parent.
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        // A file that reaches the daemon's limit of a file's size is a write that fails, and not the end of the shim.
        // Handled, not ignored: what is ignored stays so in what is executed.
        libc::signal(
            libc::SIGXFSZ,
            on_file_too_large as *const () as libc::sighandler_t,
        );
    }
}

extern "C" fn on_file_too_large(_: libc::c_int) {}
