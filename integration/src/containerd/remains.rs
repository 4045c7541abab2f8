//! What a containerd's containers leave on the node, found from the outside: shims, cgroups, mounts,
//! sockets, runc's state. For the leak check and for cleaning up after a crash.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sha2::{Digest, Sha256};

/// A container: its containerd namespace and id.
pub type Key = (String, String);

/// A shim process of one containerd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shim {
    pub pid: i32,
    /// The containerd namespace it serves.
    pub namespace: String,
    /// The container or sandbox it was started for.
    pub id: String,
    /// Its command line.
    pub command: String,
}

/// The shims that were started by the containerd with this socket, calls of their verbs excluded, and their children:
/// one that has not executed its program yet has the command line of its shim.
#[must_use]
pub fn shims(address: &Path) -> Vec<Shim> {
    let mut found = started_by(address, |last| {
        !matches!(last, "start" | "delete" | "watch")
    });
    let pids: BTreeSet<_> = found.iter().map(|shim| shim.pid).collect();
    found.retain(|shim| !descends(shim.pid, &pids));
    found
}

/// The processes that wait for the end of a shim whose own container is deleted.
#[must_use]
pub fn watchers(address: &Path) -> Vec<Shim> {
    started_by(address, |last| last == "watch")
}

/// The processes with this containerd's address whose last argument is as wanted.
fn started_by(address: &Path, wanted: impl Fn(&str) -> bool) -> Vec<Shim> {
    let address = address.to_string_lossy();
    let mut found = Vec::new();
    for (pid, arguments) in processes() {
        let value = |flag: &str| {
            let at = arguments.iter().position(|a| a == flag)?;
            arguments.get(at + 1).cloned()
        };
        let last = arguments.last().map(String::as_str);
        if value("-address").as_deref() == Some(&*address) && wanted(last.unwrap_or_default()) {
            found.push(Shim {
                pid,
                namespace: value("-namespace").unwrap_or_default(),
                id: value("-id").unwrap_or_default(),
                command: arguments.join(" "),
            });
        }
    }
    found
}

/// Whether a process descends from one of these; one that has ended is theirs.
fn descends(pid: i32, from: &BTreeSet<i32>) -> bool {
    let mut ancestor = parent(pid);
    loop {
        match ancestor {
            None => return true,
            Some(pid) if from.contains(&pid) => return true,
            Some(0 | 1) => return false,
            Some(pid) => ancestor = parent(pid),
        }
    }
}

/// None of a process that has ended.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

/// Every process with its arguments, kernel threads and zombies excluded.
fn processes() -> Vec<(i32, Vec<String>)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let arguments: Vec<_> = line
                .split(|b| *b == 0)
                .filter(|a| !a.is_empty())
                .map(|a| String::from_utf8_lossy(a).into_owned())
                .collect();
            (!arguments.is_empty()).then_some((pid, arguments))
        })
        .collect()
}

/// Those whose arguments, with a NUL between them, contain `text`.
#[must_use]
pub fn processes_with(text: &str) -> Vec<i32> {
    let found =
        |(pid, arguments): (i32, Vec<String>)| arguments.join("\0").contains(text).then_some(pid);
    processes().into_iter().filter_map(found).collect()
}

/// The calls of a shim's verb (`start`, `delete`) for a container.
#[must_use]
pub fn calls(id: &str, verb: &str) -> Vec<i32> {
    let is_call = |arguments: &[String]| {
        let of = arguments.windows(2).any(|two| two == ["-id", id]);
        of && arguments.last().is_some_and(|last| last == verb)
    };
    let found = |(pid, arguments): (i32, Vec<String>)| is_call(&arguments).then_some(pid);
    processes().into_iter().filter_map(found).collect()
}

/// The children of every thread of a process.
#[must_use]
pub fn children(pid: u32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let lists = threads
        .into_iter()
        .flatten()
        .flatten()
        .map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    let words = |list: String| -> Vec<i32> {
        let pids = list.split_whitespace();
        pids.filter_map(|word| word.parse().ok()).collect()
    };
    lists.flat_map(words).collect()
}

/// The mounts at or below `dir`, innermost first.
#[must_use]
pub fn mounts(dir: &Path) -> Vec<PathBuf> {
    mounts_seen_by(std::process::id(), dir)
}

/// The mounts at or below `dir` in the mount namespace of a process, innermost first.
#[must_use]
pub fn mounts_seen_by(pid: u32, dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let points = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|p| PathBuf::from(p.replace("\\040", " ")));
    let mut below: Vec<_> = points.filter(|p| p.starts_with(dir)).collect();
    below.reverse();
    below
}

/// The cgroup called `name` (as `k8s.io/c1`) in every hierarchy that has it.
#[must_use]
pub fn cgroups(name: &str) -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut roots: Vec<_> = hierarchies
        .filter(|path| path.join("cgroup.procs").exists())
        .collect();
    if root.join("cgroup.procs").exists() {
        roots = vec![root.to_path_buf()];
    }
    let mut found: Vec<_> = roots
        .into_iter()
        .map(|hierarchy| hierarchy.join(name))
        .filter(|path| path.is_dir())
        .collect();
    // cpu and cpuacct may be links to one hierarchy.
    found.sort();
    let mut seen = BTreeSet::new();
    found.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
    found
}

/// The cgroups below `cgroup`, itself last, so that they can be removed in this order.
#[must_use]
pub fn tree(cgroup: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(tree(&entry.path()));
        }
    }
    all.push(cgroup.to_path_buf());
    all
}

/// Ends every process in the cgroups called `name` and removes them.
pub(super) fn remove_cgroups(name: &str) {
    for _ in 0..100 {
        let left: Vec<_> = cgroups(name)
            .iter()
            .flat_map(|cgroup| tree(cgroup))
            .collect();
        if left.is_empty() {
            return;
        }
        for cgroup in left {
            if fs::remove_dir(&cgroup).is_ok() {
                continue;
            }
            // A paused container cannot die.
            let _ = fs::write(cgroup.join("freezer.state"), "THAWED");
            for pid in fs::read_to_string(cgroup.join("cgroup.procs"))
                .unwrap_or_default()
                .lines()
            {
                if let Ok(pid) = pid.parse() {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The shim's socket as every Go shim names it: the hash of containerd's address, namespace and id.
#[must_use]
pub fn socket(address: &Path, (namespace, id): &Key) -> PathBuf {
    hashed(&address.join(namespace).join(id))
}

fn hashed(what: &Path) -> PathBuf {
    let digest = Sha256::digest(what.as_os_str().as_bytes());
    let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Path::new("/run/containerd/s").join(name)
}

/// Every socket that a shim of this container may have: the original has a second one for debugging.
#[must_use]
pub fn sockets(address: &Path, key: &Key) -> [PathBuf; 2] {
    let (namespace, id) = key;
    let debug = address.join(namespace).join(id).join("debug");
    [socket(address, key), hashed(&debug)]
}

/// Removes the sockets of a shim of the original that was killed: it leaves them.
pub fn remove_sockets(address: &Path, key: &Key) {
    for socket in sockets(address, key) {
        let _ = fs::remove_file(socket);
    }
}

/// runc's state folder of a container.
#[must_use]
pub fn runc_state((namespace, id): &Key) -> PathBuf {
    Path::new("/run/containerd/runc").join(namespace).join(id)
}

/// Detaches every mount at or below `dir`.
pub(super) fn unmount_below(dir: &Path) {
    for mount in mounts(dir) {
        let _ = umount2(&mount, MntFlags::MNT_DETACH);
    }
}

/// Ends the shims of the containerd with this socket.
pub(super) fn kill_shims(address: &Path) {
    for shim in shims(address).iter().chain(&watchers(address)) {
        let _ = kill(Pid::from_raw(shim.pid), Signal::SIGKILL);
    }
}
