//! What a process inherits from whoever forks it, as the runtime would pass it on.
//!
//! A daemon can be started with anything: `CPUAffinity=`, `UMask=` and limits of its unit, signals that a
//! `nohup` ignores. Most of it goes on to every process of a container, with the runtime as with the engine,
//! by fork and execve alone. This is the rest: what runtimes change, and what a shim may have changed for itself.
//!
//! `runc create` leaves behind an init that has not run any code of the container yet: what it has is
//! what the runtime gives to every process of the container, so that is what an exec gets.

use std::ffi::c_ulong;

use crate::exec::settings::rlimit;
use crate::exec::settings::rlimit::Limits;

/// Taken from the container's init before it is started.
#[derive(Debug, Clone)]
pub(crate) struct Inherited {
    pub limits: Limits,
    /// Nanoseconds.
    pub timer_slack: Option<c_ulong>,
    pub thp_disabled: bool,
    pub signals: Signals,
    /// The runtime gives every process all CPUs of the container's cpuset, whatever its caller has.
    pub all_cpus: bool,
    pub runtime: Family,
}

/// Sets of signals: signal n is bit n - 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Signals {
    pub ignored: u64,
    pub blocked: u64,
}

/// Runtimes that treat a process alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// runc, and youki, which follows it.
    Runc,
    Crun,
}

impl Family {
    /// By the name of an init that waits for `start`: `runc:[2:INIT]`. crun's has the program's name.
    fn of(init: &str) -> Self {
        match init.trim_end().ends_with(":[2:INIT]") {
            true => Self::Runc,
            false => Self::Crun,
        }
    }

    /// The umask of a process whose container says none; else it is the caller's.
    pub fn umask(self) -> Option<u32> {
        match self {
            Self::Runc => None,
            Self::Crun => Some(0o022),
        }
    }
}

impl Inherited {
    pub fn of(pid: libc::pid_t) -> Self {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
        let status = read("status").unwrap_or_default();
        Self {
            limits: rlimit::of(pid),
            timer_slack: read("timerslack_ns")
                .ok()
                .and_then(|text| text.trim().parse().ok()),
            thp_disabled: field(&status, "THP_enabled:") == Some("0"),
            signals: match Signals::of(&status) {
                // As nearly always.
                none @ Signals {
                    ignored: 0,
                    blocked: 0,
                } => none,
                init => {
                    let own = std::fs::read_to_string("/proc/thread-self/status");
                    init.passed_on(Signals::of(&own.unwrap_or_default()))
                }
            },
            all_cpus: has_more(affinity(pid), affinity(0)),
            runtime: Family::of(&read("comm").unwrap_or_default()),
        }
    }
}

impl Signals {
    fn of(status: &str) -> Self {
        let set = |name| {
            field(status, name)
                .and_then(|set| u64::from_str_radix(set, 16).ok())
                .unwrap_or_default()
        };
        Self {
            ignored: set("SigIgn:"),
            blocked: set("SigBlk:"),
        }
    }

    /// What the runtime passes on for certain: what its init has, if it has that from its caller. Both can be
    /// the init's own: an init that goes on from a checkpoint, a thread of runc's amid making another one.
    fn passed_on(self, own: Self) -> Self {
        /// runc 1.3 leaves these ignored or not, by chance: it depends on which of two threads is first. Older
        /// ones, and crun, never do.
        const BY_CHANCE: [i32; 6] = [
            libc::SIGHUP,
            libc::SIGINT,
            libc::SIGCONT,
            libc::SIGTSTP,
            libc::SIGTTIN,
            libc::SIGTTOU,
        ];
        // Rust ignores SIGPIPE: that is not the caller's.
        let not = BY_CHANCE
            .iter()
            .chain([&libc::SIGPIPE])
            .fold(0u64, |set, signal| set | 1 << (signal - 1));
        Self {
            ignored: self.ignored & own.ignored & !not,
            blocked: self.blocked & own.blocked,
        }
    }
}

/// A line of /proc/PID/status.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// A set of CPUs.
type Cpus = [u64; crate::exec::settings::schedule::MAX_CPU / 64];

/// The CPUs that `pid` may run on, 0 for the calling thread; none where the kernel does not say.
fn affinity(pid: libc::pid_t) -> Cpus {
    let mut cpus: Cpus = [0; _];
    // SAFETY: the kernel writes at most as many bytes as it is told.
    unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            pid,
            size_of_val(&cpus),
            cpus.as_mut_ptr(),
        )
    };
    cpus
}

/// An init that may run where its caller may not.
fn has_more(init: Cpus, own: Cpus) -> bool {
    init.iter().zip(own).any(|(init, own)| init & !own != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_is_known_by_the_name_of_its_init() {
        assert_eq!(Family::of("runc:[2:INIT]\n"), Family::Runc);
        assert_eq!(Family::of("youki:[2:INIT]\n"), Family::Runc);
        assert_eq!(Family::of("crun\n"), Family::Crun);
    }

    #[test]
    fn signals_are_passed_on_if_they_are_the_callers_and_not_left_to_chance() {
        let bit = |signal: i32| 1u64 << (signal - 1);
        let own = Signals {
            ignored: !0,
            blocked: bit(libc::SIGUSR1),
        };
        let init = Signals {
            ignored: bit(libc::SIGHUP) | bit(libc::SIGTTIN) | bit(libc::SIGPIPE) | bit(34),
            blocked: !0,
        };
        let passed = Signals {
            ignored: bit(34),
            blocked: bit(libc::SIGUSR1),
        };
        assert_eq!(init.passed_on(own), passed);
        assert_eq!(init.passed_on(Signals::default()), Signals::default());
    }

    #[test]
    fn a_status_without_these_lines_has_no_signals() {
        let status = "Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000280000000\n";
        let signals = Signals::of(status);
        assert_eq!((signals.ignored, signals.blocked), (0x2_8000_0000, 1));
        assert_eq!(Signals::of(""), Signals::default());
    }

    #[test]
    fn more_cpus_are_those_that_the_caller_lacks() {
        let cpus = |word: u64| {
            let mut cpus: Cpus = [0; _];
            cpus[1] = word;
            cpus
        };
        assert!(has_more(cpus(0b11), cpus(0b01)));
        assert!(!has_more(cpus(0b01), cpus(0b11)));
        assert!(!has_more(cpus(0b11), cpus(0b11)));
    }
}
