//! How a process sees its leaf: as its root cgroup, in a cgroup namespace of its own.
//!
//! A program takes what `/proc/self/cgroup` says for a path below `/sys/fs/cgroup`, and reads its limits there. The
//! container's cgroup namespace would show it the leaf, which has none. In a namespace rooted at the leaf it reads
//! `/`, as an exec does, and `/sys/fs/cgroup` is the container's, with the limits of the container.
//!
//! Where the container sees the host's paths (it has no cgroup namespace of its own), so does an exec, and the
//! leaf is seen.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::container::Container;
use super::places;
use crate::exec::Error;
use crate::exec::plan::sys;
use crate::exec::tree::cgroup::{Hierarchy, Membership};

/// Whether the processes of a leaf of this container see it as their root.
pub(crate) fn is_root(container: &Container) -> bool {
    container.namespaces & libc::CLONE_NEWCGROUP != 0
}

/// A cgroup that the first child is in for the moment in which it makes its namespace. A namespace is rooted at the
/// cgroups of who makes it; the first child stays out of the one with the limit of processes otherwise.
pub(crate) struct Visit {
    there: File,
    back: File,
}

impl Visit {
    /// A visit to `dir`, from this process's own cgroup in the same hierarchy.
    pub fn open(hierarchy: &Hierarchy, dir: &Path) -> Result<Self, Error> {
        // A thread of v1 need not wait for the forks of others, see `places`.
        let file = match hierarchy.is_unified() {
            true => "cgroup.procs",
            false => "tasks",
        };
        let own = Membership::of(std::process::id().cast_signed())?;
        let mut all = own.hierarchies.iter();
        let own = all
            .find(|own| own.controllers == hierarchy.controllers)
            .ok_or_else(|| {
                Error::Unsupported("a cgroup hierarchy of the container's own".into())
            })?;
        Ok(Self {
            there: places::open(&dir.join(file), libc::O_WRONLY)?,
            back: places::open(&own.dir.join(file), libc::O_WRONLY)?,
        })
    }
}

/// Makes the cgroups of this process, and those of the visits, the root of what it sees. With all rights in the
/// container's user namespace, which owns the new namespace then. Where the kernel makes no more
/// (user.max_cgroup_namespaces) or refuses the visit, the leaf is seen: no reason to fail a hook.
pub(crate) fn make_root(visits: &[Visit]) {
    let join = |file: &File| sys::write(file.as_raw_fd(), b"0");
    let mut made = 0;
    for visit in visits {
        if join(&visit.there).is_err() {
            break;
        }
        made += 1;
    }
    if made == visits.len() {
        let _ = sys::unshare(libc::CLONE_NEWCGROUP);
    }
    for visit in visits.iter().take(made) {
        let _ = join(&visit.back);
    }
}
