//! Where a process's cgroups are: `/proc/<pid>/cgroup` (cgroups(7)) joined with the cgroup mounts
//! of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, statfs};

use super::error::{Error, Malformed};
use super::file;

/// A node with ten thousand mounts has some megabytes.
const MAX_MOUNTINFO: u64 = 64 << 20;
/// PF_EXITING of include/linux/sched.h, as in the flags of `/proc/<pid>/stat`.
const PF_EXITING: u64 = 0x4;

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
    let mounts = read_mounts(&proc.join("self/mountinfo"))?;
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

/// One line of `/proc/<pid>/cgroup`; no controllers: the v2 hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Membership {
    controllers: Vec<Box<str>>,
    path: String,
}

fn parse_memberships(text: &str) -> Result<Vec<Membership>, Malformed> {
    let parse = |line: &str| {
        // The path may hold colons, the controllers may not.
        let mut fields = line.splitn(3, ':');
        let (_id, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let controllers = names
            .split(',')
            .filter(|n| !n.is_empty())
            .map(Box::from)
            .collect();
        path.starts_with('/').then(|| Membership {
            controllers,
            path: path.to_owned(),
        })
    };
    text.lines()
        .map(|line| parse(line).ok_or_else(|| Malformed::new(line)))
        .collect()
}

/// Whether `/proc/<pid>/stat` shows a process that has begun to exit, or a zombie.
fn is_exiting(stat: &str) -> Result<bool, Malformed> {
    // The command is in parentheses and may hold both spaces and parentheses.
    let fields = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.split(' ').collect::<Vec<_>>());
    let parsed = fields.and_then(|f| Some((*f.first()?, f.get(6)?.parse::<u64>().ok()?)));
    let (state, flags) = parsed.ok_or_else(|| Malformed::new(stat))?;
    Ok(matches!(state, "Z" | "X" | "x") || flags & PF_EXITING != 0)
}

/// A cgroup mount of this process.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    root: PathBuf,
    point: PathBuf,
    /// The super block's options of a v1 mount (controllers among them), `None` for v2.
    v1: Option<Vec<Box<str>>>,
}

/// Reads line by line: on a full node all lines together are megabytes, the cgroup ones a page.
fn read_mounts(path: &Path) -> Result<Vec<Mount>, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut reader = BufReader::new(file.take(MAX_MOUNTINFO));
    let (mut mounts, mut line, mut total) = (Vec::new(), Vec::new(), 0);
    loop {
        line.clear();
        total += reader
            .read_until(b'\n', &mut line)
            .map_err(Error::io("read", path))? as u64;
        if total >= MAX_MOUNTINFO {
            return Err(Error::TooLarge {
                path: path.to_owned(),
                limit: MAX_MOUNTINFO,
                unit: "bytes",
            });
        }
        if line.is_empty() {
            return Ok(mounts);
        }
        // Mount points need not be UTF-8; a cgroup mount's line that is not is not usable here.
        mounts.extend(std::str::from_utf8(&line).ok().and_then(parse_mount));
    }
}

/// A line of mountinfo, `None` for what is not a cgroup mount.
fn parse_mount(line: &str) -> Option<Mount> {
    let (before, after) = line.trim_end().split_once(" - ")?;
    let mut after = after.split(' ');
    let (kind, _source, options) = (after.next()?, after.next()?, after.next()?);
    let v1 = match kind {
        "cgroup" => Some(options.split(',').map(Box::from).collect()),
        "cgroup2" => None,
        _ => return None,
    };
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?, before.next()?);
    Some(Mount {
        root: unescape(root),
        point: unescape(point),
        v1,
    })
}

/// Undoes mangle_path(): `\040` and its like.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let code = bytes
            .get(i + 1..i + 4)
            .and_then(|d| std::str::from_utf8(d).ok());
        match code.and_then(|d| u8::from_str_radix(d, 8).ok()) {
            Some(byte) if bytes[i] == b'\\' => {
                out.push(byte);
                i += 4;
            }
            _ => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

/// The directories of the memberships. A v1 hierarchy counts when it carries a controller and is
/// mounted: `name=systemd` alone is v2 for us, and so is a mount namespace that shows only cgroup2.
fn join(
    memberships: &[Membership],
    mounts: &[Mount],
    visible: impl Fn(&Path, bool) -> bool,
) -> Option<Layout> {
    // The standard place first: a mount elsewhere may belong to a container and go with it.
    let (standard, others): (Vec<_>, Vec<_>) = mounts
        .iter()
        .partition(|mount| mount.point.starts_with("/sys/fs/cgroup"));
    let mounts: Vec<&Mount> = standard.into_iter().chain(others).collect();
    let mut found = Hierarchies::default();
    for membership in memberships {
        let v1 = !membership.controllers.is_empty();
        let mut dirs = mounts
            .iter()
            .filter_map(|mount| directory(membership, mount));
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

/// The directory of a membership under a mount that shows it (a bind mount or a cgroup namespace
/// shows a part of the hierarchy only).
fn directory(membership: &Membership, mount: &Mount) -> Option<PathBuf> {
    let same = match (&mount.v1, membership.controllers.first()) {
        (Some(options), Some(name)) => options.contains(name),
        (None, None) => true,
        _ => false,
    };
    let below = Path::new(&membership.path)
        .strip_prefix(&mount.root)
        .ok()
        .filter(|_| same)?;
    // A process outside of our cgroup namespace has a path with `..`: not below this mount.
    let inside = below
        .components()
        .all(|c| matches!(c, Component::Normal(_)));
    inside.then(|| {
        if below.as_os_str().is_empty() {
            mount.point.clone()
        } else {
            mount.point.join(below)
        }
    })
}

#[cfg(test)]
mod tests;
