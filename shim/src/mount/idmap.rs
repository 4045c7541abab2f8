//! Mounts whose files belong to other users: for containers in a user namespace, where containerd's
//! snapshotter does not change the owner of every file (`uidmap=`, `gidmap=`; Linux 5.12, overlay 5.19).

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, io, thread};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use podhook_hooks::forks::Fork;
use podhook_hooks::linux::limit::Asked;
use podhook_hooks::linux::mount::{attach, detached, map_ids};

use crate::host::pidfd;

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

/// Longer than it takes to kill a process.
const END_LIMIT: Duration = Duration::from_secs(1);

/// A process that does nothing, in a user namespace of its own; killed when dropped.
struct Holder(
    libc::pid_t,
    #[expect(dead_code, reason = "for its end")] Fork,
);

impl Holder {
    fn new() -> io::Result<Self> {
        let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
        let fork = Fork::new();
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
            Ok(pid) if pid > 0 => Ok(Self(pid, fork)),
            _ => Err(Asked::Namespace("user").explain(io::Error::last_os_error())),
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Only SIGKILL ends it, so the pid is still its own. The shim reaps it as every child.
        // SAFETY: integer arguments only.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
        // Until it is dead it has copies of what this process has open.
        if let Ok(holder) = pidfd::open(self.0) {
            let _ = pidfd::ends_within(&holder, END_LIMIT);
        }
    }
}

/// Mounts an overlay on `target` whose lower layers belong to other users: an overlay takes no ids of its own.
///
/// Its layers must be mounted somewhere in the caller's mount namespace (before Linux 6.15), and are so in one that
/// no other process sees, and that ends with its only thread, so that nothing of it is left.
#[expect(
    clippy::disallowed_methods,
    reason = "its thread is made by Builder, which says where it is refused"
)]
pub(super) fn mount_overlay(
    source: &str,
    target: &Path,
    flags: MsFlags,
    data: &[String],
    users: &OwnedFd,
) -> io::Result<()> {
    let overlay = thread::scope(|scope| {
        let apart = || {
            leave_mount_namespace()?;
            on_mapped_layers(source, target, flags, data, users)
        };
        let mounted = thread::Builder::new().spawn_scoped(scope, apart)?.join();
        mounted.unwrap_or_else(|_| Err(io::Error::other("the mounting thread panicked")))
    })?;
    attach(&overlay, target)
}

/// Takes the calling thread to a copy of its mount namespace, of which nothing comes back.
fn leave_mount_namespace() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| Asked::Namespace("mnt").explain(e.into()))?;
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    Ok(mount(none, "/", none, private, none)?)
}

/// The overlay, mounted nowhere. `place` is covered with what its making takes.
fn on_mapped_layers(
    source: &str,
    place: &Path,
    flags: MsFlags,
    data: &[String],
    users: &OwnedFd,
) -> io::Result<OwnedFd> {
    mount(
        Some("tmpfs"),
        place,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=700"),
    )?;
    // This thread's own: it has left the others' with their mount namespace. So are the layers' names short.
    env::set_current_dir(place)?;
    let mut data = data.to_vec();
    let is_lower = |option: &&mut String| option.starts_with("lowerdir=");
    if let Some(lower) = data.iter_mut().find(is_lower) {
        let mut names = Vec::new();
        for (number, layer) in lower.trim_start_matches("lowerdir=").split(':').enumerate() {
            let name = number.to_string();
            fs::create_dir(&name)?;
            attach(&mapped(Path::new(layer), users)?, Path::new(&name))?;
            names.push(name);
        }
        *lower = format!("lowerdir={}", names.join(":"));
    }
    let merged = Path::new("merged");
    fs::create_dir(merged)?;
    let data = data.join(",");
    mount(
        Some(source),
        merged,
        Some("overlay"),
        flags,
        Some(data.as_str()),
    )?;
    detached(merged)
}

/// Mounts `source` on `target`, with the owners of its files as `users` maps them.
pub(super) fn map(source: &Path, target: &Path, users: &OwnedFd) -> io::Result<()> {
    attach(&mapped(source, users)?, target)
}

/// What is mounted at `source`, with the owners of its files as `users` maps them, mounted nowhere.
fn mapped(source: &Path, users: &OwnedFd) -> io::Result<OwnedFd> {
    let tree = detached(source)?;
    map_ids(&tree, users)?;
    Ok(tree)
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
