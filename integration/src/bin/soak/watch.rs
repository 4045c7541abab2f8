//! What is looked at while it runs: containerd, the shim of the pod that stays, and the node.

use std::fs;
use std::path::Path;

use podhook_integration::Containerd;
use podhook_integration::containerd::remains;

use crate::Error;

/// One process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process {
    /// KiB that only it has.
    pub dirty: u64,
    pub files: u64,
    pub inotify: u64,
    pub threads: u64,
}

/// One look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// Since the begin, in seconds.
    pub at: f64,
    /// Containers that have ended by then.
    pub done: u64,
    pub containerd: Process,
    /// The pod's shim.
    pub shim: Process,
    pub shims: u64,
    /// Those of this containerd's containers, in all hierarchies.
    pub cgroups: u64,
    /// Below its folder.
    pub mounts: u64,
    /// Of root, as the kernel counts them.
    pub keys: u64,
}

impl Process {
    pub fn of(pid: u32) -> Result<Self, Error> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let dirty = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Private_Dirty:"));
        let dirty = dirty.and_then(|text| text.split_whitespace().next()?.parse().ok());
        let links: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))?
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .collect();
        let is_inotify = |link: &&std::path::PathBuf| **link == *Path::new("anon_inode:inotify");
        Ok(Self {
            dirty: dirty.ok_or("no Private_Dirty")?,
            inotify: links.iter().filter(is_inotify).count() as u64,
            files: links.len() as u64,
            threads: fs::read_dir(format!("/proc/{pid}/task"))?.count() as u64,
        })
    }
}

impl Sample {
    /// The node as it is now.
    pub fn take(containerd: &Containerd, shim: u32) -> Result<Self, Error> {
        let pid = containerd.pid().ok_or("no containerd")?;
        let own = remains::cgroups(containerd.id());
        Ok(Self {
            containerd: Process::of(pid)?,
            shim: Process::of(shim)?,
            shims: remains::shims(&containerd.address()).len() as u64,
            cgroups: own
                .iter()
                .map(|cgroup| remains::tree(cgroup).len() as u64)
                .sum(),
            mounts: remains::mounts_seen_by(pid, containerd.dir()).len() as u64,
            keys: keys(),
            ..Self::default()
        })
    }
}

/// `  0:   12 11/11 ...`: the second word is the number of keys.
fn keys() -> u64 {
    let users = fs::read_to_string("/proc/key-users").unwrap_or_default();
    let root = users
        .lines()
        .find(|line| line.trim_start().starts_with("0:"));
    let number = root.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.unwrap_or(0)
}
