//! What the shim itself reads of a bundle's `config.json`, and what it leaves there for `delete`.

use std::path::Path;
use std::{fs, io};

use podhook_hooks::exec::spec::Spec;
use serde::Deserialize;

use crate::error::{Error, Result};

/// A bundle's configuration.
pub struct Config {
    /// The parts that hooks need.
    pub spec: Spec,
    /// Whether the container has a pid namespace of its own, so that its processes die with init.
    pub own_pid_namespace: bool,
    /// What is mounted into it.
    pub mounts: Vec<Mount>,
}

/// One of the container's mounts.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Mount {
    /// Where from.
    pub source: String,
    /// Where to.
    pub destination: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Rest {
    linux: Option<Linux>,
    mounts: Option<Vec<Mount>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Linux {
    namespaces: Option<Vec<Namespace>>,
    #[serde(rename = "cgroupsPath")]
    cgroups_path: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: Option<String>,
}

/// Whether a name from outside stays one part of a path. containerd's own names are stricter.
pub fn is_plain(name: &str) -> bool {
    !matches!(name, "." | "..") && !name.contains(['/', '\0'])
}

/// There once the OCI runtime has deleted the container of this bundle.
const DELETED: &str = "deleted";

/// Tells the `delete` that follows that the OCI runtime has nothing left to delete.
pub fn mark_deleted(bundle: &Path) -> Result<()> {
    let path = bundle.join(DELETED);
    fs::write(&path, "").map_err(Error::io("write", &path))
}

/// Whether [`mark_deleted`] was called, and no container was made in the bundle since.
pub fn is_deleted(bundle: &Path) -> bool {
    bundle.join(DELETED).exists()
}

/// A container is to be made here.
pub fn unmark_deleted(bundle: &Path) -> Result<()> {
    let path = bundle.join(DELETED);
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &path)(e)),
        _ => Ok(()),
    }
}

impl Config {
    /// Reads it.
    pub fn read(bundle: &Path) -> Result<Self> {
        let path = bundle.join("config.json");
        let json = fs::read(&path).map_err(Error::io("read", &path))?;
        Self::parse(&json)
            .map_err(|e| Error::InvalidArgument(format!("parse {}: {e}", path.display())))
    }

    fn parse(json: &[u8]) -> serde_json::Result<Self> {
        let rest: Rest = serde_json::from_slice(json)?;
        let namespaces = rest.linux.and_then(|linux| linux.namespaces);
        let own = |namespace: &Namespace| {
            namespace.kind == "pid" && namespace.path.as_deref().is_none_or(str::is_empty)
        };
        Ok(Self {
            spec: serde_json::from_slice(json)?,
            own_pid_namespace: namespaces.is_some_and(|list| list.iter().any(own)),
            mounts: rest.mounts.unwrap_or_default(),
        })
    }
}

/// `linux.cgroupsPath` of the configuration; empty without one.
pub fn cgroups_path(bundle: &Path) -> String {
    fs::read(bundle.join("config.json"))
        .ok()
        .and_then(|json| serde_json::from_slice::<Rest>(&json).ok())
        .and_then(|rest| rest.linux)
        .map(|linux| linux.cgroups_path)
        .unwrap_or_default()
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

    #[test]
    fn a_pid_namespace_without_a_path_is_the_containers_own() {
        let own = |json: &str| Config::parse(json.as_bytes()).unwrap().own_pid_namespace;
        assert!(own(
            r#"{"linux":{"namespaces":[{"type":"mount"},{"type":"pid"}]}}"#
        ));
        assert!(own(
            r#"{"linux":{"namespaces":[{"type":"pid","path":""}]}}"#
        ));
        assert!(!own(
            r#"{"linux":{"namespaces":[{"type":"pid","path":"/proc/1/ns/pid"}]}}"#
        ));
        assert!(
            !own(r#"{"linux":{"namespaces":[{"type":"mount"}]}}"#),
            "the host's"
        );
        assert!(!own(r#"{"linux":null}"#));
    }
}
