//! A container's cgroup, as the kernel says where it is.

use std::fs;
use std::path::{Path, PathBuf};

use podhook_integration::node::{Container, PodContainer};
use podhook_integration::wait::{self, SOON};
use podhook_integration::{Node, Outcome};

use crate::script::Error;

/// A process's cgroup as `/proc/PID/cgroup` names it.
pub fn path(pid: i32) -> Result<String, Error> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let path = text.trim_end().strip_prefix("0::");
    Ok(path.ok_or(format!("not v2 alone: {text}"))?.to_owned())
}

/// The directory of a process's cgroup.
pub fn of(pid: i32) -> Result<PathBuf, Error> {
    Ok(Path::new("/sys/fs/cgroup").join(path(pid)?.trim_start_matches('/')))
}

/// The directory of the cgroup of a container's first process.
pub fn of_container(container: &Container<'_>) -> Result<PathBuf, Error> {
    of(container.task()?.ok_or("no task")?.pid)
}

/// The pid of a CRI container's first process.
pub fn pid(node: &Node, container: &PodContainer<'_>) -> Result<i32, Error> {
    let mut tasks = node.containerd().ctr_in("k8s.io").tasks()?;
    Ok(tasks.remove(container.id()).ok_or("no task")?.pid)
}

/// A file of a cgroup, without the newline at its end.
pub fn read(cgroup: &Path, file: &str) -> Result<String, Error> {
    let path = cgroup.join(file);
    let text = fs::read_to_string(&path).map_err(|e| format!("read {}: {e}", path.display()))?;
    Ok(text.trim_end().to_owned())
}

/// The hooks' cgroups below a container's.
pub fn leaves(cgroup: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cgroup).into_iter().flatten().flatten();
    let leaf = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("podhook-")
    };
    entries.map(|entry| entry.path()).filter(leaf).collect()
}

/// Waits until there is no hook's cgroup below a container's.
pub fn wait_no_leaves(cgroup: &Path) -> Outcome {
    Ok(wait::until_true(
        "the end of the hook's cgroup",
        SOON,
        || leaves(cgroup).is_empty(),
    )?)
}

/// The pid of the one process with this command line in a cgroup and those below.
pub fn process(cgroup: &Path, line: &str) -> Option<i32> {
    let tree = podhook_integration::containerd::remains::tree(cgroup);
    let lists = tree
        .iter()
        .filter_map(|own| fs::read_to_string(own.join("cgroup.procs")).ok());
    let pids: Vec<i32> = lists
        .flat_map(|list| list.lines().map(str::parse).collect::<Vec<_>>())
        .filter_map(Result::ok)
        .collect();
    pids.into_iter().find(|pid| {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&bytes)
            .trim_end_matches('\0')
            .replace('\0', " ")
            == line
    })
}

/// Waits for such a process.
pub fn wait_process(cgroup: &Path, line: &str) -> Result<i32, Error> {
    Ok(wait::until(&format!("{line:?}"), SOON, || {
        process(cgroup, line)
    })?)
}
