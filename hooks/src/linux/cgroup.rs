//! Where a process's cgroups are: `/proc/PID/cgroup` (cgroups(7)) joined with the cgroup mounts of this process.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::mountinfo;

/// One line of `/proc/PID/cgroup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The controllers (or `name=…`) of a v1 hierarchy; none for v2.
    pub controllers: Vec<Box<str>>,
    /// The cgroup, as seen from this process's cgroup namespace.
    pub path: String,
}

/// A mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The cgroup that is mounted: `/`, unless a part of the tree was bind-mounted.
    pub root: PathBuf,
    pub point: PathBuf,
    /// The options of a v1 mount, the controllers among them; `None` for v2.
    pub v1: Option<Vec<Box<str>>>,
}

impl Membership {
    /// `None` for what is no such line.
    pub fn parse(line: &str) -> Option<Self> {
        // The path may hold colons, the controllers may not.
        let mut fields = line.splitn(3, ':');
        let (_id, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let names = names.split(',').filter(|name| !name.is_empty());
        path.starts_with('/').then(|| Self {
            controllers: names.map(Box::from).collect(),
            path: path.to_owned(),
        })
    }

    /// Whether it is cgroup v2's.
    pub fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }

    /// Its directory under a mount that shows it: a bind mount or a cgroup namespace shows a part of the hierarchy only.
    pub fn directory(&self, mount: &Mount) -> Option<PathBuf> {
        let same = match (&mount.v1, self.controllers.first()) {
            (Some(options), Some(name)) => options.contains(name),
            (None, None) => true,
            _ => false,
        };
        let below = Path::new(&self.path)
            .strip_prefix(&mount.root)
            .ok()
            .filter(|_| same)?;
        // A process outside of our cgroup namespace has a path with `..`: not below this mount.
        let inside = below
            .components()
            .all(|component| matches!(component, Component::Normal(_)));
        inside.then(|| match below.as_os_str().is_empty() {
            true => mount.point.clone(),
            false => mount.point.join(below),
        })
    }
}

impl Mount {
    /// `None` for what is no cgroup mount, or has options that are no text.
    pub fn of(mount: mountinfo::Mount<'_>) -> Option<Self> {
        let v1 = match mount.kind {
            b"cgroup" => {
                let options = std::str::from_utf8(mount.options).ok()?;
                Some(options.split(',').map(Box::from).collect())
            }
            b"cgroup2" => None,
            _ => return None,
        };
        Some(Self {
            root: mount.root(),
            point: mount.point(),
            v1,
        })
    }
}

/// The folder in which CRIU mounts every hierarchy for as long as it restores a container.
const CRIU: &str = ".criu.cgyard.";

/// The cgroup mounts in `table`: those at the standard place first, since a mount elsewhere may belong to a container
/// and go with it; none of CRIU's, which are gone in a moment. Later mounts may cover them.
///
/// # Errors
/// As of [`mountinfo::read`].
pub fn mounts(table: &Path) -> io::Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    mountinfo::read(table, |mount| mounts.extend(Mount::of(mount)))?;
    mounts.retain(|mount: &Mount| !is_crius(&mount.point));
    let standard = |mount: &Mount| mount.point.starts_with("/sys/fs/cgroup");
    // As they were mounted otherwise.
    let (mut mounts, others): (Vec<_>, Vec<_>) = mounts.into_iter().partition(standard);
    mounts.extend(others);
    Ok(mounts)
}

fn is_crius(point: &Path) -> bool {
    let mut names = point.iter();
    names.any(|name| name.as_encoded_bytes().starts_with(CRIU.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(line: &str) -> Mount {
        Mount::of(mountinfo::Mount::parse(line.as_bytes()).unwrap()).unwrap()
    }

    fn directory(membership: &str, line: &str) -> Option<PathBuf> {
        Membership::parse(membership)
            .unwrap()
            .directory(&mount(line))
    }

    #[test]
    fn every_kind_of_hierarchy_has_its_directory() {
        let unified =
            "26 25 0:22 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw,nsdelegate";
        let systemd =
            "27 25 0:23 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd";
        let cpu =
            "28 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct";
        let found = |text: &str| Some(PathBuf::from(text));
        assert_eq!(
            directory("0::/k8s/a", unified),
            found("/sys/fs/cgroup/unified/k8s/a")
        );
        assert_eq!(directory("0::/", unified), found("/sys/fs/cgroup/unified"));
        assert_eq!(
            directory("1:name=systemd:/a:b", systemd),
            found("/sys/fs/cgroup/systemd/a:b")
        );
        assert_eq!(
            directory("4:cpu,cpuacct:/a", cpu),
            found("/sys/fs/cgroup/cpu,cpuacct/a")
        );
        assert_eq!(directory("4:cpu,cpuacct:/a", systemd), None);
        assert_eq!(directory("0::/a", cpu), None);
        assert_eq!(directory("6:rdma:/", unified), None);
    }

    #[test]
    fn a_part_of_a_hierarchy_shows_what_is_in_it() {
        let part = "29 25 0:25 /docker/ab /mnt/a\\040b rw - cgroup cgroup rw,pids";
        let found = |text: &str| Some(PathBuf::from(text));
        assert_eq!(directory("5:pids:/docker/ab/c", part), found("/mnt/a b/c"));
        assert_eq!(directory("5:pids:/docker/ab", part), found("/mnt/a b"));
        assert_eq!(
            directory("5:pids:/docker/abc", part),
            None,
            "the same prefix"
        );
        assert_eq!(directory("5:pids:/docker/ab/../c", part), None);
        let all = "29 25 0:25 / /mnt rw - cgroup cgroup rw,pids";
        assert_eq!(
            directory("5:pids:/../x", all),
            None,
            "outside of the namespace"
        );
    }

    #[test]
    fn what_is_no_membership_or_no_cgroup_is_none() {
        for wrong in ["", "0:", "0::", "0::a", "x"] {
            assert_eq!(Membership::parse(wrong), None, "{wrong:?}");
        }
        let other = mountinfo::Mount::parse(b"36 35 0:1 / /x rw - tmpfs tmpfs rw").unwrap();
        assert_eq!(Mount::of(other), None);
    }

    #[test]
    fn a_mount_at_the_standard_place_comes_first_and_crius_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("mountinfo");
        let lines = "1 2 0:1 / /elsewhere rw - cgroup2 c rw\n3 2 0:1 / /sys/fs/cgroup rw - cgroup2 c rw\n\
                     4 2 0:2 / /b/.criu.cgyard.qgAr7z/systemd rw - cgroup c rw,name=systemd\n";
        std::fs::write(&table, lines).unwrap();
        let points: Vec<_> = mounts(&table)
            .unwrap()
            .into_iter()
            .map(|m| m.point)
            .collect();
        assert_eq!(
            points,
            [Path::new("/sys/fs/cgroup"), Path::new("/elsewhere")]
        );
    }
}
