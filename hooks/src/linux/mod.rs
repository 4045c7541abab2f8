//! What several modules, here and in the shim, ask of the kernel.

pub mod pidfd;
