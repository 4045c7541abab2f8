//! Mounts whose files belong to other users: for containers in a user namespace, where containerd's
//! snapshotter does not change the owner of every file (`uidmap=`, `gidmap=`; Linux 5.12, overlay 5.19).

use std::{
    ffi::{CString, c_int},
    fs::{self, DirBuilder, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::DirBuilderExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::mount::{MntFlags, umount2};

/// A user namespace with these maps, each `container:host:size`, several separated by commas.
pub(super) fn user_namespace(uids: &str, gids: &str) -> io::Result<OwnedFd> {
    let (uids, gids) = (kernel_map(uids)?, kernel_map(gids)?);
    let holder = Holder::new()?;
    let proc = PathBuf::from(format!("/proc/{}", holder.0));
    fs::write(proc.join("uid_map"), uids)?;
    fs::write(proc.join("gid_map"), gids)?;
    Ok(File::open(proc.join("ns/user"))?.into())
}

fn kernel_map(maps: &str) -> io::Result<String> {
    let invalid = || {
        let text = format!("id map {maps:?}: expected container:host:size");
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    let mut lines = String::new();
    for map in maps.split(',') {
        let numbers: Result<Vec<u32>, _> = map.split(':').map(str::parse).collect();
        let [container, host, size] = numbers.map_err(|_| invalid())?[..] else {
            return Err(invalid());
        };
        lines += &format!("{container} {host} {size}\n");
    }
    Ok(lines)
}

/// A process that does nothing, in a user namespace of its own; killed when dropped.
struct Holder(libc::pid_t);

impl Holder {
    fn new() -> io::Result<Self> {
        let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
        // SAFETY: a fork without a new stack; the child calls nothing but prctl and pause, which are
        // async-signal-safe.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        match libc::pid_t::try_from(pid) {
            Ok(0) => {
                // SAFETY: in the child; integer arguments only.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                loop {
                    // SAFETY: waits for a signal.
                    unsafe { libc::pause() };
                }
            }
            Ok(pid) if pid > 0 => Ok(Self(pid)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Only SIGKILL ends it, so the pid is still its own. The shim reaps it as every child.
        // SAFETY: integer arguments only.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }
}

/// The layers of an overlay, mapped, below a directory that is gone when this is dropped. The overlay
/// keeps what it was mounted from.
pub(super) struct Layers {
    dir: PathBuf,
    mounted: Vec<PathBuf>,
}

impl Drop for Layers {
    fn drop(&mut self) {
        for path in &self.mounted {
            let _ = umount2(path, MntFlags::MNT_DETACH);
            let _ = fs::remove_dir(path);
        }
        let _ = fs::remove_dir(&self.dir);
    }
}

/// Puts mapped mounts of the lower directories in their place.
pub(super) fn map_layers(data: &mut [String], users: &OwnedFd) -> io::Result<Layers> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("podhook-layers-{}-{count}", std::process::id());
    let mut layers = Layers {
        dir: std::env::temp_dir().join(name),
        mounted: Vec::new(),
    };
    DirBuilder::new().mode(0o700).create(&layers.dir)?;
    let lower = data
        .iter_mut()
        .find(|option| option.starts_with("lowerdir="));
    let Some(lower) = lower else {
        return Ok(layers);
    };
    for (number, dir) in lower.trim_start_matches("lowerdir=").split(':').enumerate() {
        let at = layers.dir.join(number.to_string());
        DirBuilder::new().mode(0o700).create(&at)?;
        layers.mounted.push(at.clone());
        map(Path::new(dir), &at, users)?;
    }
    let mapped: Vec<_> = layers
        .mounted
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    *lower = format!("lowerdir={}", mapped.join(":"));
    Ok(layers)
}

/// Mounts `source` on `target`, with the owners of its files as `users` maps them.
pub(super) fn map(source: &Path, target: &Path, users: &OwnedFd) -> io::Result<()> {
    let (source, target) = (c_path(source)?, c_path(target)?);
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: a C string.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, source.as_ptr(), flags) };
    let fd = check(fd)?;
    // SAFETY: a new descriptor that nothing else owns.
    let tree = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: `mount_attr` is plain data, all zeroes is a valid value.
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = libc::MOUNT_ATTR_IDMAP;
    attributes.userns_fd = u64::try_from(users.as_fd().as_raw_fd()).unwrap_or_default();
    // SAFETY: C strings and a valid `mount_attr` with its size.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })?;
    // SAFETY: C strings.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    })?;
    Ok(())
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn check(ret: libc::c_long) -> io::Result<c_int> {
    match c_int::try_from(ret) {
        Ok(ret) if ret >= 0 => Ok(ret),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_written_as_the_kernel_reads_them() {
        assert_eq!(kernel_map("0:1000:65536").unwrap(), "0 1000 65536\n");
        assert_eq!(kernel_map("0:1:2,2:8:4").unwrap(), "0 1 2\n2 8 4\n");
        for wrong in ["", "0:1", "0:1:2:3", "a:1:2", "0:-1:2"] {
            assert!(kernel_map(wrong).is_err(), "{wrong:?}");
        }
    }
}
