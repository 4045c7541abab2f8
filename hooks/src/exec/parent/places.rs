//! The cgroups that a new process goes to, opened, and who puts it there.
//!
//! A process that writes `0` to a v1 `tasks` file, and one that is born in its cgroup (CLONE_INTO_CGROUP), does
//! not wait for the kernel's lock over all forks (cgroup_threadgroup_rwsem), which a move by number does: ten
//! milliseconds and more on a machine at rest. So the joiner joins, and the command is born where it belongs. But
//! the joiner counts there, too: where the limit of processes leaves little, it stays out of the cgroup that has the
//! limit, and the parent moves the command in, which no limit forbids.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use libc::c_int;

use super::{room, view};
use crate::exec::Error;
use crate::exec::plan::entry::{Join, Visit};
use crate::exec::plan::report::{Failure, Step, at_nth};
use crate::exec::tree::Tree;
use crate::exec::tree::cgroup::{Hierarchy, Membership};

/// Who counts against the container's limit of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// The joiner and the command, for a moment.
    Both,
    /// The command only, and past the limit.
    Command,
}

impl Counted {
    /// What does not show in a container with these cgroups.
    pub fn fitting(cgroups: &Membership) -> Self {
        match room::is_ample(cgroups) {
            true => Self::Both,
            false => Self::Command,
        }
    }
}

/// The leaf that a process goes to.
#[derive(Clone, Copy)]
pub(crate) struct Placed<'a> {
    dir: &'a Path,
    /// It is to be its root cgroup, see [`view`].
    is_root: bool,
}

impl<'a> Placed<'a> {
    /// That of a tree, if there is one.
    pub fn of(tree: Option<&'a Tree>, is_root: bool) -> Option<Self> {
        let dir = tree?.leaf()?;
        Some(Self { dir, is_root })
    }
}

/// A hierarchy that the parent moves the command to.
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

#[derive(Default)]
pub(crate) struct Places {
    /// cgroup v2 directories that the joiner is born in, best first.
    pub into: Vec<RawFd>,
    /// The first of `into` is the tree's leaf, and another is the container's.
    pub leaf_first: bool,
    pub joins: Vec<Join>,
    pub moves: Vec<Move>,
    /// See [`Entry::root`](crate::exec::plan::entry::Entry::root).
    pub root: Option<Vec<Visit>>,
    opened: Opened,
}

/// The files that the places name by number.
#[derive(Default)]
pub(crate) struct Opened(Vec<File>);

impl Opened {
    /// Opens one and keeps it.
    pub fn keep(&mut self, path: &Path, flags: c_int) -> Result<RawFd, Error> {
        let file = open(path, flags)?;
        let fd = file.as_raw_fd();
        self.0.push(file);
        Ok(fd)
    }
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
        let limited = match counted {
            Counted::Both => None,
            Counted::Command => room::hierarchy(cgroups),
        };
        let mut places = Self {
            root: is_root.then(Vec::new),
            ..Self::default()
        };
        for (which, hierarchy) in cgroups.hierarchies.iter().enumerate() {
            let leaf = leaf.filter(|leaf| leaf.parent() == Some(&hierarchy.dir));
            let is_limited = limited.is_some_and(|limited| std::ptr::eq(limited, hierarchy));
            if let Some(visits) = places.root.as_mut().filter(|_| is_limited) {
                let dir = leaf.unwrap_or(&hierarchy.dir);
                match view::visit(&mut places.opened, hierarchy, dir) {
                    Ok(visit) => visits.push(visit),
                    // The leaf is seen then.
                    Err(_) => places.root = None,
                }
            }
            match hierarchy.is_unified() {
                true => places.unified((which, hierarchy), leaf, moved, is_limited)?,
                false if is_limited => {
                    let dir = leaf.unwrap_or(&hierarchy.dir);
                    places.moves.push(Move {
                        which,
                        procs: vec![open_procs(dir)?],
                        leaf_first: false,
                    });
                }
                false => places.join(which, hierarchy, leaf)?,
            }
        }
        Ok(places)
    }

    fn join(&mut self, which: usize, own: &Hierarchy, leaf: Option<&Path>) -> Result<(), Error> {
        let mut tasks = |dir: &Path| self.opened.keep(&dir.join("tasks"), libc::O_WRONLY);
        let join = Join {
            which,
            tasks: tasks(leaf.unwrap_or(&own.dir))?,
            otherwise: match leaf {
                Some(_) => Some(tasks(&own.dir)?),
                None => None,
            },
        };
        self.joins.push(join);
        Ok(())
    }

    fn unified(
        &mut self,
        (which, own): (usize, &Hierarchy),
        leaf: Option<&Path>,
        moved: Option<&Path>,
        is_limited: bool,
    ) -> Result<(), Error> {
        let leaf_first = leaf.is_some();
        let dirs = [leaf, Some(own.dir.as_path()), moved];
        let dirs = dirs.into_iter().flatten();
        if is_limited {
            self.moves.push(Move {
                which,
                procs: dirs.map(open_procs).collect::<Result<_, _>>()?,
                leaf_first,
            });
            return Ok(());
        }
        self.leaf_first = leaf_first;
        for dir in dirs {
            let fd = self.opened.keep(dir, libc::O_DIRECTORY | libc::O_PATH)?;
            self.into.push(fd);
        }
        Ok(())
    }
}

fn open_procs(dir: &Path) -> Result<File, Error> {
    open(&dir.join("cgroup.procs"), libc::O_WRONLY)
}

fn open(path: &Path, flags: c_int) -> Result<File, Error> {
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
