//! Where a container is in every cgroup hierarchy of the machine.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::exec::Error;
use crate::linux::cgroup::{self, Mount};
use crate::linux::mountinfo;

/// One hierarchy a container is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// `None` for cgroup v2, else the controllers as /proc/PID/cgroup names them.
    pub controllers: Option<String>,
    /// The cgroup as /proc/PID/cgroup names it.
    pub path: String,
    pub dir: PathBuf,
}

impl Hierarchy {
    /// Where a process is that `found` tells of; `None` where that is not mounted.
    fn of(found: &cgroup::Membership, mounts: &[Mount]) -> Option<Self> {
        let dir = mounts.iter().find_map(|mount| found.directory(mount))?;
        Some(Self {
            controllers: (!found.is_unified()).then(|| found.controllers.join(",")),
            path: found.path.clone(),
            dir,
        })
    }

    pub fn is_unified(&self) -> bool {
        self.controllers.is_none()
    }

    /// The root cgroup belongs to the host: nothing of ours goes there.
    pub fn is_root(&self) -> bool {
        self.path == "/"
    }

    pub fn has(&self, controller: &str) -> bool {
        self.controllers
            .as_deref()
            .is_some_and(|list| list.split(',').any(|name| name == controller))
    }
}

/// Every hierarchy a process is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    pub hierarchies: Vec<Hierarchy>,
    /// The kernel has cgroup.kill, and the process is in cgroup v2.
    pub can_kill: bool,
}

impl Membership {
    /// The cgroups of `pid`. A hierarchy that is not mounted cannot be joined: that is an error unless
    /// this process, and so its children, is in the same cgroup there anyway.
    pub fn of(pid: libc::pid_t) -> Result<Self, Error> {
        let mounts = mounts()?;
        let mut own = None;
        let mut hierarchies = Vec::new();
        for found in memberships(&format!("/proc/{pid}/cgroup"))? {
            if let Some(hierarchy) = Hierarchy::of(&found, mounts) {
                hierarchies.push(hierarchy);
                continue;
            }
            let own = match &own {
                Some(own) => own,
                None => own.insert(memberships("/proc/self/cgroup")?),
            };
            if !own.contains(&found) {
                let names = match found.controllers.join(",") {
                    none if none.is_empty() => "unified".to_string(),
                    names => names,
                };
                return Err(Error::Unsupported(format!(
                    "cgroup hierarchy {names:?} is not mounted"
                )));
            }
        }
        let mut membership = Self {
            hierarchies,
            can_kill: false,
        };
        membership.can_kill = membership
            .unified()
            .is_some_and(|own| own.dir.join("cgroup.kill").exists());
        Ok(membership)
    }

    pub fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|h| h.is_unified())
    }

    pub fn controller(&self, name: &str) -> Option<&Hierarchy> {
        self.hierarchies.iter().find(|h| h.has(name))
    }
}

/// Where `pid` is in cgroup v2, if that is mounted.
pub(crate) fn unified_of(pid: libc::pid_t) -> Result<Option<Hierarchy>, Error> {
    let mounts = mounts()?;
    let all = memberships(&format!("/proc/{pid}/cgroup"))?;
    let unified = all.iter().find(|found| found.is_unified());
    Ok(unified.and_then(|found| Hierarchy::of(found, mounts)))
}

fn memberships(path: &str) -> Result<Vec<cgroup::Membership>, Error> {
    let text = read(Path::new(path))?;
    Ok(text.lines().filter_map(cgroup::Membership::parse).collect())
}

/// The machine's cgroup mounts; they stay for the life of a shim.
fn mounts() -> Result<&'static [Mount], Error> {
    static MOUNTS: OnceLock<Vec<Mount>> = OnceLock::new();
    if let Some(mounts) = MOUNTS.get() {
        return Ok(mounts);
    }
    let table = Path::new(mountinfo::TABLE);
    let mut found = cgroup::mounts(table).map_err(|source| Error::File {
        operation: "read",
        path: table.to_path_buf(),
        source,
    })?;
    // One that another mount covers is as good as none.
    found.retain(|mount| mount.point.join("cgroup.procs").exists());
    Ok(MOUNTS.get_or_init(|| found))
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::File {
        operation: "read",
        path: path.to_path_buf(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_somewhere() {
        let own = Membership::of(std::process::id() as libc::pid_t).unwrap();
        assert!(!own.hierarchies.is_empty());
        assert!(own.hierarchies.iter().all(|h| h.dir.is_dir()));
    }
}
