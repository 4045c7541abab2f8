//! Where a leaf is made, and whether processes can go there.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::{fs, io};

use super::{Leaf, Stop};
use crate::exec::tree::cgroup::{Hierarchy, Membership};
use crate::linux::errno;
use crate::linux::limit::Asked;

impl Leaf {
    /// A new leaf in the best hierarchy; else why there is none. `moved`: where the init has gone in cgroup v2, if
    /// it has; `is_root`: its processes will see it as their root.
    pub fn new(cgroups: &Membership, moved: Option<&Path>, is_root: bool) -> Result<Self, String> {
        let mut why = None;
        for (own, stop) in candidates(cgroups) {
            match Self::in_hierarchy(own, stop) {
                Ok(mut leaf) => {
                    leaf.moved = moved.filter(|_| own.is_unified()).map(Path::to_path_buf);
                    leaf.is_root = is_root;
                    return Ok(leaf);
                }
                Err(reason) => {
                    why.get_or_insert(reason);
                }
            }
        }
        Err(why.unwrap_or_else(|| "it has no cgroup but the host's root".to_string()))
    }

    pub fn in_hierarchy(own: &Hierarchy, stop: Stop) -> Result<Self, String> {
        // One try is enough: the name has 128 random bits.
        for _ in 0..4 {
            let name = format!("podhook-{:032x}", random()?);
            let dir = own.dir.join(&name);
            match fs::create_dir(&dir) {
                Ok(()) => {
                    // Dropped, it is removed.
                    let leaf = Self {
                        dir,
                        path: format!("{}/{name}", own.path.trim_end_matches('/')),
                        stop,
                        moved: None,
                        is_root: false,
                        gone: AtomicBool::new(false),
                    };
                    return leaf.made_ready(own);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(refused(&own.dir, &Asked::NewCgroup.explain(error))),
            }
        }
        Err(format!("every name in {} is taken", own.dir.display()))
    }

    /// The leaf as one that takes processes.
    fn made_ready(self, own: &Hierarchy) -> Result<Self, String> {
        // Below a cgroup that has threaded children a new one is of no use ("domain invalid").
        if own.is_unified()
            && let Ok(kind) = fs::read_to_string(self.dir.join("cgroup.type"))
            && kind.trim() != "domain"
        {
            return Err(format!("{} has threaded cgroups", own.dir.display()));
        }
        // A new one has neither processors nor memory.
        if own.has("cpuset") {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let copied = fs::read(own.dir.join(file))
                    .and_then(|text| fs::write(self.dir.join(file), text));
                copied.map_err(|error| refused(&own.dir.join(file), &error))?;
            }
        }
        Ok(self)
    }
}

/// The hierarchies that a leaf can be in, best first. The root cgroup belongs to the host.
pub(crate) fn candidates(cgroups: &Membership) -> Vec<(&Hierarchy, Stop)> {
    let unified = cgroups.unified();
    let best = [
        (unified.filter(|_| cgroups.can_kill), Stop::CgroupKill),
        // Before the pids controller: its limit is not reached here.
        (cgroups.controller("freezer"), Stop::Freezer),
        (cgroups.controller("pids"), Stop::PidsMax),
        (unified, Stop::Freeze),
    ];
    let of_v1 = || cgroups.hierarchies.iter().filter(|own| !own.is_unified());
    let others = (0..=MOST_READ).flat_map(|much| of_v1().filter(move |own| read(own) == much));
    best.into_iter()
        .filter_map(|(own, stop)| Some((own?, stop)))
        .chain(others.map(|own| (own, Stop::None)))
        .filter(|(own, _)| !own.is_root())
        .collect()
}

const MOST_READ: u8 = 3;

/// How much programs read of a hierarchy: a leaf shows them another limit than the container's. One with cpuset
/// follows no change of the container's processors, besides.
fn read(hierarchy: &Hierarchy) -> u8 {
    let names = |names: &[&str]| names.iter().any(|name| hierarchy.has(name));
    match () {
        () if names(&["cpuset"]) => MOST_READ,
        () if names(&["memory", "cpu"]) => 2,
        () if names(&["cpuacct", "blkio", "hugetlb"]) => 1,
        () => 0,
    }
}

fn refused(path: &Path, error: &io::Error) -> String {
    format!("{}: {}", path.display(), errno::text(error))
}

/// What no container can guess.
fn random() -> Result<u128, String> {
    let mut bytes = [0; 16];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(16) => Ok(u128::from_ne_bytes(bytes)),
        Ok(_) => Err("getrandom: too few bytes".to_string()),
        Err(errno) => Err(format!("getrandom: {}", io::Error::from(errno))),
    }
}
