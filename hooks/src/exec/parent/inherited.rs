//! What a process inherits from whoever forks it, as the runtime would pass it on.
//!
//! A daemon can be started with anything: `CPUAffinity=`, `UMask=` and limits of its unit, signals that a
//! `nohup` ignores. Most of it goes on to every process of a container, with the runtime as with the engine,
//! by fork and execve alone. This is the rest: what runtimes change, and what a shim may have changed for itself.
//!
//! `runc create` leaves behind an init that has not run any code of the container yet: what it has is
//! what the runtime gives to every process of the container, so that is what an exec gets.

use std::ffi::c_ulong;

use crate::exec::plan::entry::MAX_CPU;
use crate::exec::plan::rights::{Sets, Signals};
use crate::exec::settings::rlimit::{self, Limits};
use crate::linux::process::status_field;

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
    /// What a process has for which nothing is said of capabilities: none with runc 1.1 and crun, the caller's with
    /// later runcs.
    pub capabilities: Sets,
    pub runtime: Family,
}

/// Runtimes that treat a process alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// runc 1.1, and youki, which follows it.
    OldRunc,
    /// runc since 1.2.
    Runc,
    Crun,
}

impl Family {
    /// By the name of an init that waits for `start`, `runc:[2:INIT]` (crun's has the program's name), and by what
    /// runc tells it in its environment: of a pipe to synchronise with since 1.2.
    fn of(init: &str, environment: &[u8]) -> Self {
        if !init.trim_end().ends_with(":[2:INIT]") {
            return Self::Crun;
        }
        let new = environment
            .split(|&byte| byte == 0)
            .any(|entry| entry.starts_with(b"_LIBCONTAINER_SYNCPIPE="));
        match new {
            true => Self::Runc,
            false => Self::OldRunc,
        }
    }

    pub fn is_crun(self) -> bool {
        self == Self::Crun
    }

    /// The status of a process whose program is found and cannot be executed. crun says so before there is one.
    pub fn unexecuted(self) -> Option<i32> {
        match self {
            Self::OldRunc => Some(1),
            Self::Runc => Some(255),
            Self::Crun => None,
        }
    }

    /// The umask of a process whose container says none; else it is the caller's.
    pub fn umask(self) -> Option<u32> {
        self.is_crun().then_some(0o022)
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
            thp_disabled: status_field(&status, "THP_enabled") == Some("0"),
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
            capabilities: Sets::of(&status),
            runtime: Family::of(
                &read("comm").unwrap_or_default(),
                &std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default(),
            ),
        }
    }
}

/// A mask of /proc/PID/status; empty where it has none of that name.
fn mask(status: &str, name: &str) -> u64 {
    status_field(status, name)
        .and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .unwrap_or_default()
}

impl Sets {
    fn of(status: &str) -> Self {
        Self {
            bounding: mask(status, "CapBnd"),
            effective: mask(status, "CapEff"),
            permitted: mask(status, "CapPrm"),
            inheritable: mask(status, "CapInh"),
            ambient: mask(status, "CapAmb"),
        }
    }
}

impl Signals {
    fn of(status: &str) -> Self {
        Self {
            ignored: mask(status, "SigIgn"),
            blocked: mask(status, "SigBlk"),
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
            .fold(0u64, |set, signal| set | bit(*signal));
        Self {
            ignored: self.ignored & own.ignored & !not,
            blocked: self.blocked & own.blocked,
        }
    }
}

/// A set of CPUs.
type Cpus = [u64; MAX_CPU / 64];

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

/// A signal's place in a mask of signals.
fn bit(signal: i32) -> u64 {
    let place = signal
        .checked_sub(1)
        .and_then(|place| u32::try_from(place).ok());
    place
        .and_then(|place| 1u64.checked_shl(place))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_is_known_by_the_name_of_its_init() {
        let old = b"GOMAXPROCS=2\0_LIBCONTAINER_INITPIPE=3\0";
        let new = b"GOMAXPROCS=2\0_LIBCONTAINER_SYNCPIPE=4\0";
        assert_eq!(Family::of("runc:[2:INIT]\n", old), Family::OldRunc);
        assert_eq!(Family::of("runc:[2:INIT]\n", new), Family::Runc);
        assert_eq!(Family::of("youki:[2:INIT]\n", b""), Family::OldRunc);
        assert_eq!(Family::of("crun\n", new), Family::Crun);
    }

    #[test]
    fn capabilities_are_those_of_the_status() {
        let status = "CapInh:\t0000000000000001\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000000002\n\
                      CapBnd:\t000001fffeffffff\nCapAmb:\t0000000000000004\n";
        let sets = Sets {
            bounding: 0x1ff_feff_ffff,
            effective: 2,
            permitted: 0x1ff_ffff_ffff,
            inheritable: 1,
            ambient: 4,
        };
        assert_eq!(Sets::of(status), sets);
        assert_eq!(Sets::of(""), Sets::default());
    }

    #[test]
    fn signals_are_passed_on_if_they_are_the_callers_and_not_left_to_chance() {
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
