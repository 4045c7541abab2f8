//! What several modules, here and in the shim, ask of the kernel: one home for each question, on rustix where it has the
//! call.
//!
//! Nothing here may be used between fork and execve: that is `exec/plan/sys.rs`.

pub mod cgroup;
pub mod errno;
pub mod file;
pub mod mount;
pub mod mountinfo;
pub mod pidfd;
pub mod process;
pub mod watch;
