//! The cgroups that a new process goes to, opened, and who puts it there.
//!
//! A process that writes `0` to a v1 `tasks` file, and one that is born in its cgroup (CLONE_INTO_CGROUP), does
//! not wait for the kernel's lock over all forks (cgroup_threadgroup_rwsem), which a move by number does: ten
//! milliseconds and more on a machine at rest. So the first child joins, and the final one is born where it
//! belongs. But the first one counts there, too: where the limit of processes leaves little, it stays out of
//! the cgroup that has the limit, and the caller moves the final child in, which no limit forbids.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use libc::c_int;

use super::room;
use super::view::Visit;
use crate::exec::Error;
use crate::exec::child::joiner::at_nth;
use crate::exec::plan::report::{Failure, Step};
use crate::exec::tree::Tree;
use crate::exec::tree::cgroup::{Hierarchy, Membership};

/// Who counts against the container's limit of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Both children, for a moment.
    Both,
    /// The final child only, and past the limit.
    Last,
}

impl Counted {
    /// What does not show in a container with these cgroups.
    pub fn fitting(cgroups: &Membership) -> Self {
        match room::is_ample(cgroups) {
            true => Self::Both,
            false => Self::Last,
        }
    }
}

/// A v1 hierarchy that the first child joins.
pub(crate) struct Join {
    /// Its number among the container's.
    pub which: usize,
    pub tasks: OwnedFd,
    /// The container's own, where `tasks` is the leaf's.
    pub otherwise: Option<OwnedFd>,
}

/// The leaf that a process goes to.
#[derive(Clone, Copy)]
pub(crate) struct Placed<'a> {
    dir: &'a Path,
    /// It is to be its root cgroup, see [`super::view`].
    is_root: bool,
}

impl<'a> Placed<'a> {
    /// That of a tree, if there is one.
    pub fn of(tree: Option<&'a Tree>, is_root: bool) -> Option<Self> {
        let dir = tree?.leaf()?;
        Some(Self { dir, is_root })
    }
}

/// A hierarchy that the caller moves the final child to.
pub(crate) struct Move {
    /// Its number among the container's.
    which: usize,
    /// `cgroup.procs` of each place, best first.
    procs: Vec<File>,
    /// The first of them is the tree's leaf, and another is the container's.
    pub leaf_first: bool,
}

impl Move {
    /// Moves `pid` to the first place that takes it, and says which. One that has ended is nowhere.
    pub fn take_in(&self, pid: libc::pid_t) -> Result<usize, Failure> {
        let mut errno = libc::ENOENT;
        for (place, mut procs) in self.procs.iter().enumerate() {
            match procs.write_all(pid.to_string().as_bytes()) {
                Ok(()) => return Ok(place),
                Err(error) => match error.raw_os_error() {
                    Some(libc::ESRCH) => return Ok(0),
                    other => errno = other.unwrap_or(errno),
                },
            }
        }
        at_nth(Step::JoinCgroup, self.which, Err(errno))
    }
}

/// All of them.
pub(crate) struct Places {
    /// cgroup v2 directories that the first child is born in, best first.
    pub into: Vec<OwnedFd>,
    /// The first of `into` is the tree's leaf, and another is the container's.
    pub leaf_first: bool,
    pub joins: Vec<Join>,
    pub moves: Vec<Move>,
    /// Where the first child must have been to see the leaf as its root; none where it sees the container's.
    pub root: Option<Vec<Visit>>,
}

impl Places {
    /// Opens the container's cgroup in every hierarchy, with `leaf` in place of its own in one of them. `moved` is where
    /// the init is in cgroup v2, if not in the container's cgroup.
    pub fn open(
        cgroups: &Membership,
        leaf: Option<Placed<'_>>,
        moved: Option<&Path>,
        counted: Counted,
    ) -> Result<Self, Error> {
        let is_root = leaf.is_some_and(|leaf| leaf.is_root);
        let leaf = leaf.map(|leaf| leaf.dir);
        let last = match counted {
            Counted::Both => None,
            Counted::Last => room::hierarchy(cgroups),
        };
        let mut places = Self {
            into: Vec::new(),
            leaf_first: false,
            joins: Vec::new(),
            moves: Vec::new(),
            root: is_root.then(Vec::new),
        };
        for (which, hierarchy) in cgroups.hierarchies.iter().enumerate() {
            let leaf = leaf.filter(|leaf| leaf.parent() == Some(&hierarchy.dir));
            let is_last = last.is_some_and(|last| std::ptr::eq(last, hierarchy));
            if let Some(visits) = places.root.as_mut().filter(|_| is_last) {
                match Visit::open(hierarchy, leaf.unwrap_or(&hierarchy.dir)) {
                    Ok(visit) => visits.push(visit),
                    // The leaf is seen then.
                    Err(_) => places.root = None,
                }
            }
            match hierarchy.is_unified() {
                true => places.unified((which, hierarchy), leaf, moved, is_last)?,
                false if is_last => {
                    let dir = leaf.unwrap_or(&hierarchy.dir);
                    places.moves.push(Move {
                        which,
                        procs: vec![open_procs(dir)?],
                        leaf_first: false,
                    });
                }
                false => {
                    let tasks = |dir: &Path| open(&dir.join("tasks"), libc::O_WRONLY);
                    places.joins.push(Join {
                        which,
                        tasks: tasks(leaf.unwrap_or(&hierarchy.dir))?.into(),
                        otherwise: match leaf {
                            Some(_) => Some(tasks(&hierarchy.dir)?.into()),
                            None => None,
                        },
                    });
                }
            }
        }
        Ok(places)
    }

    fn unified(
        &mut self,
        (which, own): (usize, &Hierarchy),
        leaf: Option<&Path>,
        moved: Option<&Path>,
        is_last: bool,
    ) -> Result<(), Error> {
        let leaf_first = leaf.is_some();
        let dirs = [leaf, Some(own.dir.as_path()), moved];
        let dirs = dirs.into_iter().flatten();
        if is_last {
            self.moves.push(Move {
                which,
                procs: dirs.map(open_procs).collect::<Result<_, _>>()?,
                leaf_first,
            });
            return Ok(());
        }
        self.leaf_first = leaf_first;
        for dir in dirs {
            let fd = open(dir, libc::O_DIRECTORY | libc::O_PATH)?;
            self.into.push(fd.into());
        }
        Ok(())
    }

    /// The descriptors of `into`.
    pub fn born_in(&self) -> Vec<RawFd> {
        self.into.iter().map(AsRawFd::as_raw_fd).collect()
    }
}

fn open_procs(dir: &Path) -> Result<File, Error> {
    open(&dir.join("cgroup.procs"), libc::O_WRONLY)
}

pub(crate) fn open(path: &Path, flags: c_int) -> Result<File, Error> {
    let write = flags & libc::O_WRONLY != 0;
    OpenOptions::new()
        .read(!write)
        .write(write)
        .custom_flags(flags)
        .open(path)
        .map_err(|source| Error::File {
            operation: "open",
            path: path.to_path_buf(),
            source,
        })
}
