//! Mounts by descriptor (open_tree(2), mount_setattr(2)); the rest of that family is rustix's.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::limit::Asked;

/// A copy of the mount at `path`, mounted nowhere.
///
/// # Errors
/// Where the kernel refuses it.
pub fn detached(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags).map_err(refused("open_tree"))
}

/// Attaches a detached mount to `target` (move_mount(2)).
///
/// # Errors
/// Where the kernel refuses it.
pub fn attach(mount: impl AsFd, target: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount, c"", CWD, target, flags).map_err(refused("move_mount"))
}

/// Adds attributes (`MOUNT_ATTR_…`) to a mount.
///
/// # Errors
/// Where the kernel refuses it.
pub fn set_attributes(mount: impl AsFd, attributes: u64) -> io::Result<()> {
    let none = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    set(mount, &none)
}

/// Lets a mount's files belong to others, as the user namespace maps them.
///
/// # Errors
/// Where the kernel or the file system cannot do that.
pub fn map_ids(mount: impl AsFd, users: impl AsFd) -> io::Result<()> {
    let users = u64::try_from(users.as_fd().as_raw_fd());
    let mapped = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: users.map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?,
    };
    set(mount, &mapped)
}

#[allow(unsafe_code)]
fn set(mount: impl AsFd, attributes: &libc::mount_attr) -> io::Result<()> {
    let attributes: *const libc::mount_attr = attributes;
    // rustix does not have this call.
    // SAFETY: an open descriptor, a C string, and a `mount_attr` with its size, of which the kernel only reads.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH as c_int,
            attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    match ret {
        0 => Ok(()),
        _ => Err(refused("mount_setattr")(io::Error::last_os_error())),
    }
}

fn refused<E: Into<io::Error>>(call: &'static str) -> impl FnOnce(E) -> io::Error {
    move |error| Asked::Call(call).explain(error.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// As root.
    #[test]
    fn a_detached_copy_takes_attributes_and_leaves_the_mount_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let copy = detached(Path::new("/")).unwrap();
        set_attributes(&copy, libc::MOUNT_ATTR_RDONLY).unwrap();
        let seen = format!(
            "/proc/self/fd/{}{}/x",
            copy.as_raw_fd(),
            folder.path().display()
        );
        let error = fs::write(&seen, "x").unwrap_err();
        // The folder may be on another mount, of which the copy has nothing.
        let expected = [libc::EROFS, libc::ENOENT];
        assert!(expected.contains(&error.raw_os_error().unwrap()), "{error}");
        fs::write(folder.path().join("x"), "x").unwrap();
    }

    #[test]
    fn a_refusal_is_an_errno() {
        let error = detached(Path::new("/no/such")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        let no_mount = fs::File::open("/proc/self/status").unwrap();
        assert!(set_attributes(&no_mount, libc::MOUNT_ATTR_RDONLY).is_err());
        assert!(attach(&no_mount, Path::new("/no/such")).is_err());
    }
}
