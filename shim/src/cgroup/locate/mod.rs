//! Where a process's cgroups are: `/proc/<pid>/cgroup` (cgroups(7)) joined with the cgroup mounts
//! of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};
use podhook_hooks::linux::cgroup::{Membership, Mount, mounts};
use podhook_hooks::linux::process::Stat;

use super::error::{Error, Malformed};
use super::file;

/// The directories of one cgroup.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Controllers in v1 hierarchies, with or without a v2 hierarchy beside them (hybrid).
    V1(Hierarchies),
    /// Everything in the unified hierarchy.
    V2(PathBuf),
}

/// The directories of a cgroup in v1 hierarchies.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hierarchies {
    /// Controllers (or `name=…`) and the directory they share.
    pub(super) v1: Vec<(Vec<Box<str>>, PathBuf)>,
    /// The directory in the v2 hierarchy of a hybrid setup.
    pub(super) unified: Option<PathBuf>,
}

impl Hierarchies {
    /// The directories that `of` makes of these.
    pub(super) fn map(self, of: impl Fn(PathBuf) -> PathBuf) -> Self {
        let v1 = self.v1.into_iter();
        Self {
            v1: v1.map(|(names, dir)| (names, of(dir))).collect(),
            unified: self.unified.map(of),
        }
    }

    /// The directory of a controller, `None` where it is not in a v1 hierarchy.
    pub(super) fn dir(&self, controller: &str) -> Option<&Path> {
        let has = |names: &[Box<str>]| names.iter().any(|name| &**name == controller);
        self.v1
            .iter()
            .find(|(names, _)| has(names))
            .map(|(_, dir)| dir.as_path())
    }
}

/// The cgroups of a live process, seen through this process's mounts.
pub(super) fn of_pid(proc: &Path, pid: i32) -> Result<Layout, Error> {
    let process = proc.join(pid.to_string());
    let path = process.join("cgroup");
    let text = file::read(&path)
        .or_else(gone_is_none)?
        .ok_or(Error::Exited { pid })?;
    let memberships = parse_memberships(&text).map_err(Error::parse(&path))?;

    // For an exiting process the kernel reports the root of every v1 hierarchy (it has left its
    // css_set). PF_EXITING is never cleared, so when it is not set now, the text above was true.
    let path = process.join("stat");
    let stat = file::read(&path)
        .or_else(gone_is_none)?
        .ok_or(Error::Exited { pid })?;
    if is_exiting(&stat).map_err(Error::parse(&path))? {
        return Err(Error::Exited { pid });
    }
    if let Some(deleted) = memberships.iter().find(|m| m.path.ends_with(" (deleted)")) {
        return Err(Error::Gone {
            path: PathBuf::from(&deleted.path),
        });
    }
    let table = proc.join("self/mountinfo");
    let mounts = mounts(&table).map_err(Error::io("read", &table))?;
    join(&memberships, &mounts, is_visible).ok_or(Error::NotMounted { pid })
}

/// Whether `dir` is a cgroup directory of that version: mountinfo also lists mounts that later
/// ones cover.
fn is_visible(dir: &Path, v1: bool) -> bool {
    let expected = if v1 {
        CGROUP_SUPER_MAGIC
    } else {
        CGROUP2_SUPER_MAGIC
    };
    statfs(dir).is_ok_and(|fs| fs.filesystem_type() == expected)
}

/// A read from `/proc/<pid>` answers ESRCH when the process went away after the open.
fn gone_is_none(error: Error) -> Result<Option<String>, Error> {
    match error {
        Error::Io { ref source, .. } if source.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        error => Err(error),
    }
}

fn parse_memberships(text: &str) -> Result<Vec<Membership>, Malformed> {
    text.lines()
        .map(|line| Membership::parse(line).ok_or_else(|| Malformed::new(line)))
        .collect()
}

/// Whether `/proc/<pid>/stat` shows a process that has begun to exit, or a zombie.
fn is_exiting(stat: &str) -> Result<bool, Malformed> {
    Stat::parse(stat)
        .and_then(|stat| stat.is_exiting())
        .ok_or_else(|| Malformed::new(stat))
}

/// The directories of the memberships. A v1 hierarchy counts when it carries a controller and is
/// mounted: `name=systemd` alone is v2 for us, and so is a mount namespace that shows only cgroup2.
fn join(
    memberships: &[Membership],
    mounts: &[Mount],
    visible: impl Fn(&Path, bool) -> bool,
) -> Option<Layout> {
    let mut found = Hierarchies::default();
    for membership in memberships {
        let v1 = !membership.is_unified();
        let mut dirs = mounts
            .iter()
            .filter_map(|mount| membership.directory(mount));
        match dirs.find(|dir| visible(dir, v1)) {
            Some(dir) if !v1 => found.unified = Some(dir),
            Some(dir) => found.v1.push((membership.controllers.clone(), dir)),
            None => {}
        }
    }
    let mut names = found.v1.iter().flat_map(|(names, _)| names);
    if names.any(|name| !name.starts_with("name=")) {
        return Some(Layout::V1(found));
    }
    found.unified.map(Layout::V2)
}

#[cfg(test)]
mod tests;
