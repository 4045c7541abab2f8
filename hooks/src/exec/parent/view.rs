//! How a process sees its leaf: as its root cgroup, in a cgroup namespace of its own.
//!
//! A program takes what `/proc/self/cgroup` says for a path below `/sys/fs/cgroup`, and reads its limits there. The
//! container's cgroup namespace would show it the leaf, which has none. In a namespace rooted at the leaf it reads
//! `/`, as an exec does, and `/sys/fs/cgroup` is the container's, with the limits of the container.
//!
//! Where the container sees the host's paths (it has no cgroup namespace of its own), so does an exec, and the
//! leaf is seen.

use std::path::Path;

use super::container::Container;
use super::places::Opened;
use crate::exec::Error;
use crate::exec::plan::entry::Visit;
use crate::exec::tree::cgroup::{Hierarchy, Membership};

/// Whether the processes of a leaf of this container see it as their root.
pub(crate) fn is_root(container: &Container) -> bool {
    container.namespaces & libc::CLONE_NEWCGROUP != 0
}

/// A visit to `dir`, from this process's own cgroup in the same hierarchy.
pub(crate) fn visit(
    opened: &mut Opened,
    hierarchy: &Hierarchy,
    dir: &Path,
) -> Result<Visit, Error> {
    // A thread of v1 need not wait for the forks of others, see `places`.
    let file = match hierarchy.is_unified() {
        true => "cgroup.procs",
        false => "tasks",
    };
    let own = Membership::of(std::process::id().cast_signed())?;
    let mut all = own.hierarchies.iter();
    let own = all
        .find(|own| own.controllers == hierarchy.controllers)
        .ok_or_else(|| Error::Unsupported("a cgroup hierarchy of the container's own".into()))?;
    Ok(Visit {
        there: opened.keep(&dir.join(file), libc::O_WRONLY)?,
        back: opened.keep(&own.dir.join(file), libc::O_WRONLY)?,
    })
}
