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

/// Where the shim of this bundle's container listens, or did: as `start` has written it, or containerd for a container
/// that joined another's shim without a `start`.
pub fn address(bundle: &Path) -> Option<String> {
    if let Ok(address) = fs::read_to_string(bundle.join("address")) {
        return Some(address.trim().to_owned());
    }
    let told = fs::read(bundle.join("bootstrap.json")).ok()?;
    let told: serde_json::Value = serde_json::from_slice(&told).ok()?;
    Some(told.get("address")?.as_str()?.to_owned())
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
    fn the_shims_address_is_found_in_the_bundle() {
        let bundle = tempfile::tempdir().unwrap();
        assert_eq!(address(bundle.path()), None);
        for (name, text, found) in [
            ("bootstrap.json", "{", None),
            ("bootstrap.json", "{\"address\":3}", None),
            (
                "bootstrap.json",
                "{\"version\":3,\"address\":\"unix:///b\"}",
                Some("unix:///b"),
            ),
            ("address", "unix:///a\n", Some("unix:///a")),
        ] {
            fs::write(bundle.path().join(name), text).unwrap();
            assert_eq!(address(bundle.path()).as_deref(), found, "{text}");
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
