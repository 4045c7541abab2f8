//! Moves the shim to the cgroup that the runtime options name (`ShimCgroup`).

use std::{fs, path::Path};

use crate::error::{Error, Result};

const ROOT: &str = "/sys/fs/cgroup";

/// Moves process `pid` to the existing cgroup `path`, in every hierarchy that has it.
pub fn join(path: &str, pid: u32) -> Result<()> {
    let relative = path.trim_start_matches('/');
    if Path::new(ROOT).join("cgroup.controllers").exists() {
        return write_procs(&Path::new(ROOT).join(relative), pid);
    }
    let mut joined = false;
    for hierarchy in fs::read_dir(ROOT)
        .map_err(Error::io("read", ROOT))?
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
    fs::write(&procs, pid.to_string()).map_err(Error::io("write", procs))
}
