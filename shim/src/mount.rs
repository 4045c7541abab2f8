//! The container's root filesystem, mounted as containerd's snapshotter asks.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use containerd_shim_protos::types::mount::Mount;
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

use crate::error::{Error, Result};

/// The options that are flags: name, whether it clears, flag (containerd's `mount_linux.go`).
const FLAGS: &[(&str, bool, MsFlags)] = &[
    ("async", true, MsFlags::MS_SYNCHRONOUS),
    ("atime", true, MsFlags::MS_NOATIME),
    ("bind", false, MsFlags::MS_BIND),
    ("defaults", false, MsFlags::empty()),
    ("dev", true, MsFlags::MS_NODEV),
    ("diratime", true, MsFlags::MS_NODIRATIME),
    ("dirsync", false, MsFlags::MS_DIRSYNC),
    ("exec", true, MsFlags::MS_NOEXEC),
    ("mand", false, MsFlags::MS_MANDLOCK),
    ("noatime", false, MsFlags::MS_NOATIME),
    ("nodev", false, MsFlags::MS_NODEV),
    ("nodiratime", false, MsFlags::MS_NODIRATIME),
    ("noexec", false, MsFlags::MS_NOEXEC),
    ("nomand", true, MsFlags::MS_MANDLOCK),
    ("norelatime", true, MsFlags::MS_RELATIME),
    ("nostrictatime", true, MsFlags::MS_STRICTATIME),
    ("nosuid", false, MsFlags::MS_NOSUID),
    ("rbind", false, MsFlags::MS_BIND.union(MsFlags::MS_REC)),
    ("relatime", false, MsFlags::MS_RELATIME),
    ("remount", false, MsFlags::MS_REMOUNT),
    ("ro", false, MsFlags::MS_RDONLY),
    ("rw", true, MsFlags::MS_RDONLY),
    ("strictatime", false, MsFlags::MS_STRICTATIME),
    ("suid", true, MsFlags::MS_NOSUID),
    ("sync", false, MsFlags::MS_SYNCHRONOUS),
];

/// What does not fit a page is refused by mount(2); overlayfs's many lower directories may not.
const DATA_LIMIT: usize = 4096 - 512;

#[derive(Debug, PartialEq)]
struct Parsed {
    flags: MsFlags,
    data: Vec<String>,
}

fn parse(options: &[String]) -> Parsed {
    let mut parsed = Parsed {
        flags: MsFlags::empty(),
        data: Vec::new(),
    };
    for option in options {
        match FLAGS.iter().find(|(name, ..)| name == option) {
            Some((_, true, flag)) => parsed.flags.remove(*flag),
            Some((_, false, flag)) => parsed.flags.insert(*flag),
            None => parsed.data.push(option.clone()),
        }
    }
    parsed
}

/// Mounts everything on `rootfs`, in order; on an error what was mounted is unmounted.
pub async fn mount_rootfs(mounts: &[Mount], rootfs: &Path) -> Result<()> {
    let (mounts, rootfs) = (mounts.to_vec(), rootfs.to_owned());
    apart(move || {
        for one in &mounts {
            if let Err(e) = mount_one(one, &rootfs) {
                let _ = unmount_all(&rootfs);
                return Err(e);
            }
        }
        Ok(())
    })
    .await
}

/// Unmounts everything at and below `rootfs`.
pub async fn unmount_rootfs(rootfs: &Path) -> Result<()> {
    let rootfs = rootfs.to_owned();
    apart(move || unmount_all(&rootfs)).await
}

/// In a thread of its own: unmounting an overlay writes its upper layer back, which takes as long as
/// the disk does, and the other containers of the pod must not wait for it.
async fn apart(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(Error::Unknown(format!("mount: {e}"))))
}

fn mount_one(one: &Mount, rootfs: &Path) -> Result<()> {
    let target = if one.target.is_empty() {
        rootfs.to_owned()
    } else {
        // Relative to the rootfs, whatever it looks like.
        rootfs.join(one.target.trim_start_matches('/'))
    };
    let mut parsed = parse(&one.options);
    let failed = |source: io::Error| {
        Error::Unknown(format!(
            "failed to mount rootfs component: mount {} ({}) on {}: {source}",
            one.source,
            one.type_,
            target.display()
        ))
    };
    let mut base = None;
    if one.type_ == "overlay" && parsed.data.join(",").len() > DATA_LIMIT {
        base = shorten_lower_dirs(&mut parsed.data);
    }
    let data = parsed.data.join(",");
    let (source, kind) = (one.source.clone(), one.type_.clone());
    let (flags, at) = (parsed.flags, target.clone());
    match base {
        None => mount_and_remount(&source, &at, &kind, flags, &data).map_err(failed),
        Some(base) => in_directory(base, move || {
            mount_and_remount(&source, &at, &kind, flags, &data)
        })
        .map_err(failed),
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

/// Makes the lower directories relative to their common parent, which is returned. `None`: they have
/// none worth it.
fn shorten_lower_dirs(data: &mut [String]) -> Option<PathBuf> {
    let lower = data
        .iter_mut()
        .find(|option| option.starts_with("lowerdir="))?;
    let dirs: Vec<&str> = lower.trim_start_matches("lowerdir=").split(':').collect();
    let mut prefix = Path::new(dirs.first()?).parent()?.to_owned();
    while !dirs.iter().all(|dir| Path::new(dir).starts_with(&prefix)) {
        prefix = prefix.parent()?.to_owned();
    }
    if prefix == Path::new("/") {
        return None;
    }
    let relative: Option<Vec<&str>> = dirs
        .iter()
        .map(|dir| {
            Path::new(dir)
                .strip_prefix(&prefix)
                .ok()?
                .to_str()
                .filter(|dir| !dir.is_empty())
        })
        .collect();
    *lower = format!("lowerdir={}", relative?.join(":"));
    Some(prefix)
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
    let table = fs::read_to_string("/proc/self/mountinfo")
        .map_err(Error::io("read", "/proc/self/mountinfo"))?;
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut points: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescape(point)))
        .filter(|point| point.starts_with(&path))
        .collect();
    points.reverse();
    for point in points {
        match umount2(&point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(e) => return Err(Error::io("unmount", point)(e.into())),
        }
    }
    Ok(())
}

/// mountinfo writes blanks and backslashes as octal escapes.
fn unescape(text: &str) -> String {
    let mut result = text.to_owned();
    for (escape, plain) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        result = result.replace(escape, plain);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn flags_and_data_are_told_apart_and_the_last_word_counts() {
        let parsed = parse(&options("rbind ro nosuid rw lowerdir=/a:/b index=off"));
        assert_eq!(
            parsed.flags,
            MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_NOSUID
        );
        assert_eq!(parsed.data, ["lowerdir=/a:/b", "index=off"]);
    }

    #[test]
    fn many_lower_directories_become_relative_to_their_parent() {
        let mut data = options("workdir=/s/9/work lowerdir=/s/1/fs:/s/22/fs");
        assert_eq!(shorten_lower_dirs(&mut data), Some(PathBuf::from("/s")));
        assert_eq!(data[1], "lowerdir=1/fs:22/fs");
        let mut apart = options("lowerdir=/a/fs:/b/fs");
        assert_eq!(shorten_lower_dirs(&mut apart), None);
        assert_eq!(apart[0], "lowerdir=/a/fs:/b/fs");
    }
}
