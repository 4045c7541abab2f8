//! How many processes the limits of a container's cgroups still leave, and which limit is reached.
//!
//! A fork is refused at `pids.max` of the cgroup or of any above it (the kubelet's `podPidsLimit` is the
//! pod's); a move into the cgroup is not. So the joiner joins with the
//! command only where no process can notice, see [`is_ample`].

use std::path::{Path, PathBuf};

use crate::exec::tree::cgroup::{Hierarchy, Membership};

/// As many free processes as are ample: the joiner is in the cgroup for less than a millisecond, with
/// a few others at the most.
const AMPLE: u64 = 16;

/// A limit of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Limit {
    dir: PathBuf,
    max: u64,
    current: u64,
}

impl Limit {
    fn room(&self) -> u64 {
        self.max.saturating_sub(self.current)
    }
}

/// The hierarchy whose cgroups limit processes.
pub(crate) fn hierarchy(cgroups: &Membership) -> Option<&Hierarchy> {
    cgroups.controller("pids").or_else(|| cgroups.unified())
}

/// Whether the joiner may be in the container's cgroups, too: neither the command nor a process
/// of the container is refused for it.
pub(crate) fn is_ample(cgroups: &Membership) -> bool {
    hierarchy(cgroups)
        .and_then(tightest)
        .is_none_or(|limit| limit.room() >= AMPLE)
}

/// The limit that refuses a fork here, in words.
pub(crate) fn reached(cgroups: &Membership) -> Option<String> {
    let limit = hierarchy(cgroups).and_then(tightest)?;
    (limit.room() == 0).then(|| format!("pids.max of {} is {}", limit.dir.display(), limit.max))
}

/// What refuses a fork to this process, or to one of a container with these cgroups whose user may have `of_user`
/// processes; in words, where it can be told.
pub(crate) fn culprit(cgroups: &Membership, of_user: u64) -> Option<String> {
    let own = || reached(&Membership::of(std::process::id() as libc::pid_t).ok()?);
    reached(cgroups).or_else(own).or_else(|| processes(of_user))
}

/// The user's limit, if there is one.
pub(crate) fn processes(of_user: u64) -> Option<String> {
    (of_user != libc::RLIM64_INFINITY).then(|| format!("the user's RLIMIT_NPROC is {of_user}"))
}

/// Of the cgroup and all above it.
fn tightest(own: &Hierarchy) -> Option<Limit> {
    // As many as the path has names: the root cgroup has no limit.
    let depth = own.path.split('/').filter(|name| !name.is_empty()).count();
    own.dir
        .ancestors()
        .take(depth)
        .filter_map(limit_of)
        .min_by_key(Limit::room)
}

fn limit_of(dir: &Path) -> Option<Limit> {
    let number = |file| {
        let text = std::fs::read_to_string(dir.join(file)).ok()?;
        text.trim().parse().ok()
    };
    // "max" is no number, and needs no second look.
    let max = number("pids.max")?;
    Some(Limit {
        dir: dir.to_path_buf(),
        max,
        current: number("pids.current")?,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn cgroup(dir: &Path, max: &str, current: &str) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("pids.max"), max).unwrap();
        fs::write(dir.join("pids.current"), current).unwrap();
    }

    fn v2(root: &Path, path: &str) -> Membership {
        Membership {
            hierarchies: vec![Hierarchy {
                controllers: None,
                path: path.to_string(),
                dir: root.join(path.trim_start_matches('/')),
            }],
            can_kill: true,
        }
    }

    #[test]
    fn the_tightest_limit_of_all_above_counts() {
        let root = tempfile::tempdir().unwrap();
        // What is above the root of the hierarchy is none of it.
        cgroup(root.path(), "1\n", "1\n");
        cgroup(&root.path().join("pod"), "20\n", "18\n");
        cgroup(&root.path().join("pod/c"), "max\n", "3\n");
        let cgroups = v2(root.path(), "/pod/c");
        let limit = tightest(cgroups.unified().unwrap()).unwrap();
        assert_eq!((limit.room(), limit.max), (2, 20));
        assert!(!is_ample(&cgroups));
        assert_eq!(reached(&cgroups), None);
        cgroup(&root.path().join("pod/c"), "3\n", "3\n");
        let dir = root.path().join("pod/c");
        let words = format!("pids.max of {} is 3", dir.display());
        assert_eq!(reached(&cgroups), Some(words));
        // More than allowed: a limit that was lowered.
        cgroup(&dir, "3\n", "5\n");
        assert!(reached(&cgroups).is_some());
    }

    #[test]
    fn where_nothing_is_limited_there_is_room() {
        let root = tempfile::tempdir().unwrap();
        cgroup(&root.path().join("c"), "max\n", "70000\n");
        assert!(is_ample(&v2(root.path(), "/c")));
        assert!(is_ample(&v2(root.path(), "/no/controller")));
        assert!(is_ample(&v2(root.path(), "/")));
        assert!(is_ample(&Membership::default()));
        cgroup(&root.path().join("c"), "100\n", "84\n");
        assert!(is_ample(&v2(root.path(), "/c")));
    }
}
