//! How a process sees its leaf: as its root cgroup, in a cgroup namespace of its own.
//!
//! A program takes what `/proc/self/cgroup` says for a path below `/sys/fs/cgroup`, and reads its limits there. The
//! container's cgroup namespace would show it the leaf, which has none. In a namespace rooted at the leaf it reads
//! `/`, as an exec does, and `/sys/fs/cgroup` is the container's, with the limits of the container.
//!
//! Where the container sees the host's paths (it has no cgroup namespace of its own), so does an exec, and the
//! leaf is seen.

use libc::c_int;

use super::container::Container;
use super::sys;

/// Whether the processes of a leaf of this container see it as their root.
pub(super) fn is_root(container: &Container) -> bool {
    container.namespaces & libc::CLONE_NEWCGROUP != 0
}

/// Makes the cgroups of this process the root of what it sees. With all rights in the container's user namespace,
/// which owns the new namespace then. Where the kernel makes no more (user.max_cgroup_namespaces), the leaf is
/// seen: no reason to fail a hook.
pub(super) fn make_root() {
    let kinds: c_int = libc::CLONE_NEWCGROUP;
    let _ = sys::unshare(kinds);
}
