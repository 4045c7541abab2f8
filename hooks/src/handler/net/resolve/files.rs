//! The container's own files, read from outside of it.
//!
//! To be called in a thread of its own: a file system that the container serves itself need never answer.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use crate::linux::limit::Asked;

/// How often a path is walked that is renamed meanwhile.
const ATTEMPTS: usize = 16;

/// The first `limit` bytes of a file below `root`, whose links lead nowhere else. What is no regular file, or of
/// procfs, is as if it were empty, like a file that is missing: opening a device or a fifo can have effects, and
/// procfs shows who looks.
pub(super) fn read(root: BorrowedFd<'_>, path: &str, limit: u64) -> io::Result<String> {
    let found = match find(root, path) {
        Ok(found) => found,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES) => {
            return Ok(String::new());
        }
        Err(e) => return Err(Asked::Call("openat2").explain(e.into())),
    };
    let kind = SFlag::from_bits_truncate(fstat(&found)?.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFREG || fstatfs(&found)?.filesystem_type() == PROC_SUPER_MAGIC {
        return Ok(String::new());
    }
    // The file that was looked at, and no other of its name.
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = File::from(open(path.as_str(), flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The file without opening it.
fn find(root: BorrowedFd<'_>, path: &str) -> nix::Result<OwnedFd> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let mut result = Err(Errno::EAGAIN);
    for _ in 0..ATTEMPTS {
        result = openat2(root.as_fd(), path, how);
        if result.as_ref().err() != Some(&Errno::EAGAIN) {
            break;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use nix::unistd::mkfifo;

    use super::*;

    fn read_in(root: &Path, path: &str) -> String {
        let root = File::open(root).unwrap();
        read(root.as_fd(), path, 16).unwrap()
    }

    #[test]
    fn a_link_leads_to_nothing_outside_of_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("etc/real")).unwrap();
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        std::fs::write(root.join("etc/real/hosts"), "inside").unwrap();
        symlink("../../secret", root.join("etc/up")).unwrap();
        symlink(dir.path().join("secret"), root.join("etc/absolute")).unwrap();
        symlink("/etc/real/hosts", root.join("etc/own")).unwrap();
        symlink("loop", root.join("etc/loop")).unwrap();
        symlink("/proc/self/environ", root.join("etc/environment")).unwrap();
        assert_eq!(
            read_in(&root, "etc/own"),
            "inside",
            "absolute links are the container's"
        );
        for path in [
            "etc/up",
            "etc/absolute",
            "etc/loop",
            "etc/environment",
            "etc/none",
            "etc/real/hosts/x",
        ] {
            assert_eq!(read_in(&root, path), "", "{path}");
        }
    }

    #[test]
    fn what_is_no_file_is_neither_waited_for_nor_opened() {
        let dir = tempfile::tempdir().unwrap();
        mkfifo(&dir.path().join("fifo"), Mode::S_IRWXU).unwrap();
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        assert_eq!(read_in(dir.path(), "fifo"), "");
        assert_eq!(read_in(dir.path(), "folder"), "");
        assert_eq!(read_in(Path::new("/"), "dev/zero"), "");
        assert_eq!(read_in(Path::new("/"), "proc/version"), "");
    }

    #[test]
    fn a_large_file_is_read_to_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hosts"), [b'x'; 1000]).unwrap();
        assert_eq!(read_in(dir.path(), "hosts"), "x".repeat(16));
    }
}
