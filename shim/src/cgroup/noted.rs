//! The cgroups of a container by the paths that its OCI runtime has noted.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use podhook_hooks::linux::cgroup::Membership;

use super::error::Error;
use super::file;

/// Where the hierarchies are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// The name of cgroup v2 among the paths.
const UNIFIED: &str = "";

/// A container's cgroup in every hierarchy, by the names that runc gives these: a controller, `name=systemd`, and
/// nothing for cgroup v2.
#[derive(Debug)]
pub struct Noted(BTreeMap<String, PathBuf>);

impl Noted {
    /// None where one of the paths is not of a cgroup below the root of a hierarchy.
    pub fn new(paths: BTreeMap<String, PathBuf>) -> Option<Self> {
        // Pure cgroup v2 is mounted here itself, any other hierarchy in a folder.
        let least = match paths.len() == 1 && paths.contains_key(UNIFIED) {
            true => 1,
            false => 2,
        };
        let is_below = |path: &PathBuf| {
            let parts = path.strip_prefix(ROOT).map(|rest| {
                let plain = |part: &Component<'_>| matches!(part, Component::Normal(_));
                (
                    rest.components().all(|part| plain(&part)),
                    rest.components().count(),
                )
            });
            matches!(parts, Ok((true, count)) if count >= least)
        };
        (!paths.is_empty() && paths.values().all(is_below)).then_some(Self(paths))
    }

    /// Of an OCI runtime that has the same path in every hierarchy, and does not note more: crun. The folders are those
    /// that it looks for, by the names in `/proc/self/cgroup`.
    pub fn everywhere(path: &str) -> Option<Self> {
        let (root, path) = (Path::new(ROOT), path.trim_start_matches('/'));
        if is_v2(root) {
            return Self::new([(UNIFIED.to_owned(), root.join(path))].into());
        }
        let text = fs::read_to_string("/proc/self/cgroup").ok()?;
        Self::new(below_each(root, &text, path))
    }

    /// Whether the container is paused, being paused, or below a cgroup that is.
    ///
    /// # Errors
    /// Where that cannot be read.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        if let Some(dir) = self.0.get("freezer") {
            return is_frozen_v1(dir);
        }
        match self.0.get(UNIFIED) {
            Some(dir) if self.0.len() == 1 => Ok(is_frozen(dir)?),
            _ => Ok(false),
        }
    }

    /// Removes those that are there, with all below them.
    ///
    /// # Errors
    /// The first that could not be removed, with `ResourceBusy` where there are processes in it; the others are removed.
    pub fn remove(&self) -> Result<(), (PathBuf, io::Error)> {
        let mut kept = None;
        for dir in self.0.values() {
            if let Err(e) = remove(dir) {
                kept.get_or_insert((dir.clone(), e));
            }
        }
        kept.map_or(Ok(()), Err)
    }
}

fn is_v2(dir: &Path) -> bool {
    statfs(dir).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC)
}

/// A path in each hierarchy of cgroup v1 of a process, and in that of v2 where it is mounted beside them.
fn below_each(root: &Path, memberships: &str, path: &str) -> BTreeMap<String, PathBuf> {
    let unified = root.join("unified");
    let place = |membership: Membership| match membership.is_unified() {
        true => is_v2(&unified).then(|| (UNIFIED.to_owned(), unified.join(path))),
        false => {
            let names = membership.controllers.join(",");
            let folder = names.strip_prefix("name=").unwrap_or(&names);
            let dir = root.join(folder).join(path);
            Some((names, dir))
        }
    };
    let memberships = memberships.lines().filter_map(Membership::parse);
    memberships.filter_map(place).collect()
}

/// The same for a freezer of cgroup v1: THAWED, FREEZING or FROZEN (cgroup-v1/freezer-subsystem.rst).
pub(super) fn is_frozen_v1(dir: &Path) -> Result<bool, Error> {
    let state = file::read(&dir.join("freezer.state"))?;
    Ok(state.is_some_and(|state| state.trim() != "THAWED"))
}

/// The same for cgroup v2.
pub(super) fn is_frozen(dir: &Path) -> Result<bool, Error> {
    let frozen = file::parse(dir, "cgroup.events", |text| file::key(text, "frozen"))?;
    let asked = file::value(dir, "cgroup.freeze")?;
    Ok(frozen.flatten() == Some(1) || asked == Some(1))
}

fn remove(dir: &Path) -> io::Result<()> {
    // Nearly always there is none below it.
    if fs::remove_dir(dir).is_ok() {
        return Ok(());
    }
    match remove_tree(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes a cgroup after those below it.
pub(super) fn remove_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(paths: &[(&str, &str)]) -> Option<Noted> {
        let owned = |(name, path): &(&str, &str)| ((*name).to_owned(), PathBuf::from(path));
        Noted::new(paths.iter().map(owned).collect())
    }

    #[test]
    fn only_what_is_below_a_hierarchy_is_a_containers_own() {
        let v2 = |path| noted(&[("", path)]).is_some();
        assert!(v2("/sys/fs/cgroup/c1"));
        let v1 = |path| noted(&[("", "/sys/fs/cgroup/unified/c1"), ("pids", path)]).is_some();
        assert!(v1("/sys/fs/cgroup/pids/k8s.io/c1"));
        for other in [
            "",
            "/",
            "relative",
            "/etc",
            "/sys/fs/cgroup",
            "/sys/fs/cgroup/../../etc/c1",
        ] {
            assert!(!v2(other) && !v1(other), "{other}");
        }
        assert!(!v1("/sys/fs/cgroup/pids"), "the root of a hierarchy");
        assert!(noted(&[]).is_none());
    }

    #[test]
    fn one_path_is_looked_for_in_every_hierarchy() {
        let root = tempfile::tempdir().unwrap();
        let found = below_each(
            root.path(),
            "9:name=systemd:/x\n2:cpu,cpuacct:/\n0::/\n",
            "a/c1",
        );
        let expected = [
            ("cpu,cpuacct", "cpu,cpuacct/a/c1"),
            ("name=systemd", "systemd/a/c1"),
        ];
        let expected = expected.map(|(name, dir)| (name.to_owned(), root.path().join(dir)));
        assert_eq!(found, expected.into(), "v2 is not mounted");
        assert!(Noted::everywhere("/a/c1").is_some());
        for other in ["", "/", "//", "/../c1", "a/../../c1"] {
            assert!(Noted::everywhere(other).is_none(), "{other:?}");
        }
    }

    fn folder(dir: &Path, files: &[(&str, &str)]) -> PathBuf {
        fs::create_dir_all(dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
        dir.to_owned()
    }

    #[test]
    fn what_is_not_thawed_is_frozen() {
        let root = tempfile::tempdir().unwrap();
        let v1 = |text: &str| {
            let dir = folder(&root.path().join("freezer"), &[("freezer.state", text)]);
            let all = [
                ("freezer".to_owned(), dir),
                (UNIFIED.to_owned(), root.path().join("no")),
            ];
            Noted(all.into()).is_frozen().unwrap()
        };
        assert_eq!(
            ["THAWED\n", "FREEZING\n", "FROZEN\n"].map(v1),
            [false, true, true]
        );
        let v2 = |events: &str, freeze: &str| {
            let files = [("cgroup.events", events), ("cgroup.freeze", freeze)];
            let dir = folder(&root.path().join("v2"), &files);
            Noted([(UNIFIED.to_owned(), dir)].into())
                .is_frozen()
                .unwrap()
        };
        assert!(!v2("populated 1\nfrozen 0\n", "0\n"));
        assert!(v2("populated 1\nfrozen 1\n", "0\n"), "one above it is");
        assert!(v2("populated 1\nfrozen 0\n", "1\n"));
        let gone = Noted([(UNIFIED.to_owned(), root.path().join("no"))].into());
        assert!(!gone.is_frozen().unwrap());
    }

    #[test]
    fn all_are_removed_but_for_what_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let dir = |name: &str| (name.to_owned(), root.path().join(name));
        for name in ["cpu", "memory/leaf/leaf", "pids"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        // No file of a real cgroup keeps it from being removed; this one does.
        fs::write(root.path().join("cpu/kept"), "").unwrap();
        let noted = Noted(["cpu", "gone", "memory", "pids"].map(dir).into());
        let (kept, _) = noted.remove().unwrap_err();
        assert_eq!(kept, root.path().join("cpu"));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        fs::remove_file(root.path().join("cpu/kept")).unwrap();
        noted.remove().unwrap();
        noted.remove().unwrap();
    }
}
