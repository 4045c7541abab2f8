//! The container's root filesystem, mounted as containerd's snapshotter asks.

mod helper;
#[allow(unsafe_code)]
mod idmap;
#[allow(unsafe_code)]
mod loop_device;
mod options;
mod target;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{fs, io};

use containerd_shim_protos::types::mount::Mount;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use podhook_hooks::exec::Children;
use podhook_hooks::linux::limit::Asked;
use podhook_hooks::linux::mountinfo;

use crate::error::{Error, Result};
use crate::host::apart;
use loop_device::LoopDevice;
use options::{DATA_LIMIT, Loop, parse, shorten_lower_dirs};

/// Mounts everything on `rootfs`, in order; on an error what was mounted is unmounted.
pub async fn mount_rootfs(mounts: &[Mount], rootfs: &Path, children: &dyn Children) -> Result<()> {
    for one in mounts {
        let mounted = match helper::of(one) {
            Some(by) => by_helper(by, one, rootfs, children).await,
            None => {
                let (one, rootfs) = (one.clone(), rootfs.to_owned());
                aside(move || mount_one(&one, &rootfs)).await
            }
        };
        if let Err(e) = mounted {
            let _ = unmount_rootfs(rootfs).await;
            return Err(e);
        }
    }
    Ok(())
}

async fn by_helper(
    by: (&str, &str),
    one: &Mount,
    rootfs: &Path,
    children: &dyn Children,
) -> Result<()> {
    let target = target(one, rootfs)?;
    let mounted = helper::mount(by, one, &target, children).await;
    mounted.map_err(|e| Error::failed(what(one, &target))(e))
}

/// What fails, for errors.
fn what(one: &Mount, target: &Path) -> String {
    format!(
        "failed to mount rootfs component: mount {} ({}) on {}",
        one.source,
        one.type_,
        target.display()
    )
}

fn target(one: &Mount, rootfs: &Path) -> Result<PathBuf> {
    if one.target.is_empty() {
        return Ok(rootfs.to_owned());
    }
    target::below(rootfs, &one.target)
        .map_err(Error::failed(format!("find {} in the rootfs", one.target)))
}

/// Unmounts everything at and below `rootfs`.
pub async fn unmount_rootfs(rootfs: &Path) -> Result<()> {
    let rootfs = rootfs.to_owned();
    aside(move || unmount_all(&rootfs)).await
}

/// Unmounting an overlay writes its upper layer back, which takes as long as the disk does, and the other
/// containers of the pod must not wait for it.
async fn aside(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let done = apart::start(work).await;
    done.unwrap_or_else(|e| Err(Error::failed("mount")(e)))
}

fn mount_one(one: &Mount, rootfs: &Path) -> Result<()> {
    let target = target(one, rootfs)?;
    let failed =
        |source: io::Error| Error::failed(what(one, &target))(Asked::DiskMount.explain(source));
    let mut parsed = parse(&one.options).map_err(|e| Error::failed(what(one, &target))(e))?;
    let users = match &parsed.id_maps {
        Some((uids, gids)) => Some(idmap::user_namespace(uids, gids).map_err(failed)?),
        None => None,
    };
    if let (Some(users), "overlay") = (&users, one.type_.as_str()) {
        let (flags, data) = (parsed.flags, &parsed.data);
        return idmap::mount_overlay(&one.source, &target, flags, data, users).map_err(failed);
    }
    let mut base = None;
    if one.type_ == "overlay" && parsed.data.join(",").len() > DATA_LIMIT {
        base = shorten_lower_dirs(&mut parsed.data);
    }
    let read_only = parsed.flags.contains(MsFlags::MS_RDONLY);
    let device = match parsed.loop_device {
        Some(kind) => {
            let file = Path::new(&one.source);
            Some(LoopDevice::new(file, read_only, kind == Loop::Direct).map_err(failed)?)
        }
        None => None,
    };
    let data = parsed.data.join(",");
    let source = match &device {
        Some(device) => device.path.display().to_string(),
        None => one.source.clone(),
    };
    let kind = one.type_.clone();
    let (flags, at) = (parsed.flags, target.clone());
    match base {
        None => mount_and_remount(&source, &at, &kind, flags, &data).map_err(failed)?,
        Some(base) => in_directory(base, move || {
            mount_and_remount(&source, &at, &kind, flags, &data)
        })
        .map_err(failed)?,
    }
    match &users {
        Some(users) => idmap::map(&target, &target, users)
            .inspect_err(|_| {
                let _ = umount2(&target, MntFlags::MNT_DETACH);
            })
            .map_err(failed),
        None => Ok(()),
    }
}

fn mount_and_remount(
    source: &str,
    target: &Path,
    kind: &str,
    flags: MsFlags,
    data: &str,
) -> io::Result<()> {
    let kind = Some(kind).filter(|kind| !kind.is_empty());
    let data = Some(data).filter(|data| !data.is_empty());
    mount(Some(source), target, kind, flags, data)?;
    // The kernel ignores other flags on the first bind mount.
    if flags.contains(MsFlags::MS_BIND)
        && flags.intersects(
            MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        )
    {
        mount(
            None::<&OsStr>,
            target,
            None::<&OsStr>,
            flags | MsFlags::MS_REMOUNT,
            None::<&OsStr>,
        )?;
    }
    Ok(())
}

/// Runs `action` with another working directory: in a thread of its own, because the process's
/// belongs to everybody.
fn in_directory(
    dir: PathBuf,
    action: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    let thread = std::thread::Builder::new().spawn(move || {
        unshare(CloneFlags::CLONE_FS)?;
        std::env::set_current_dir(&dir)?;
        action()
    })?;
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the mounting thread panicked")))
}

/// Unmounts everything at and below `path`, the latest first.
pub fn unmount_all(path: &Path) -> Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let points = mountinfo::points_below(&path).map_err(Error::io("read", mountinfo::TABLE))?;
    for point in points {
        match umount2(&point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(e) => return Err(Error::io("unmount", point)(e.into())),
        }
    }
    Ok(())
}
