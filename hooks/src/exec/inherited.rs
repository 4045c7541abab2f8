//! What a process inherits from whoever forks it, and a shim may have changed for itself.
//!
//! `runc create` leaves behind an init that has not run any code of the container yet: what it has is
//! what the runtime gives to every process of the container, so that is what an exec gets.

use std::ffi::c_ulong;

use super::rlimit::{self, Limits};

/// Taken from the container's init before it is started.
#[derive(Debug, Clone)]
pub(super) struct Inherited {
    pub limits: Limits,
    /// Nanoseconds.
    pub timer_slack: Option<c_ulong>,
    pub thp_disabled: bool,
    /// Signal n is ignored: bit n - 1.
    pub ignored_signals: u64,
}

impl Inherited {
    pub fn of(pid: libc::pid_t) -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
        let status = read("status").unwrap_or_default();
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        Self {
            limits: rlimit::of(pid),
            timer_slack: read("timerslack_ns")
                .ok()
                .and_then(|text| text.trim().parse().ok()),
            thp_disabled: field("THP_enabled:") == Some("0"),
            ignored_signals: field("SigIgn:")
                .and_then(|mask| u64::from_str_radix(mask, 16).ok())
                .unwrap_or_default(),
        }
    }
}
