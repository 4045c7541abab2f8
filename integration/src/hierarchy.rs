//! Where this machine's cgroups are.

use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// Whether there is one hierarchy, of cgroup v2. (Beside v1 there may be one without controllers.)
pub fn is_v2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// The root of the hierarchy that has this controller.
pub fn of(controller: &str) -> PathBuf {
    match is_v2() {
        true => ROOT.into(),
        false => Path::new(ROOT).join(controller),
    }
}
