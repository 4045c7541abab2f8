//! A null device for processes of containers.
//!
//! The node's own `/dev/null` is not for them: a process that has it as stdin can change its mode, owner and times
//! for the whole node through `/proc/self/fd/0`, locks it, or watches it. The container's is not either: it may be
//! anything (CVE-2025-31133, CVE-2025-52565). So this process has one of its own, on a file system that nothing else
//! mounts and that is read-only: the device can be used, and nothing of it can be changed. A process sees `/dev/null`.

use std::ffi::{CStr, CString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::OnceLock;
use std::{ptr, thread};

use libc::{c_int, c_long, c_uint};

use crate::linux::limit::may_be_filter;

/// The node's device.
const NODES: &str = "/dev/null";

/// The same path below the file system's root.
const PATH: &CStr = c"dev/null";

// linux/mount.h.
const FSOPEN_CLOEXEC: c_uint = 1;
const FSMOUNT_CLOEXEC: c_uint = 1;
const FSPICK_CLOEXEC: c_uint = 1;
const FSPICK_EMPTY_PATH: c_uint = 8;
const SET_FLAG: c_uint = 0;
const SET_STRING: c_uint = 1;
const CREATE: c_uint = 6;
const RECONFIGURE: c_uint = 7;

/// Opens the device. It is made at the first call and stays as long as this process; a descriptor is kept.
///
/// # Errors
/// Where it cannot be made. Who may not make devices gets the node's: such a container may not change it either.
pub fn open(read: bool, write: bool) -> io::Result<OwnedFd> {
    static MOUNT: OnceLock<OwnedFd> = OnceLock::new();
    let mount = match MOUNT.get() {
        Some(mount) => mount,
        None => match make() {
            Ok(made) => MOUNT.get_or_init(|| made),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return nodes(read, write);
            }
            Err(error) => return Err(error),
        },
    };
    let access = match (read, write) {
        (true, true) => libc::O_RDWR,
        (false, true) => libc::O_WRONLY,
        _ => libc::O_RDONLY,
    };
    // SAFETY: a descriptor that stays, and a C string.
    owned(i64::from(unsafe {
        libc::openat(mount.as_raw_fd(), PATH.as_ptr(), access | libc::O_CLOEXEC)
    }))
}

/// The root of the file system, as a mount that is attached nowhere. It is not closed: the kernel takes milliseconds
/// to end a mount, and its root cannot be reached by the device.
fn make() -> io::Result<OwnedFd> {
    let label = label();
    // Where it cannot have the label, it has none.
    let with_label = |mounted: fn(Option<&CStr>) -> io::Result<OwnedFd>| {
        let made = mounted(label.as_deref());
        made.or_else(|error| match label {
            Some(_) => mounted(None),
            None => Err(error),
        })
    };
    match with_label(mounted) {
        // Of these calls a filter of system calls may know nothing.
        Err(error) if may_be_filter(&error) => with_label(mounted_apart),
        made => made,
    }
}

/// The same by mount(2): in a mount namespace that ends with its only thread, and leaves the mount to its descriptor.
#[expect(
    clippy::disallowed_methods,
    reason = "its thread is made by Builder, which says where it is refused"
)]
fn mounted_apart(label: Option<&CStr>) -> io::Result<OwnedFd> {
    let apart = || {
        // Any folder, for a moment.
        let (tmpfs, place) = (c"tmpfs".as_ptr(), c"/proc".as_ptr());
        let none = ptr::null::<libc::c_void>();
        let mut data = b"mode=0755".to_vec();
        if let Some(label) = label {
            data.extend(b",context=\"");
            data.extend(label.to_bytes());
            data.push(b'"');
        }
        let data = CString::new(data)?;
        let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
        // SAFETY: C strings, and no pointer where none is needed.
        unsafe {
            check(libc::unshare(libc::CLONE_NEWNS))?;
            let private = libc::MS_REC | libc::MS_PRIVATE;
            check(libc::mount(
                none.cast(),
                c"/".as_ptr(),
                none.cast(),
                private,
                none,
            ))?;
            check(libc::mount(
                tmpfs,
                place,
                tmpfs,
                flags,
                data.as_ptr().cast(),
            ))?;
            let open = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
            let root = owned(i64::from(libc::open(place, open)))?;
            device_in(&root)?;
            let read_only = flags | libc::MS_REMOUNT | libc::MS_RDONLY;
            check(libc::mount(
                none.cast(),
                place,
                none.cast(),
                read_only,
                none,
            ))?;
            Ok(root)
        }
    };
    thread::scope(|scope| {
        let made = thread::Builder::new().spawn_scoped(scope, apart)?.join();
        made.unwrap_or_else(|_| Err(io::Error::other("the mounting thread panicked")))
    })
}

/// Makes the device below this root.
fn device_in(root: &OwnedFd) -> io::Result<()> {
    let at = root.as_raw_fd();
    let device = libc::makedev(1, 3);
    // SAFETY: C strings and a descriptor that is open.
    unsafe {
        check(libc::mkdirat(at, c"dev".as_ptr(), 0o755))?;
        check(libc::mknodat(
            at,
            PATH.as_ptr(),
            libc::S_IFCHR | 0o666,
            device,
        ))?;
        // Whatever the umask is.
        check(libc::fchmodat(at, c"dev".as_ptr(), 0o755, 0))?;
        check(libc::fchmodat(at, PATH.as_ptr(), 0o666, 0))
    }
}

fn mounted(label: Option<&CStr>) -> io::Result<OwnedFd> {
    let flags = c_long::from(FSOPEN_CLOEXEC);
    // SAFETY: a C string.
    let context = unsafe { libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), flags) };
    let context = owned(context)?;
    configure(&context, SET_STRING, Some(c"mode"), Some(c"0755"))?;
    if let Some(label) = label {
        // As the node's is labelled: what a profile says of that counts here.
        configure(&context, SET_STRING, Some(c"context"), Some(label))?;
    }
    configure(&context, CREATE, None, None)?;
    let flags = c_long::from(FSMOUNT_CLOEXEC);
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    // SAFETY: no pointers.
    let mount = unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), flags, attributes) };
    let mount = owned(mount)?;
    device_in(&mount)?;
    let at = mount.as_raw_fd();
    // Of the file system, not of the mount, which Linux can since 5.12 only.
    let flags = c_long::from(FSPICK_CLOEXEC | FSPICK_EMPTY_PATH);
    // SAFETY: a C string and a descriptor that is open.
    let context = unsafe { libc::syscall(libc::SYS_fspick, at, c"".as_ptr(), flags) };
    let context = owned(context)?;
    configure(&context, SET_FLAG, Some(c"ro"), None)?;
    configure(&context, RECONFIGURE, None, None)?;
    Ok(mount)
}

/// fsconfig(2).
fn configure(
    context: &OwnedFd,
    command: c_uint,
    key: Option<&CStr>,
    value: Option<&CStr>,
) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(ptr::null(), CStr::as_ptr);
    // SAFETY: C strings or null, as the command wants it.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            command,
            pointer(key),
            pointer(value),
            0 as c_long,
        )
    };
    check(ret as c_int)
}

/// The node's device, if that is one.
fn nodes(read: bool, write: bool) -> io::Result<OwnedFd> {
    let file = OpenOptions::new().read(read).write(write).open(NODES)?;
    match is_null(&file)? {
        true => Ok(file.into()),
        false => Err(io::Error::from_raw_os_error(libc::ENODEV)),
    }
}

fn is_null(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    Ok(metadata.file_type().is_char_device() && metadata.rdev() == libc::makedev(1, 3))
}

/// The SELinux label of the node's device, where there is one.
fn label() -> Option<CString> {
    let path = CString::new(std::path::Path::new(NODES).as_os_str().as_bytes()).ok()?;
    let mut text = [0u8; 256];
    // SAFETY: C strings, and a place to write to with its size.
    let length = unsafe {
        libc::getxattr(
            path.as_ptr(),
            c"security.selinux".as_ptr(),
            text.as_mut_ptr().cast(),
            text.len(),
        )
    };
    let text = text.get(..usize::try_from(length).ok()?)?;
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    CString::new(text).ok()
}

fn owned(fd: i64) -> io::Result<OwnedFd> {
    match RawFd::try_from(fd) {
        // SAFETY: a new descriptor that nothing else owns.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn check(ret: c_int) -> io::Result<()> {
    match ret {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_a_null_device_and_called_so() {
        let mut file = File::from(open(true, true).unwrap());
        assert!(is_null(&file).unwrap());
        file.write_all(b"gone").unwrap();
        assert_eq!(file.read(&mut [0]).unwrap(), 0);
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        assert_eq!(fs::read_link(&link).unwrap().to_str(), Some(NODES));
        // As /dev/stdin does.
        OpenOptions::new().write(true).open(&link).unwrap();
    }

    /// As root.
    #[test]
    fn nothing_of_it_can_be_changed() {
        is_fixed(&File::from(open(true, false).unwrap()));
    }

    /// As root.
    #[test]
    fn without_the_newer_calls_it_is_the_same() {
        let root = mounted_apart(None).unwrap();
        let path = format!("/proc/self/fd/{}/dev/null", root.as_raw_fd());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        assert!(is_null(&file).unwrap());
        file.write_all(b"gone").unwrap();
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        assert_eq!(fs::read_link(&link).unwrap().to_str(), Some(NODES));
        is_fixed(&file);
    }

    fn is_fixed(file: &File) {
        let node = fs::metadata(NODES).unwrap();
        let own = file.metadata().unwrap();
        assert_ne!((own.dev(), own.ino()), (node.dev(), node.ino()));
        assert_eq!(own.mode() & 0o7777, 0o666);
        let refused = |result: io::Result<()>| {
            let errno = result.unwrap_err().raw_os_error();
            assert_eq!(errno, Some(libc::EROFS));
        };
        refused(file.set_permissions(fs::Permissions::from_mode(0o600)));
        refused(std::os::unix::fs::fchown(file, Some(1), Some(1)));
        refused(file.set_times(fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH)));
    }
}
