//! The names and neighbours of a bundle, and what the shim leaves in it for `delete`.

use std::fs;
use std::path::Path;

use podhook_hooks::config_json::cgroups_path;

use super::file;
use crate::error::Result;

/// Whether a name from outside stays one part of a path. containerd's own names are stricter.
pub fn is_plain(name: &str) -> bool {
    !matches!(name, "." | "..") && !name.contains(['/', '\0'])
}

/// There once the OCI runtime has deleted the container of this bundle.
const DELETED: &str = "deleted";

/// Tells the `delete` that follows that the OCI runtime has nothing left to delete.
pub fn mark_deleted(bundle: &Path) -> Result<()> {
    file::write_private(&bundle.join(DELETED), b"")
}

/// Whether [`mark_deleted`] was called, and no container was made in the bundle since.
pub fn is_deleted(bundle: &Path) -> bool {
    bundle.join(DELETED).exists()
}

/// The OCI runtime's file with the pid of init.
pub const INIT_PID: &str = "init.pid";

/// Whether a container was made here.
pub fn has_init(bundle: &Path) -> bool {
    bundle.join(INIT_PID).exists()
}

/// A container is to be made here.
pub fn unmark_deleted(bundle: &Path) -> Result<()> {
    file::remove(&bundle.join(DELETED))
}

/// The other containers of this containerd, in all its namespaces: name and `linux.cgroupsPath`.
pub fn others(bundle: &Path) -> Vec<(String, String)> {
    let all = bundle.parent().and_then(Path::parent);
    let folders = |of: &Path| fs::read_dir(of).into_iter().flatten().flatten();
    let namespaces = all.into_iter().flat_map(folders);
    let bundles = namespaces.flat_map(|namespace| folders(&namespace.path()));
    bundles
        .map(|entry| entry.path())
        .filter(|other| other != bundle)
        .map(|other| {
            let id = other.file_name().unwrap_or_default().to_string_lossy();
            (id.into_owned(), cgroups_path(&other))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_path_is_not_plain() {
        for name in ["a", "a.b", "..a", "-", ""] {
            assert!(is_plain(name), "{name:?}");
        }
        for name in [".", "..", "a/b", "/", "../a", "a\0"] {
            assert!(!is_plain(name), "{name:?}");
        }
    }

    #[test]
    fn what_is_marked_as_deleted_is_so_until_the_next_container() {
        let bundle = tempfile::tempdir().unwrap();
        unmark_deleted(bundle.path()).unwrap();
        assert!(!is_deleted(bundle.path()));
        mark_deleted(bundle.path()).unwrap();
        assert!(is_deleted(bundle.path()));
        unmark_deleted(bundle.path()).unwrap();
        assert!(!is_deleted(bundle.path()));
    }
}
