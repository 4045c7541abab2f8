//! Which namespaces of a container differ from this process's own.

use std::os::linux::fs::MetadataExt;
use std::path::PathBuf;

use libc::c_int;

use crate::exec::Error;

const KINDS: [(&str, c_int); 7] = [
    ("mnt", libc::CLONE_NEWNS),
    ("net", libc::CLONE_NEWNET),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("pid", libc::CLONE_NEWPID),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("user", libc::CLONE_NEWUSER),
];

/// The namespaces to join, as a mask of `CLONE_NEW…`.
///
/// Equal ones must be left out: joining one's own user namespace is EINVAL and fails the whole setns(2).
pub(crate) fn differing(pid: libc::pid_t) -> Result<c_int, Error> {
    let mut mask = 0;
    for (name, flag) in KINDS {
        if differs(pid, name)?.unwrap_or(false) {
            mask |= flag;
        }
    }
    Ok(mask)
}

/// Whether the container has a time namespace of its own: its clock offsets take effect only by a fork
/// in a single-threaded process, which is left to the runtime.
pub(crate) fn has_time_namespace(pid: libc::pid_t) -> Result<bool, Error> {
    Ok(differs(pid, "time")?.unwrap_or(false))
}

/// Device and inode of the pid namespace that `pid` is in; `None` where there is no such process.
pub(crate) fn pid_namespace(pid: libc::pid_t) -> Result<Option<(u64, u64)>, Error> {
    inode(&pid.to_string(), "pid")
}

/// `None` where the kernel has no such namespace.
fn differs(pid: libc::pid_t, name: &str) -> Result<Option<bool>, Error> {
    let Some(own) = inode("self", name)? else {
        return Ok(None);
    };
    Ok(Some(Some(own) != inode(&pid.to_string(), name)?))
}

/// `None` where there is no such process or namespace.
fn inode(process: &str, name: &str) -> Result<Option<(u64, u64)>, Error> {
    let path = PathBuf::from(format!("/proc/{process}/ns/{name}"));
    match std::fs::metadata(&path) {
        Ok(metadata) => Ok(Some((metadata.st_dev(), metadata.st_ino()))),
        // ESRCH: it was reaped meanwhile.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        Err(source) => Err(Error::File {
            operation: "stat",
            path,
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_differs_from_itself_in_nothing() {
        let pid = std::process::id() as libc::pid_t;
        assert_eq!(differing(pid).unwrap(), 0);
        assert!(!has_time_namespace(pid).unwrap());
    }
}
