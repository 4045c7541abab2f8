//! Removing an instance from the node, whatever state it is in.
//!
//! An instance is its folder `TMP/phit-PID-N`, whose name is also its containerd namespace and its
//! cgroup. The owner holds a lock on `TMP/phit-PID-N/lock`; a folder whose lock is free belongs to a run
//! that was killed, and the next run removes it.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{env, process, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::network;
use super::remains;
use crate::driver;

const PREFIX: &str = "phit-";

/// Makes the folder of a new instance and takes its lock.
///
/// # Errors
/// When it cannot be made or locked.
pub fn new_folder() -> std::io::Result<(PathBuf, File)> {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{PREFIX}{}-{n}", process::id());
    // It gets its name when it is locked: another run takes one that is not for a killed run's.
    let new = env::temp_dir().join(format!(".{name}"));
    for folder in ["bin", "cni", "logs"] {
        fs::create_dir_all(new.join(folder))?;
    }
    let lock = File::create(new.join("lock"))?;
    lock.lock()?;
    let dir = env::temp_dir().join(name);
    fs::rename(new, &dir)?;
    Ok((dir, lock))
}

/// Removes what killed runs left behind.
pub fn stale() {
    for entry in fs::read_dir(env::temp_dir())
        .into_iter()
        .flatten()
        .flatten()
    {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let Ok(lock) = File::open(entry.path().join("lock")) else {
            continue;
        };
        if lock.try_lock().is_ok() {
            remove(&entry.path(), &BTreeSet::new());
        }
    }
}

/// Ends everything that belongs to the instance in `dir` and removes its traces, including those of
/// the containers in `known`.
pub fn remove(dir: &Path, known: &BTreeSet<remains::Key>) {
    let address = dir.join("containerd.sock");
    let mut containers = known.clone();
    containers.extend(bundles(dir));
    for file in ["docker/pid", "pid"] {
        if let Some(pid) = fs::read_to_string(dir.join(file))
            .ok()
            .and_then(|text| text.trim().parse().ok())
        {
            kill_daemon(pid, dir);
        }
    }
    remains::kill_shims(&address);
    let instance = dir.file_name().unwrap_or_default().to_string_lossy();
    for key in &containers {
        for name in driver::cgroup_names(&instance, key) {
            remains::remove_cgroups(&name);
        }
        let _ = fs::remove_dir_all(remains::runc_state(key));
        remains::remove_sockets(&address, key);
    }
    if !instance.is_empty() {
        remains::remove_cgroups(&instance);
        // crun has caches there, too.
        let _ = fs::remove_dir_all(Path::new("/run/containerd/runc").join(&*instance));
    }
    remains::unmount_below(dir);
    if let Ok(bridge) = fs::read_to_string(dir.join("bridge")) {
        network::remove(&bridge);
    }
    // Something may still be writing; the second try finds the rest.
    for _ in 0..20 {
        if fs::remove_dir_all(dir).is_ok() || !dir.exists() {
            return;
        }
        remains::unmount_below(dir);
        thread::sleep(Duration::from_millis(100));
    }
}

/// The containers that still have a bundle or a work folder.
fn bundles(dir: &Path) -> BTreeSet<remains::Key> {
    let mut found = BTreeSet::new();
    for base in ["state", "root"] {
        let tasks = dir.join(base).join("io.containerd.runtime.v2.task");
        for namespace in fs::read_dir(tasks).into_iter().flatten().flatten() {
            for id in fs::read_dir(namespace.path())
                .into_iter()
                .flatten()
                .flatten()
            {
                found.insert((
                    namespace.file_name().to_string_lossy().into_owned(),
                    id.file_name().to_string_lossy().into_owned(),
                ));
            }
        }
    }
    found
}

/// Ends the containerd or dockerd of a killed run, if the process is still that one.
fn kill_daemon(pid: i32, dir: &Path) {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if String::from_utf8_lossy(&line).contains(&format!("{}/", dir.display())) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        for _ in 0..100 {
            if !Path::new(&format!("/proc/{pid}/cwd")).exists() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
