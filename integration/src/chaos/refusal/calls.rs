//! Which system calls can fail, and with what.

/// A descriptor is made.
const DESCRIPTOR: &[&str] = &["EMFILE", "ENFILE", "ENOMEM"];
/// A name is looked up or changed.
const NAME: &[&str] = &["ENOMEM", "ENOSPC", "EROFS", "EIO"];
const MEMORY: &[&str] = &["ENOMEM"];

/// What Linux answers with where something is used up, read-only, broken, interrupted or not there. What is not in the list cannot
/// fail so (getpid, close_range of what is open), or has no effect that is anybody's (madvise). A stream that says EAGAIN is one
/// that is told of when it can go on; without that the reader waits for ever, as it must: no EAGAIN for these. From `connect` that is
/// the answer of a listener whose queue is full, and so of one that lives. What receives into its own buffer takes no memory. `brk`
/// is left out: it fails by an answer that is no error, the end of the heap as it was, and glibc takes an errno for that end.
pub const ERRORS: &[(&str, &[&str])] = &[
    ("accept4", &["EMFILE", "ENFILE", "ENOMEM", "EINTR"]),
    ("bind", &["ENOMEM", "ENOSPC", "EROFS", "EIO"]),
    ("chdir", &["ENOMEM", "EIO"]),
    ("chmod", NAME),
    ("chown", NAME),
    ("clone", &["EAGAIN", "ENOMEM"]),
    ("clone3", &["EAGAIN", "ENOMEM", "ENOSYS"]),
    ("connect", &["ENOMEM", "EINTR"]),
    ("dup", &["EMFILE"]),
    ("dup2", &["EMFILE", "EINTR"]),
    ("dup3", &["EMFILE", "EINTR"]),
    ("epoll_create1", DESCRIPTOR),
    ("epoll_ctl", &["ENOMEM", "ENOSPC"]),
    ("epoll_wait", &["EINTR"]),
    ("eventfd2", DESCRIPTOR),
    ("faccessat", &["ENOMEM", "EIO"]),
    ("faccessat2", &["ENOMEM", "EIO", "ENOSYS"]),
    ("fallocate", &["ENOSPC", "EINTR", "EIO"]),
    ("fchdir", &["EIO"]),
    ("fchmod", NAME),
    ("fchmodat", NAME),
    ("fchown", NAME),
    ("fchownat", NAME),
    ("fcntl", &["EMFILE", "ENOMEM", "EINTR"]),
    ("flock", &["EINTR", "ENOMEM"]),
    ("fork", &["EAGAIN", "ENOMEM"]),
    ("fsconfig", &["ENOMEM", "EIO", "ENOSYS"]),
    ("fsmount", &["EMFILE", "ENOMEM", "ENOSYS"]),
    ("fsopen", &["EMFILE", "ENOMEM", "ENOSYS"]),
    ("fstat", &["ENOMEM", "EIO"]),
    ("fsync", &["EIO", "ENOSPC"]),
    ("ftruncate", &["EIO", "ENOSPC", "EINTR"]),
    ("getcwd", MEMORY),
    ("getdents64", &["EIO", "ENOMEM"]),
    ("getrandom", &["EINTR", "ENOSYS"]),
    ("getsockopt", &["ENOMEM"]),
    ("getxattr", &["ENOMEM", "EIO"]),
    ("inotify_add_watch", &["ENOMEM", "ENOSPC"]),
    ("inotify_init1", DESCRIPTOR),
    ("ioctl", &["EIO", "ENOMEM", "EINTR"]),
    ("keyctl", &["ENOMEM", "ENOSYS"]),
    ("kill", &["ENOMEM"]),
    ("linkat", NAME),
    ("listen", &["ENOMEM"]),
    ("lseek", &["EIO"]),
    ("lstat", &["ENOMEM", "EIO"]),
    ("memfd_create", DESCRIPTOR),
    ("mkdir", NAME),
    ("mkdirat", NAME),
    ("mknod", NAME),
    ("mknodat", NAME),
    ("mmap", MEMORY),
    ("mount", &["ENOMEM", "EIO"]),
    ("mount_setattr", &["ENOMEM", "ENOSYS"]),
    ("move_mount", &["ENOMEM", "ENOSYS"]),
    ("mprotect", MEMORY),
    ("mremap", MEMORY),
    ("name_to_handle_at", &["ENOMEM", "EIO"]),
    ("newfstatat", &["ENOMEM", "EIO"]),
    ("open_tree", &["EMFILE", "ENOMEM", "ENOSYS"]),
    (
        "openat",
        &[
            "EMFILE", "ENFILE", "ENOMEM", "ENOSPC", "EROFS", "EIO", "EINTR",
        ],
    ),
    (
        "openat2",
        &["EMFILE", "ENFILE", "ENOMEM", "EIO", "ENOSYS", "EAGAIN"],
    ),
    ("pidfd_getfd", DESCRIPTOR),
    ("pidfd_open", &["EMFILE", "ENFILE", "ENOMEM", "ENOSYS"]),
    ("pidfd_send_signal", &["ENOSYS", "ENOMEM"]),
    ("pipe2", DESCRIPTOR),
    ("poll", &["EINTR", "ENOMEM"]),
    ("ppoll", &["EINTR", "ENOMEM"]),
    ("prctl", &["ENOMEM"]),
    ("pread64", &["EIO", "EINTR"]),
    ("prlimit64", &["ENOSYS"]),
    ("pwrite64", &["EIO", "ENOSPC", "EINTR"]),
    ("read", &["EIO", "EINTR"]),
    ("readlink", &["ENOMEM", "EIO"]),
    ("readlinkat", &["ENOMEM", "EIO"]),
    ("recvfrom", &["EINTR"]),
    ("recvmsg", &["ENOMEM", "EINTR"]),
    ("rename", NAME),
    ("renameat", NAME),
    ("renameat2", &["ENOMEM", "ENOSPC", "EROFS", "EIO", "ENOSYS"]),
    ("rmdir", &["ENOMEM", "EROFS", "EIO"]),
    ("sched_getaffinity", &["ENOSYS"]),
    ("sched_setaffinity", &["ENOSYS"]),
    ("sendmsg", &["ENOMEM", "EINTR"]),
    ("sendto", &["ENOMEM", "EINTR"]),
    ("setns", &["ENOMEM", "ENOSPC"]),
    ("setsid", &["EPERM"]),
    ("setsockopt", MEMORY),
    ("socket", DESCRIPTOR),
    ("socketpair", DESCRIPTOR),
    ("splice", &["ENOMEM", "EIO", "EINTR"]),
    ("statfs", &["ENOMEM", "EIO", "EINTR"]),
    ("statx", &["ENOMEM", "EIO", "ENOSYS"]),
    ("symlink", NAME),
    ("symlinkat", NAME),
    ("tee", &["ENOMEM"]),
    ("timerfd_create", DESCRIPTOR),
    ("umount2", &["ENOMEM", "EIO"]),
    ("unlink", &["ENOMEM", "EROFS", "EIO"]),
    ("unlinkat", &["ENOMEM", "EROFS", "EIO"]),
    ("unshare", &["ENOMEM", "ENOSPC"]),
    ("vfork", &["EAGAIN", "ENOMEM"]),
    ("wait4", &["EINTR"]),
    ("waitid", &["EINTR"]),
    ("write", &["EIO", "ENOSPC", "EINTR"]),
    ("writev", &["EIO", "ENOSPC", "EINTR"]),
];

/// The errors of a call; none for one that is not made to fail.
#[must_use]
pub fn errors(call: &str) -> &'static [&'static str] {
    let found = ERRORS.iter().find(|(name, _)| *name == call);
    found.map_or(&[], |(_, errors)| *errors)
}

/// Whether the shim may end: its allocator gets nothing, and it cannot go on.
#[must_use]
pub(super) fn may_end_the_shim(call: &str) -> bool {
    matches!(call, "mmap" | "mremap" | "mprotect")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_stands_once_and_has_errors() {
        for (place, (call, errors)) in ERRORS.iter().enumerate() {
            assert!(!errors.is_empty(), "{call}");
            let after = ERRORS.get(place + 1..).unwrap_or_default();
            assert!(after.iter().all(|(other, _)| other > call), "{call}");
        }
    }

    #[test]
    fn what_is_not_in_the_list_is_not_made_to_fail() {
        assert_eq!(errors("mkdir"), ["ENOMEM", "ENOSPC", "EROFS", "EIO"]);
        assert!(errors("getpid").is_empty());
    }
}
