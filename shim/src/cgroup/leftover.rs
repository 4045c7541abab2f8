//! The cgroup of a container that has no shim any more, or of a pod's holder that is yet to be: found by the
//! configuration, since no process says where it is.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use podhook_hooks::linux::limit::Asked;

use super::error::Error;
use super::noted::{self, remove_tree};
use super::processes;
use crate::host::pidfd;

/// Where the hierarchies are mounted.
const ROOT: &str = "/sys/fs/cgroup";
const PAUSE: Duration = Duration::from_millis(10);
/// Where systemd puts what names no slice.
const DEFAULT_SLICE: &str = "system.slice";

/// One container's cgroup, in every hierarchy that has it: looked for anew each time, since what makes it may
/// still be at work.
pub struct Leftover {
    root: PathBuf,
    /// Below the root of a hierarchy.
    path: Option<PathBuf>,
}

impl Leftover {
    /// That of the `linux.cgroupsPath` of a container's configuration. None for a path that names no
    /// cgroup of the container's own: a relative one starts at the runtime's own cgroup, which is not
    /// known here, and the root holds everything else.
    pub fn of(cgroups_path: &str, systemd: bool) -> Self {
        Self::below(Path::new(ROOT), cgroups_path, systemd)
    }

    fn below(root: &Path, cgroups_path: &str, systemd: bool) -> Self {
        Self {
            root: root.to_owned(),
            path: relative_path(cgroups_path, systemd),
        }
    }

    /// Moves a process there.
    ///
    /// # Errors
    /// The first one that does not take it.
    pub fn join(&self, pid: u32) -> Result<(), Error> {
        for dir in self.find()? {
            let file = dir.join("cgroup.procs");
            fs::write(&file, pid.to_string())
                .map_err(|e| Error::io("write", &file)(Asked::CgroupMove.explain(e)))?;
        }
        Ok(())
    }

    /// Which of these containers, by name and `linux.cgroupsPath`, has the same cgroup, or one below: what is in it
    /// is not the container's own then.
    pub fn shared_with(&self, others: Vec<(String, String)>) -> Option<String> {
        let path = self.path.as_ref()?;
        let shares = |(id, other): (String, String)| {
            // Which driver the other one has its path for shows in its form.
            let systemd = other.split(':').count() == 3;
            let other = relative_path(&other, systemd)?;
            other.starts_with(path).then_some(id)
        };
        others.into_iter().find_map(shares)
    }

    /// Whether there is one hierarchy, of version 2.
    pub fn is_unified(&self) -> bool {
        self.root.join("cgroup.controllers").exists()
    }

    fn hierarchies(&self) -> Result<Vec<PathBuf>, Error> {
        if self.is_unified() {
            return Ok(vec![self.root.clone()]);
        }
        let entries = match fs::read_dir(&self.root) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.map_err(Error::io("list", &self.root))?,
        };
        // Links are second names: cpu, cpuacct.
        let dirs = entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path());
        Ok(dirs.collect())
    }

    /// Where it is.
    ///
    /// # Errors
    /// Where that cannot be known.
    pub fn find(&self) -> Result<Vec<PathBuf>, Error> {
        let Some(path) = &self.path else {
            return Ok(Vec::new());
        };
        let hierarchies = self.hierarchies()?;
        let dirs = hierarchies.into_iter().map(|root| root.join(path));
        Ok(dirs
            .filter(|dir| dir.join("cgroup.procs").exists())
            .collect())
    }

    /// Where it is, as far as that is known.
    fn dirs(&self) -> Vec<PathBuf> {
        self.find().unwrap_or_default()
    }

    /// Makes it in every hierarchy, and what it is below.
    ///
    /// # Errors
    /// The first one that cannot be made.
    pub fn make(&self) -> Result<(), Error> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        for root in self.hierarchies()? {
            let mut dir = root;
            for name in path {
                let above = dir.clone();
                dir.push(name);
                match fs::create_dir(&dir) {
                    Ok(()) => fill_cpuset(&above, &dir),
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                    Err(e) => return Err(Error::io("create", &dir)(Asked::NewCgroup.explain(e))),
                }
            }
        }
        Ok(())
    }

    /// Where it is frozen: with what it is below, as long as it is empty. A process would join it, and wait there.
    pub fn frozen(&self) -> Option<PathBuf> {
        let is_frozen = |dir: &PathBuf| {
            noted::is_frozen_v1(dir).unwrap_or(false) || noted::is_frozen(dir).unwrap_or(false)
        };
        self.dirs().into_iter().find(is_frozen)
    }

    /// Whether any of it is still there. What cannot be looked for may be.
    pub fn exists(&self) -> bool {
        self.find().map_or(true, |dirs| !dirs.is_empty())
    }

    /// Kills every process in it, frozen ones too; whether none is left.
    pub fn kill(&self, deadline: Instant) -> bool {
        loop {
            let found = self.pids();
            // What cannot be listed is not empty.
            if matches!(&found, Ok(pids) if pids.is_empty()) {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            self.kill_round(&found.unwrap_or_default());
            std::thread::sleep(PAUSE);
        }
    }

    fn kill_round(&self, pids: &[i32]) {
        let write = |dir: &Path, file, text| fs::write(dir.join(file), text).is_ok();
        let dirs = self.dirs();
        // Linux 5.14, v2: the whole tree at once. Beside v1 it may hold a part of the processes, and thaws none.
        let killed = dirs.iter().any(|dir| write(dir, "cgroup.kill", "1"));
        if killed && dirs.len() == 1 {
            return;
        }
        let held: Vec<(i32, OwnedFd)> = pids
            .iter()
            .filter_map(|&pid| Some((pid, pidfd::open(pid).ok()?)))
            .collect();
        // Still a member after it is held: the pidfd is of that member and of no later process.
        let members = self.pids().unwrap_or_default();
        for (pid, fd) in held {
            if members.contains(&pid) {
                let _ = pidfd::send_signal(&fd, libc::SIGKILL);
            }
        }
        for dir in &dirs {
            // A frozen process dies when it is thawed.
            let _ = write(dir, "freezer.state", "THAWED") || write(dir, "cgroup.freeze", "0");
        }
    }

    /// Every process in it.
    ///
    /// # Errors
    /// Where a cgroup cannot be read: there may be more then.
    pub fn pids(&self) -> Result<Vec<i32>, Error> {
        let mut pids = Vec::new();
        for dir in self.find()? {
            match processes::list_all(&dir) {
                Ok(found) => pids.extend(found),
                Err(Error::Gone { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Removes it, and waits for processes that are dying in it, and for a descriptor. Returns what is left at the deadline.
    ///
    /// # Errors
    /// The first cgroup that could not be removed, and why.
    pub fn remove(&self, deadline: Instant) -> Result<(), Error> {
        loop {
            match self.remove_once() {
                Err(kept) if Instant::now() > deadline => return Err(kept),
                Err(_) => std::thread::sleep(PAUSE),
                Ok(()) => return Ok(()),
            }
        }
    }

    fn remove_once(&self) -> Result<(), Error> {
        let mut kept = None;
        for dir in self.find()? {
            match remove_tree(&dir) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    kept.get_or_insert(Error::io("remove", &dir)(e));
                }
                _ => {}
            }
        }
        kept.map_or(Ok(()), Err)
    }
}

/// A new cgroup of version 1 has neither processors nor memory, and takes no process then.
fn fill_cpuset(above: &Path, dir: &Path) {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if dir.join("tasks").exists()
            && let Ok(text) = fs::read(above.join(file))
        {
            let _ = fs::write(dir.join(file), text);
        }
    }
}

/// The path below a hierarchy's root.
fn relative_path(cgroups_path: &str, systemd: bool) -> Option<PathBuf> {
    let parts: Vec<_> = cgroups_path.split(':').collect();
    let path = match parts[..] {
        [slice, prefix, name] if systemd => {
            expand_slice(slice).join(format!("{prefix}-{name}.scope"))
        }
        _ => Path::new(cgroups_path).strip_prefix("/").ok()?.to_owned(),
    };
    let plain = |part| matches!(part, Component::Normal(_));
    (path.components().next().is_some() && path.components().all(plain)).then_some(path)
}

/// systemd nests slices by the dashes in their names: `a-b.slice` is in `a.slice`.
fn expand_slice(slice: &str) -> PathBuf {
    let slice = match slice {
        "" => DEFAULT_SLICE,
        "-.slice" => return PathBuf::new(),
        named => named,
    };
    let Some(name) = slice.strip_suffix(".slice") else {
        return PathBuf::from(slice);
    };
    let ends = name.match_indices('-').map(|(at, _)| at);
    ends.chain([name.len()])
        .filter_map(|end| Some(format!("{}.slice", name.get(..end)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_either_driver() {
        let path = |text, systemd| relative_path(text, systemd).map(|p| p.display().to_string());
        assert_eq!(path("/k8s.io/c1", false).as_deref(), Some("k8s.io/c1"));
        assert_eq!(path("/a:b:c", false).as_deref(), Some("a:b:c"));
        let pod = "kubepods-burstable-pod1.slice:cri-containerd:c1";
        assert_eq!(
            path(pod, true).as_deref(),
            Some(
                "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-c1.scope"
            )
        );
        assert_eq!(
            path(":x:c1", true).as_deref(),
            Some("system.slice/x-c1.scope")
        );
        assert_eq!(path("-.slice:x:c1", true).as_deref(), Some("x-c1.scope"));
    }

    #[test]
    fn what_is_not_the_containers_own_is_left_alone() {
        for shared in ["", "/", "relative/c1", "/../c1", "/a/../.."] {
            assert_eq!(relative_path(shared, false), None, "{shared:?}");
        }
    }

    #[test]
    fn a_cgroup_with_another_containers_is_not_its_own() {
        let shared = |own: &str, systemd, other: &str| {
            let others = vec![("c2".to_owned(), other.to_owned())];
            Leftover::of(own, systemd).shared_with(others).is_some()
        };
        assert!(shared("/ns/c1", false, "/ns/c1"));
        assert!(shared("/ns/c1", false, "/ns/c1/below"));
        assert!(shared("a.slice:x:c1", true, "a.slice:x:c1"));
        assert!(!shared("/ns/c1", false, "/ns/c2"));
        assert!(!shared("/ns/c1", false, "/ns/c11"));
        assert!(!shared("/ns/c1/below", false, "/ns/c1"));
        assert!(!shared("a.slice:x:c1", true, "a.slice:x:c2"));
        assert!(!shared("/ns/c1", false, ""));
    }

    #[test]
    fn every_hierarchy_that_has_it_is_found() {
        let root = tempfile::tempdir().unwrap();
        for name in ["memory", "pids"] {
            let dir = root.path().join(name).join("ns/c1");
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("cgroup.procs"), "").unwrap();
        }
        fs::create_dir_all(root.path().join("cpuset")).unwrap();
        let mut found = Leftover::below(root.path(), "/ns/c1", false).dirs();
        found.sort();
        let names: Vec<_> = found
            .iter()
            .map(|dir| dir.strip_prefix(root.path()).unwrap())
            .collect();
        assert_eq!(names, ["memory/ns/c1", "pids/ns/c1"].map(Path::new));
    }
    #[test]
    fn what_cannot_be_listed_is_not_empty() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("pids/ns/c1");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("cgroup.procs"), "no pid\n").unwrap();
        let leftover = Leftover::below(root.path(), "/ns/c1", false);
        assert!(!leftover.kill(Instant::now()));
        fs::write(dir.join("cgroup.procs"), "").unwrap();
        assert!(leftover.kill(Instant::now()));
        // As many as no list of a living shim holds.
        for n in 0..4200 {
            fs::create_dir(dir.join(n.to_string())).unwrap();
        }
        fs::write(dir.join("4199/cgroup.procs"), "1\n").unwrap();
        assert_eq!(leftover.pids().unwrap(), [1]);
    }

    #[test]
    fn a_cgroup_is_frozen_in_either_version() {
        for (file, text, frozen) in [
            ("freezer.state", "THAWED\n", false),
            ("freezer.state", "FROZEN\n", true),
            ("freezer.state", "FREEZING\n", true),
            ("cgroup.events", "populated 0\nfrozen 0\n", false),
            ("cgroup.events", "populated 0\nfrozen 1\n", true),
        ] {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("freezer/ns/c1");
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("cgroup.procs"), "").unwrap();
            fs::write(dir.join(file), text).unwrap();
            let found = Leftover::below(root.path(), "/ns/c1", false).frozen();
            assert_eq!(found, frozen.then_some(dir), "{text}");
        }
    }

    #[test]
    fn what_is_made_later_is_removed_as_well() {
        let root = tempfile::tempdir().unwrap();
        let leftover = Leftover::below(root.path(), "/ns/c1", false);
        let dir = root.path().join("pids/ns/c1");
        fs::create_dir_all(&dir).unwrap();
        // No file of a real cgroup keeps it from being removed; this one does.
        fs::write(dir.join("cgroup.procs"), "").unwrap();
        let kept = leftover.remove(Instant::now()).unwrap_err().to_string();
        assert!(kept.contains(dir.to_str().unwrap()), "{kept}");
    }

    #[test]
    fn what_cannot_be_looked_for_may_be_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let leftover = Leftover::below(file.path(), "/ns/c1", false);
        assert!(leftover.exists());
        assert!(leftover.remove(Instant::now()).is_err());
        let gone = Leftover::below(&file.path().with_extension("gone"), "/ns/c1", false);
        assert!(!gone.exists());
        assert!(gone.remove(Instant::now()).is_ok());
    }
}
