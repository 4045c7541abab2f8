//! Where a mount below the root filesystem goes: the image's own links must not lead out of it.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use podhook_hooks::linux::limit::Asked;

/// The place of `target` in `rootfs`, as containerd's `fs.RootPath`: `..` and absolute links begin again at the
/// root.
pub fn below(rootfs: &Path, target: &str) -> io::Result<PathBuf> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let root = open(rootfs, flags | OFlag::O_DIRECTORY, Mode::empty())?;
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let found = openat2(&root, target, how);
    let found = found.map_err(|e| Asked::Call("openat2").explain(e.into()))?;
    fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_of_the_image_leads_to_no_place_of_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let rootfs = dir.join("rootfs");
        fs::create_dir_all(rootfs.join("etc")).unwrap();
        fs::create_dir_all(dir.join("etc")).unwrap();
        symlink("/etc", rootfs.join("absolute")).unwrap();
        symlink("../../etc", rootfs.join("up")).unwrap();
        for target in ["etc", "/etc", "absolute", "up", "../../etc", "/../etc/."] {
            assert_eq!(
                below(&rootfs, target).unwrap(),
                rootfs.join("etc"),
                "{target}"
            );
        }
        assert!(below(&rootfs, "none").is_err());
    }
}
