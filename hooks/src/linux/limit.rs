//! Errors that sound like a full disk or like the limit of descriptors, and are another limit of the kernel's, or of a filter
//! of system calls: which one, in words. An errno does not tell them apart; what was asked for does.

use std::borrow::Cow;
use std::ffi::c_int;
use std::io;

/// The namespaces that are made, and how the kernel calls them.
pub const NAMESPACES: [(c_int, &str); 5] = [
    (libc::CLONE_NEWUSER, "user"),
    (libc::CLONE_NEWIPC, "ipc"),
    (libc::CLONE_NEWUTS, "uts"),
    (libc::CLONE_NEWNS, "mnt"),
    (libc::CLONE_NEWPID, "pid"),
];

const FILTER: &str = "a filter of system calls refuses it, such as SystemCallFilter= of";

/// What the kernel was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A new namespace of this kind.
    Namespace(&'static str),
    /// A new namespace, of a kind that is not known.
    SomeNamespace,
    /// A mount that needs no disk.
    Mount,
    /// A mount that may need one.
    DiskMount,
    NewCgroup,
    /// That a process moves to a cgroup.
    CgroupMove,
    /// That the event loop watches a descriptor.
    Watch,
    Inotify,
    /// A keyring.
    Key,
    Terminal,
    /// A process, for a user that may be no user of the node's own.
    Fork,
    /// That such a user's process executes a program.
    Execute,
    /// This system call, which a filter may refuse.
    Call(&'static str),
}

/// Whether a system call may have failed because a filter refuses it, or the kernel does not have it.
pub fn may_be_filter(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM))
}

impl Asked {
    /// The limit that this error is about, if it is.
    pub fn limit(self, errno: c_int) -> Option<Cow<'static, str>> {
        let no_disk = |limit: &str| Some(format!("not a full disk: the limit is {limit}").into());
        match (self, errno) {
            // 32 within one another are a limit, too: EUSERS until Linux 4.8.
            (Self::Namespace(kind), libc::ENOSPC) => {
                no_disk(&format!("the sysctl user.max_{kind}_namespaces"))
            }
            (Self::SomeNamespace, libc::ENOSPC) => {
                no_disk("one of the sysctls user.max_…_namespaces")
            }
            (Self::Mount, libc::ENOSPC) => no_disk("the sysctl fs.mount-max"),
            (Self::DiskMount, libc::ENOSPC) => {
                Some("if no disk is full, the limit is the sysctl fs.mount-max".into())
            }
            (Self::NewCgroup, libc::ENOSPC) => {
                no_disk("65535 cgroups with the memory controller on one node")
            }
            (Self::NewCgroup, libc::EAGAIN) => {
                Some("cgroup.max.descendants or cgroup.max.depth of a cgroup above it".into())
            }
            (Self::CgroupMove, libc::ENOSPC) => Some(
                "not a full disk: cpuset.cpus or cpuset.mems of the cgroup is empty, or has nothing that is online"
                    .into(),
            ),
            (Self::Watch, libc::ENOSPC) => no_disk("the sysctl fs.epoll.max_user_watches"),
            (Self::Inotify, libc::ENOSPC) => no_disk("the sysctl fs.inotify.max_user_watches"),
            (Self::Inotify, libc::EMFILE) => Some(
                "where descriptors are free, the limit is the sysctl fs.inotify.max_user_instances"
                    .into(),
            ),
            (Self::Key, libc::EDQUOT) => no_disk(
                "the sysctls kernel.keys.maxkeys and kernel.keys.maxbytes, for root root_maxkeys and root_maxbytes",
            ),
            (Self::Terminal, libc::ENOSPC) => {
                no_disk("the sysctl kernel.pty.max, or max= of the container's devpts")
            }
            (Self::Fork, libc::EAGAIN) => {
                let limit = processes_of_user()?;
                Some(format!("if no pids.max of a cgroup is reached, the limit is RLIMIT_NPROC, which is {limit}").into())
            }
            (Self::Execute, libc::EAGAIN) => {
                Some(format!("the limit is RLIMIT_NPROC, which is {}", processes_of_user()?).into())
            }
            (Self::Call(name), libc::ENOSYS) => Some(
                format!("{name}: this kernel does not have it, or {FILTER} containerd's unit").into(),
            ),
            (Self::Call(name), libc::EPERM) => Some(
                format!("{name}: where containerd has the right to it, {FILTER} its unit").into(),
            ),
            _ => None,
        }
    }

    /// The error with its limit, for `map_err`.
    pub fn explain(self, error: io::Error) -> io::Error {
        let limit = error.raw_os_error().and_then(|errno| self.limit(errno));
        match limit {
            Some(limit) => io::Error::new(
                error.kind(),
                Limited {
                    source: error,
                    limit,
                },
            ),
            None => error,
        }
    }
}

/// How many processes a user of this process may have, where that is limited.
fn processes_of_user() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nproc).current
}

/// An error of the kernel's with the limit that it comes from.
#[derive(Debug, thiserror::Error)]
#[error("{source} ({limit})")]
struct Limited {
    source: io::Error,
    limit: Cow<'static, str>,
}

/// The kernel's error, where `error` is one that was explained.
pub(super) fn explained(error: &io::Error) -> Option<(&io::Error, &str)> {
    let limited = error.get_ref()?.downcast_ref::<Limited>()?;
    Some((&limited.source, &limited.limit))
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn says(asked: Asked, errno: c_int, words: &str) {
        let error = asked.explain(io::Error::from_raw_os_error(errno));
        let kernels = io::Error::from_raw_os_error(errno);
        assert_eq!(error.to_string(), format!("{kernels} ({words})"));
        assert_eq!(error.kind(), kernels.kind());
        // What asks for the errno of a chain of errors finds it.
        let source = error.source().and_then(|e| e.downcast_ref::<io::Error>());
        assert_eq!(source.and_then(io::Error::raw_os_error), Some(errno));
        let text = super::super::errno::text(&error);
        assert_eq!(
            text,
            format!("{} ({words})", super::super::errno::name(errno))
        );
    }

    #[test]
    fn what_is_no_full_disk_says_which_limit_it_is() {
        use Asked::*;
        for (asked, errno, words) in [
            (
                Namespace("ipc"),
                libc::ENOSPC,
                "not a full disk: the limit is the sysctl user.max_ipc_namespaces",
            ),
            (
                SomeNamespace,
                libc::ENOSPC,
                "not a full disk: the limit is one of the sysctls user.max_…_namespaces",
            ),
            (
                Mount,
                libc::ENOSPC,
                "not a full disk: the limit is the sysctl fs.mount-max",
            ),
            (
                DiskMount,
                libc::ENOSPC,
                "if no disk is full, the limit is the sysctl fs.mount-max",
            ),
            (
                NewCgroup,
                libc::ENOSPC,
                "not a full disk: the limit is 65535 cgroups with the memory controller on one node",
            ),
            (
                NewCgroup,
                libc::EAGAIN,
                "cgroup.max.descendants or cgroup.max.depth of a cgroup above it",
            ),
            (
                CgroupMove,
                libc::ENOSPC,
                "not a full disk: cpuset.cpus or cpuset.mems of the cgroup is empty, or has nothing that is online",
            ),
            (
                Watch,
                libc::ENOSPC,
                "not a full disk: the limit is the sysctl fs.epoll.max_user_watches",
            ),
            (
                Inotify,
                libc::ENOSPC,
                "not a full disk: the limit is the sysctl fs.inotify.max_user_watches",
            ),
            (
                Inotify,
                libc::EMFILE,
                "where descriptors are free, the limit is the sysctl fs.inotify.max_user_instances",
            ),
            (
                Key,
                libc::EDQUOT,
                "not a full disk: the limit is the sysctls kernel.keys.maxkeys and kernel.keys.maxbytes, for root \
                 root_maxkeys and root_maxbytes",
            ),
            (
                Call("pidfd_open"),
                libc::ENOSYS,
                "pidfd_open: this kernel does not have it, or a filter of system calls refuses it, such as SystemCallFilter= of containerd's unit",
            ),
            (
                Call("setns"),
                libc::EPERM,
                "setns: where containerd has the right to it, a filter of system calls refuses it, such as SystemCallFilter= of its unit",
            ),
            (
                Terminal,
                libc::ENOSPC,
                "not a full disk: the limit is the sysctl kernel.pty.max, or max= of the container's devpts",
            ),
        ] {
            says(asked, errno, words);
        }
    }

    #[test]
    fn every_other_error_is_as_it_was() {
        for asked in [Asked::Mount, Asked::CgroupMove, Asked::Namespace("pid")] {
            let error = asked.explain(io::Error::from_raw_os_error(libc::EPERM));
            assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        }
        let error = Asked::Mount.explain(io::Error::other("no space left on device"));
        assert_eq!(error.to_string(), "no space left on device");
    }

    #[test]
    fn every_sysctl_that_is_named_is_one_of_the_kernels() {
        let of_namespaces = NAMESPACES.map(|(_, kind)| format!("user/max_{kind}_namespaces"));
        let others = [
            "fs/mount-max",
            "fs/epoll/max_user_watches",
            "fs/inotify/max_user_watches",
            "fs/inotify/max_user_instances",
            "kernel/pty/max",
        ];
        let others = others.map(str::to_owned);
        for name in of_namespaces.iter().chain(&others) {
            assert!(
                std::path::Path::new("/proc/sys").join(name).exists(),
                "{name}"
            );
        }
    }
}
