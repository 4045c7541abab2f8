//! Where a container is in every cgroup hierarchy of the machine.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::exec::Error;

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// `None` for cgroup v2, else the controllers (or `name=…`) of a v1 hierarchy.
    controllers: Option<Vec<String>>,
    /// The cgroup that is mounted, `/` unless a part of the tree was bind-mounted.
    root: String,
    at: PathBuf,
}

/// One hierarchy a container is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// `None` for cgroup v2, else the controllers as /proc/PID/cgroup names them.
    pub controllers: Option<String>,
    /// The cgroup as /proc/PID/cgroup names it.
    pub path: String,
    /// Its directory.
    pub dir: PathBuf,
}

impl Hierarchy {
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
        let text = read(&PathBuf::from(format!("/proc/{pid}/cgroup")))?;
        let mounts = mounts()?;
        let own = || read(Path::new("/proc/self/cgroup"));
        let mut hierarchies = Vec::new();
        for line in text.lines() {
            let Some((controllers, path)) = split(line) else {
                continue;
            };
            match directory(mounts, controllers, path) {
                Some(dir) => hierarchies.push(Hierarchy {
                    controllers: controllers.map(str::to_string),
                    path: path.to_string(),
                    dir,
                }),
                None if own()?.lines().any(|own| split(own) == split(line)) => {}
                None => {
                    return Err(Error::Unsupported(format!(
                        "cgroup hierarchy {:?} is not mounted",
                        controllers.unwrap_or("unified")
                    )));
                }
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
    let text = read(&PathBuf::from(format!("/proc/{pid}/cgroup")))?;
    let mounts = mounts()?;
    Ok(text.lines().find_map(|line| {
        let (None, path) = split(line)? else {
            return None;
        };
        Some(Hierarchy {
            controllers: None,
            path: path.to_string(),
            dir: directory(mounts, None, path)?,
        })
    }))
}

/// `8:pids:/a` → controllers and path; no controllers for `0::/a`.
fn split(line: &str) -> Option<(Option<&str>, &str)> {
    let (id, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    match (id, controllers) {
        ("0", "") => Some((None, path)),
        _ => Some((Some(controllers), path)),
    }
}

fn directory(mounts: &[Mount], controllers: Option<&str>, path: &str) -> Option<PathBuf> {
    mounts.iter().find_map(|mount| {
        let matches = match (controllers, &mount.controllers) {
            (None, None) => true,
            (Some(wanted), Some(have)) => wanted.split(',').all(|w| have.iter().any(|h| h == w)),
            _ => false,
        };
        let inside = match mount.root.as_str() {
            "/" => path,
            root => {
                let rest = path.strip_prefix(root)?;
                (rest.is_empty() || rest.starts_with('/')).then_some(rest)?
            }
        };
        matches.then(|| mount.at.join(inside.trim_start_matches('/')))
    })
}

/// The machine's cgroup mounts; they stay for the life of a shim.
fn mounts() -> Result<&'static [Mount], Error> {
    static MOUNTS: OnceLock<Vec<Mount>> = OnceLock::new();
    if let Some(mounts) = MOUNTS.get() {
        return Ok(mounts);
    }
    let mut found = parse_mounts(&read(Path::new("/proc/self/mountinfo"))?);
    // One that another mount covers is as good as none.
    found.retain(|mount| mount.at.join("cgroup.procs").exists());
    Ok(MOUNTS.get_or_init(|| found))
}

fn parse_mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut left = left.split(' ').skip(3);
            let (root, at) = (left.next()?, left.next()?);
            let mut right = right.split(' ');
            let (kind, _, options) = (right.next()?, right.next()?, right.next()?);
            let controllers = match kind {
                "cgroup2" => None,
                "cgroup" => Some(options.split(',').map(str::to_string).collect()),
                _ => return None,
            };
            Some(Mount {
                controllers,
                root: root.to_string(),
                at: PathBuf::from(at),
            })
        })
        .collect()
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

    const HYBRID: &str = "\
25 20 0:21 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
26 25 0:22 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw,nsdelegate
27 25 0:23 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
28 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
29 25 0:25 /docker/ab /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids";

    #[test]
    fn every_kind_of_hierarchy_has_its_directory() {
        let mounts = parse_mounts(HYBRID);
        let dir = |line: &str| {
            let (controllers, path) = split(line).unwrap();
            directory(&mounts, controllers, path)
        };
        assert_eq!(
            dir("0::/k8s/a").unwrap(),
            Path::new("/sys/fs/cgroup/unified/k8s/a")
        );
        assert_eq!(
            dir("1:name=systemd:/a").unwrap(),
            Path::new("/sys/fs/cgroup/systemd/a")
        );
        assert_eq!(
            dir("4:cpu,cpuacct:/a").unwrap(),
            Path::new("/sys/fs/cgroup/cpu,cpuacct/a")
        );
        assert_eq!(
            dir("5:pids:/docker/ab/c").unwrap(),
            Path::new("/sys/fs/cgroup/pids/c")
        );
        assert_eq!(
            dir("5:pids:/docker/abc"),
            None,
            "another cgroup with the same prefix"
        );
        assert_eq!(dir("6:rdma:/"), None);
    }

    #[test]
    fn this_process_is_somewhere() {
        let own = Membership::of(std::process::id() as libc::pid_t).unwrap();
        assert!(!own.hierarchies.is_empty());
        assert!(own.hierarchies.iter().all(|h| h.dir.is_dir()));
    }
}
