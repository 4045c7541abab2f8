//! Moves the shim to the cgroup that the runtime options name (`ShimCgroup`).

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::error::{Error, Result};

const ROOT: &str = "/sys/fs/cgroup";

/// Moves process `pid` to the existing cgroup `path`, in every hierarchy that has it.
pub fn join(path: &str, pid: u32) -> Result<()> {
    join_below(Path::new(ROOT), path, pid)
}

fn join_below(root: &Path, path: &str, pid: u32) -> Result<()> {
    let relative = path.trim_start_matches('/');
    if root.join("cgroup.controllers").exists() {
        return write_procs(&root.join(relative), pid);
    }
    let mut joined = false;
    for hierarchy in fs::read_dir(root)
        .map_err(Error::io("read", root))?
        .flatten()
    {
        let is_link = hierarchy.file_type().is_ok_and(|kind| kind.is_symlink());
        let dir = hierarchy.path().join(relative);
        if !is_link && dir.join("cgroup.procs").exists() {
            write_procs(&dir, pid)?;
            joined = true;
        }
    }
    if joined {
        Ok(())
    } else {
        Err(Error::NotFound(format!(
            "shim cgroup {path:?} does not exist"
        )))
    }
}

fn write_procs(dir: &Path, pid: u32) -> Result<()> {
    let procs = dir.join("cgroup.procs");
    OpenOptions::new()
        .write(true)
        .open(&procs)
        .and_then(|mut file| file.write_all(pid.to_string().as_bytes()))
        .map_err(Error::io("write", procs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cgroup(dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("cgroup.procs"), "").unwrap();
    }

    #[test]
    fn version_2_has_one_hierarchy() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "memory").unwrap();
        let dir = root.path().join("shims.slice");
        cgroup(&dir);
        join_below(root.path(), "/shims.slice", 7).unwrap();
        assert_eq!(fs::read_to_string(dir.join("cgroup.procs")).unwrap(), "7");
        let error = join_below(root.path(), "/none", 7).unwrap_err();
        assert!(error.to_string().contains("/none/cgroup.procs"), "{error}");
    }

    #[test]
    fn version_1_has_it_in_one_hierarchy_at_least() {
        let root = tempfile::tempdir().unwrap();
        for name in ["memory/shims", "pids"] {
            cgroup(&root.path().join(name));
        }
        join_below(root.path(), "shims", 7).unwrap();
        let procs = root.path().join("memory/shims/cgroup.procs");
        assert_eq!(fs::read_to_string(procs).unwrap(), "7");
        let error = join_below(root.path(), "/none", 7).unwrap_err();
        assert!(matches!(error, Error::NotFound(_)), "{error}");
    }
}
