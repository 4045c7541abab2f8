//! `/run/containerd` on a tmpfs, as it is where `/run` is one: there are the sockets of the shims and the OCI runtime's state.

use std::fs;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::Fallible;

const DIR: &str = "/run/containerd";

/// Where it is on a disk, this program and all that it starts get a mount namespace in which it is not. Nobody else's mounts
/// change, and it goes with the last process.
///
/// # Errors
/// When the kernel refuses it.
pub fn in_memory() -> Fallible<()> {
    let dir = Path::new(DIR);
    fs::create_dir_all(dir)?;
    if statfs(dir)?.filesystem_type() == TMPFS_MAGIC {
        return Ok(());
    }
    mount(
        Some("tmpfs"),
        dir,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )?;
    Ok(())
}

/// Gives this program, which has one thread, a mount namespace of its own.
///
/// # Errors
/// When the kernel refuses it.
pub fn own_mounts() -> Fallible<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    // What others unmount is unmounted here, too.
    mount(none, "/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)?;
    Ok(())
}
