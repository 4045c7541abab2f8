//! Mount options: flags of mount(2), data for the filesystem, and containerd's own.

use std::path::{Path, PathBuf};

use nix::mount::MsFlags;

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
pub(super) const DATA_LIMIT: usize = 4096 - 512;

/// How a loop device reads its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loop {
    Buffered,
    /// `direct-io`.
    Direct,
}

/// What containerd's mount manager does before a shim mounts.
const INTERNAL: &str = "X-containerd.";

/// An option that a shim must not see.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("internal mount option {0:?} was not consumed by the mount manager")]
pub(super) struct NotConsumed(String);

/// Options by what they are.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed {
    /// The flags of mount(2).
    pub(super) flags: MsFlags,
    /// The data for the filesystem (mount(2), `data`).
    pub(super) data: Vec<String>,
    /// `loop`: the source is a file, for a loop device.
    pub(super) loop_device: Option<Loop>,
    /// `uidmap=` and `gidmap=`, where both are there: the user namespace that the files belong to.
    pub(super) id_maps: Option<(String, String)>,
}

pub(super) fn parse(options: &[String]) -> Result<Parsed, NotConsumed> {
    if let Some(internal) = options.iter().find(|option| option.starts_with(INTERNAL)) {
        return Err(NotConsumed(internal.clone()));
    }
    let mut parsed = Parsed {
        flags: MsFlags::empty(),
        data: Vec::new(),
        loop_device: None,
        id_maps: None,
    };
    let is_loop = options.iter().any(|option| option == "loop");
    let (mut uid_map, mut gid_map) = (None, None);
    for option in options {
        match FLAGS.iter().find(|(name, ..)| name == option) {
            Some((_, true, flag)) => parsed.flags.remove(*flag),
            Some((_, false, flag)) => parsed.flags.insert(*flag),
            None if option == "loop" => {
                parsed.loop_device.get_or_insert(Loop::Buffered);
            }
            None if option == "direct-io" && is_loop => parsed.loop_device = Some(Loop::Direct),
            None => match option.split_once('=') {
                Some(("uidmap", map)) => uid_map = Some(map.to_owned()),
                Some(("gidmap", map)) => gid_map = Some(map.to_owned()),
                _ => parsed.data.push(option.clone()),
            },
        }
    }
    parsed.id_maps = uid_map.zip(gid_map);
    Ok(parsed)
}

/// Makes the lower directories relative to their common parent, which is returned. `None`: they have
/// none worth it.
pub(super) fn shorten_lower_dirs(data: &mut [String]) -> Option<PathBuf> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn flags_and_data_are_told_apart_and_the_last_word_counts() {
        let parsed = parse(&options("rbind ro nosuid rw lowerdir=/a:/b index=off")).unwrap();
        assert_eq!(
            parsed.flags,
            MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_NOSUID
        );
        assert_eq!(parsed.data, ["lowerdir=/a:/b", "index=off"]);
        assert_eq!(parsed.id_maps, None);
    }

    #[test]
    fn id_maps_are_not_for_the_filesystem() {
        let parsed = parse(&options("uidmap=0:1000:10 gidmap=0:2000:10 index=off")).unwrap();
        let maps = ("0:1000:10".to_owned(), "0:2000:10".to_owned());
        assert_eq!(parsed.id_maps, Some(maps));
        assert_eq!(parsed.data, ["index=off"]);
    }

    #[test]
    fn a_loop_device_and_its_direct_reads_are_not_for_the_filesystem() {
        for (text, expected, data) in [
            ("loop rw discard", Some(Loop::Buffered), vec!["discard"]),
            ("direct-io loop", Some(Loop::Direct), vec![]),
            ("loop direct-io", Some(Loop::Direct), vec![]),
            ("direct-io", None, vec!["direct-io"]),
        ] {
            let parsed = parse(&options(text)).unwrap();
            assert_eq!(parsed.loop_device, expected, "{text}");
            assert_eq!(parsed.data, data, "{text}");
        }
    }

    #[test]
    fn what_the_mount_manager_should_have_done_is_refused() {
        let error = parse(&options("rw X-containerd.mkfs.size=1")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "internal mount option \"X-containerd.mkfs.size=1\" was not consumed by the mount manager"
        );
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
