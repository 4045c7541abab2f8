//! A neighbour that takes every process there is: the shim's part of it is a cgroup that is full.

use std::fs;
use std::path::{Path, PathBuf};

use podhook_integration::containerd::remains;
use podhook_integration::suite::Test;
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome, tests};

use crate::script::Error;

pub fn tests() -> Vec<Test> {
    tests![exhaustion:
        a_neighbour_that_takes_every_process_ends_no_shim,
    ]
}

/// A cgroup that allows no process more than are in it; gone when dropped.
struct Full(PathBuf);

impl Full {
    fn around(name: &str, shim: i32) -> Result<Self, Error> {
        let root = Path::new("/sys/fs/cgroup");
        fs::write(root.join("cgroup.subtree_control"), "+pids")?;
        let full = Self(root.join(name));
        fs::create_dir(&full.0)?;
        fs::write(full.0.join("cgroup.procs"), shim.to_string())?;
        full.allow("0")?;
        Ok(full)
    }

    fn allow(&self, count: &str) -> Outcome {
        Ok(fs::write(self.0.join("pids.max"), count)?)
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        let procs = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in procs.lines() {
            let _ = fs::write("/sys/fs/cgroup/cgroup.procs", pid);
        }
        let _ = wait::until_true("the end of the full cgroup", SOON, || {
            fs::remove_dir(&self.0).is_ok()
        });
    }
}

fn a_neighbour_that_takes_every_process_ends_no_shim(node: &Node) -> Outcome {
    let pod = node.pod("crowded").run()?;
    let container = pod.container("main").command(&["sleep", "600"]).start()?;
    let shim = || {
        let shims = remains::shims(&node.containerd().address());
        shims.into_iter().find(|shim| shim.id == pod.id())
    };
    let before = shim().ok_or("no shim")?.pid;
    let full = Full::around(&format!("{}-full", node.containerd().id()), before)?;
    let late = pod.container("late").command(&["sleep", "600"]).start();
    assert!(late.is_err(), "made by nobody");
    // An exec is born in the container's cgroup, and counts there alone.
    assert_eq!(container.exec(&["echo", "here"])?, "here\n");
    assert_eq!(shim().map(|shim| shim.pid), Some(before));
    full.allow("max")?;
    pod.container("later").command(&["sleep", "600"]).start()?;
    assert_eq!(shim().map(|shim| shim.pid), Some(before));
    Ok(())
}
