//! The shim's own binary, out of reach of the containers (CVE-2019-5736).
//!
//! A process that joins a container is a fork of the server until execve: there /proc/PID/exe is the
//! host's shim, and `#!/proc/self/exe` in an image runs it. So the server runs from a file that cannot be
//! opened for writing: the binary on disk, with its shared page cache, through a read-only mount that
//! nothing can reach; where the kernel has no such mounts, a sealed copy in memory.

use std::ffi::{CStr, CString, c_int};
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use podhook_hooks::linux::mount;

use crate::error::{Error, Result};
use crate::host::sealed;

/// Where the server finds the mount that it runs from.
pub const MOUNT_FD: c_int = 4;

const SELF: &str = "/proc/self/exe";

/// The kernel's name of a process: its first 15 bytes, as of a shim that is run by its path.
const COMM: &CStr = c"containerd-shim";

/// What the server is to be run from.
#[derive(Debug)]
pub struct Program {
    /// The binary's path, for people: `argv[0]`.
    pub path: PathBuf,
    /// What to execute.
    pub file: OwnedFd,
    /// The mount `file` is on; to be closed once the server runs.
    pub mount: Option<OwnedFd>,
}

impl Program {
    /// This binary, protected.
    pub fn protected() -> Result<Self> {
        let path = fs::read_link(SELF).map_err(Error::io("read", SELF))?;
        let (file, mount) = match on_read_only_mount(&path) {
            Ok((file, mount)) => (file, Some(mount)),
            // Linux before 5.12, or no right to mount.
            Err(_) => (sealed_copy().map_err(Error::io("copy", &path))?, None),
        };
        Ok(Self { path, file, mount })
    }
}

/// The mount that `start` left to the server, if it did. To be called before anything is opened.
pub fn inherited_mount() -> Option<OwnedFd> {
    // SAFETY: fcntl on any number is harmless.
    let ret = unsafe { libc::fcntl(MOUNT_FD, libc::F_SETFD, libc::FD_CLOEXEC) };
    // SAFETY: `start` left this descriptor to us, and nothing else uses it.
    (ret == 0).then(|| unsafe { OwnedFd::from_raw_fd(MOUNT_FD) })
}

/// In the server: forbids to execute the binary from now on, by who finds it in a container too. `mount`
/// is to be closed before any process joins a container: only the running program refers to it then, and
/// it can be neither attached, copied nor changed any more, with any capability.
pub fn settle(mount: Option<&OwnedFd>) -> Result<()> {
    // SAFETY: prctl reads the C string only.
    unsafe { libc::prctl(libc::PR_SET_NAME, COMM.as_ptr()) };
    // No harm in a sealed copy.
    let sealed_off =
        mount.is_some_and(|mount| mount::set_attributes(mount, libc::MOUNT_ATTR_NOEXEC).is_ok());
    if is_protected().map_err(Error::io("check", SELF))? {
        log::debug!(
            "own binary: {}",
            if sealed_off {
                "on a read-only mount"
            } else {
                "sealed copy"
            }
        );
        return Ok(());
    }
    Err(Error::FailedPrecondition(
        "the shim's binary can be written to: the server is started by `start`, which containerd calls"
            .to_owned(),
    ))
}

/// Through a mount without write access, or sealed.
fn is_protected() -> io::Result<bool> {
    let file = File::open(SELF)?;
    // SAFETY: `statvfs` is plain data, all zeroes is a valid value.
    let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a valid descriptor and a valid place to write to.
    check(unsafe { libc::fstatvfs(file.as_raw_fd(), &mut stat) })?;
    if stat.f_flag & libc::ST_RDONLY != 0 {
        return Ok(true);
    }
    // SAFETY: no pointers.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    let all = sealed::SEALS.bits();
    Ok(seals >= 0 && seals & all == all)
}

/// The binary through a private read-only copy of the mount it is on, so that /proc/PID/exe still names
/// it; the file itself is the one on disk.
fn on_read_only_mount(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let running = fs::metadata(SELF)?;
    let same = |file: &OwnedFd| {
        let found = File::from(file.try_clone()?).metadata()?;
        Ok::<_, io::Error>((found.dev(), found.ino()) == (running.dev(), running.ino()))
    };
    let root = mount_point(path);
    if let Ok(below) = path.strip_prefix(&root)
        && let Ok(mount) = read_only(&root)
        && let Ok(file) = open_below(&mount, &c_path(below)?)
        && same(&file)?
    {
        return Ok((file, mount));
    }
    // An upgrade has replaced the file: /proc/self/exe still opens the one that runs.
    let mount = read_only(Path::new(SELF))?;
    Ok((mount.try_clone()?, mount))
}

/// The topmost folder that is on the same mount as `path`.
fn mount_point(path: &Path) -> PathBuf {
    let own = mount_id(path);
    path.ancestors()
        .take_while(|ancestor| own.is_some() && mount_id(ancestor) == own)
        .last()
        .map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

fn mount_id(path: &Path) -> Option<u64> {
    let path = c_path(path).ok()?;
    // SAFETY: `statx` is plain data, all zeroes is a valid value.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    let mask = libc::STATX_MNT_ID;
    // SAFETY: a C string and a valid place to write to.
    let ret = unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), 0, mask, &mut stat) };
    (ret == 0 && stat.stx_mask & mask != 0).then_some(stat.stx_mnt_id)
}

fn read_only(path: &Path) -> io::Result<OwnedFd> {
    let mount = mount::detached(path)?;
    // Not nosuid: SELinux takes that for a reason to refuse a domain transition.
    mount::set_attributes(&mount, libc::MOUNT_ATTR_RDONLY)?;
    Ok(mount)
}

fn open_below(mount: &OwnedFd, path: &CStr) -> io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    // SAFETY: a valid descriptor and a C string.
    owned(unsafe { libc::openat(mount.as_raw_fd(), path.as_ptr(), flags) })
}

/// A copy in memory that no one can change; not shared between pods.
fn sealed_copy() -> io::Result<OwnedFd> {
    let mut copy = sealed::file(COMM, |copy| {
        io::copy(&mut File::open(SELF)?, copy).map(drop)
    })?;
    copy.seek(SeekFrom::Start(0))?;
    Ok(copy.into())
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn owned(fd: c_int) -> io::Result<OwnedFd> {
    check(fd)?;
    // SAFETY: a new descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(ret: c_int) -> io::Result<c_int> {
    match ret {
        -1 => Err(io::Error::last_os_error()),
        ret => Ok(ret),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;

    #[test]
    fn a_sealed_copy_is_the_program_and_takes_no_write() {
        let copy = sealed_copy().unwrap();
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        assert!(fs::read(&path).unwrap() == fs::read(SELF).unwrap());
        let mut written = OpenOptions::new().write(true).open(&path).unwrap();
        let error = io::Write::write(&mut written, b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(written.set_len(0).is_err());
        // SAFETY: no pointers.
        let added = unsafe { libc::fcntl(copy.as_raw_fd(), libc::F_ADD_SEALS, 0) };
        assert_eq!(added, -1, "the seals are sealed");
    }

    #[test]
    fn a_mount_point_is_the_topmost_folder_of_its_mount() {
        assert_eq!(
            mount_point(Path::new("/proc/self/exe/none")),
            Path::new("/")
        );
        assert_eq!(mount_point(Path::new("/proc/version")), Path::new("/proc"));
        assert_eq!(mount_point(Path::new("/proc")), Path::new("/proc"));
    }

    #[test]
    fn the_tests_themselves_are_not_protected() {
        assert!(!is_protected().unwrap());
    }
}
