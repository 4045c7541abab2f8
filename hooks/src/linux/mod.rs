//! What several modules, here and in the shim, ask of the kernel: one home for each question, on rustix where it has the
//! call.
//!
//! Nothing here may be used between fork and execve: that is `exec/plan/sys.rs`.

pub mod cgroup;
pub mod errno;
pub mod file;
pub mod limit;
#[allow(unsafe_code)]
pub mod mount;
pub mod mountinfo;
#[allow(unsafe_code)]
pub mod pidfd;
pub mod process;
#[allow(unsafe_code)]
pub mod watch;
#[cfg(any(test, target_env = "musl"))]
#[allow(unsafe_code)]
mod words;
