//! The numbers of the holder's system calls, and what the kernel calls the architecture in a filter (`AUDIT_ARCH_*`).
//!
//! Without a library there is nothing to take them from. `shim/tests/syscalls.rs` compares them with libseccomp's, for both
//! architectures wherever it runs.

#![allow(dead_code, reason = "a program has one architecture")]

pub mod x86_64 {
    pub const AUDIT: u32 = 0xc000_003e;
    pub const WRITE: usize = 1;
    pub const CLOSE: usize = 3;
    pub const SIGPROCMASK: usize = 14;
    pub const WAIT4: usize = 61;
    pub const SIGTIMEDWAIT: usize = 128;
    pub const PRCTL: usize = 157;
    pub const EXIT_GROUP: usize = 231;
    pub const SECCOMP: usize = 317;
}

pub mod aarch64 {
    pub const AUDIT: u32 = 0xc000_00b7;
    pub const WRITE: usize = 64;
    pub const CLOSE: usize = 57;
    pub const SIGPROCMASK: usize = 135;
    pub const WAIT4: usize = 260;
    pub const SIGTIMEDWAIT: usize = 137;
    pub const PRCTL: usize = 167;
    pub const EXIT_GROUP: usize = 94;
    pub const SECCOMP: usize = 277;
}
