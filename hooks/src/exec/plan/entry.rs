//! How the joiner gets into the container.

use std::ffi::c_int;
use std::os::fd::RawFd;

/// As many CPUs as a list may name; the kernel's limit is 8192.
pub(crate) const MAX_CPU: usize = 8192;

/// All that there are: the kernel leaves out what is not in the process's cpuset.
pub(crate) static ALL_CPUS: [u64; MAX_CPU / 64] = [u64::MAX; _];

/// The C library's type for the number of a limit.
#[cfg(target_env = "musl")]
pub(crate) type Resource = c_int;
#[cfg(not(target_env = "musl"))]
pub(crate) type Resource = std::ffi::c_uint;

pub(crate) type Limit = (Resource, libc::rlimit64);

/// What it takes to join, in about this order.
pub(crate) struct Entry<'a> {
    pub initial_affinity: Option<&'a [u64]>,
    pub joins: &'a [Join],
    /// The host's procfs.
    pub procfs: RawFd,
    pub oom_score_adj: Option<&'a str>,
    pub key_label: Option<&'a str>,
    pub exec_label: Option<&'a str>,
    /// What is written for AppArmor.
    pub apparmor: Option<&'a str>,
    /// A pidfd of the container's init.
    pub init: RawFd,
    /// Those of its namespaces that are joined, as `CLONE_NEW…`.
    pub namespaces: c_int,
    pub final_affinity: Affinity<'a>,
    /// Hard limits that are raised while there is the host's privilege.
    pub raised_limits: &'a [Limit],
    /// Where the joiner must have been to see the leaf as its root cgroup; none where it sees the container's.
    pub root: Option<&'a [Visit]>,
    pub stdio: CommandFiles,
}

/// A v1 hierarchy that the joiner joins by writing to `tasks`.
pub(crate) struct Join {
    /// Its number among the container's.
    pub which: usize,
    pub tasks: RawFd,
    /// The container's own, where `tasks` is the leaf's.
    pub otherwise: Option<RawFd>,
}

/// A cgroup that the joiner is in for the moment in which it makes its cgroup namespace: a namespace is rooted at the
/// cgroups of its maker. Both are files that take the writing process.
pub(crate) struct Visit {
    pub there: RawFd,
    pub back: RawFd,
}

/// The CPUs of a process that has joined the container's cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affinity<'a> {
    /// Those that the parent has.
    Kept,
    /// All of the cpuset.
    All,
    Set(&'a [u64]),
}

/// The three files of the command.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CommandFiles {
    Given([RawFd; 3]),
    Terminal(Terminal),
}

/// A terminal that the joiner opens in the container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    /// Takes the master.
    pub socket: RawFd,
    pub size: Option<libc::winsize>,
}
