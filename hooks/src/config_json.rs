//! A bundle's `config.json`: the one reader, and the parts that its callers want. Every caller names its part, so that
//! no process keeps more of the file than it uses.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::exec::spec::Spec;

/// The file's name in the bundle.
pub const FILE_NAME: &str = "config.json";
/// containerd takes requests of 16 MiB, and JSON needs up to six bytes for one of them.
const MAX_BYTES: u64 = 96 << 20;

/// A configuration that could not be read.
#[derive(Debug, Error)]
pub enum ConfigJsonError {
    /// There is no such file, it cannot be read, or it is too large.
    #[error("read {path}: {source}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is no configuration.
    #[error("parse {path}: {source}")]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

/// What the shim keeps of it.
pub struct ContainerConfig {
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
    pub source: String,
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

/// What the shim keeps of the configuration.
///
/// # Errors
/// When the file cannot be read, or is no configuration.
pub fn container(bundle: &Path) -> Result<ContainerConfig, ConfigJsonError> {
    let (path, json) = text(bundle)?;
    parse_config(&json).map_err(|source| ConfigJsonError::Parse { path, source })
}

fn parse_config(json: &[u8]) -> serde_json::Result<ContainerConfig> {
    let rest: Rest = serde_json::from_slice(json)?;
    let namespaces = rest.linux.and_then(|linux| linux.namespaces);
    let own = |namespace: &Namespace| {
        namespace.kind == "pid" && namespace.path.as_deref().is_none_or(str::is_empty)
    };
    Ok(ContainerConfig {
        spec: serde_json::from_slice(json)?,
        own_pid_namespace: namespaces.is_some_and(|list| list.iter().any(own)),
        mounts: rest.mounts.unwrap_or_default(),
    })
}

/// The annotations.
///
/// # Errors
/// When the file cannot be read, or is no configuration.
pub fn annotations(bundle: &Path) -> Result<BTreeMap<String, String>, ConfigJsonError> {
    #[derive(Deserialize)]
    struct Annotated {
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    }
    read(bundle).map(|config: Annotated| config.annotations)
}

/// The container's process with all its fields, also those that this version does not know.
///
/// # Errors
/// When the file cannot be read, or is no configuration.
pub fn process(bundle: &Path) -> Result<Value, ConfigJsonError> {
    #[derive(Deserialize)]
    struct Processed {
        #[serde(default)]
        process: Value,
    }
    read(bundle).map(|config: Processed| config.process)
}

/// `linux.cgroupsPath`; empty without one, and where there is no configuration.
pub fn cgroups_path(bundle: &Path) -> String {
    read::<Rest>(bundle)
        .ok()
        .and_then(|rest| rest.linux)
        .map(|linux| linux.cgroups_path)
        .unwrap_or_default()
}

fn read<T: DeserializeOwned>(bundle: &Path) -> Result<T, ConfigJsonError> {
    let (path, json) = text(bundle)?;
    serde_json::from_slice(&json).map_err(|source| ConfigJsonError::Parse { path, source })
}

/// The file and what is in it.
fn text(bundle: &Path) -> Result<(PathBuf, Vec<u8>), ConfigJsonError> {
    let path = bundle.join(FILE_NAME);
    let mut json = Vec::new();
    let read = File::open(&path).and_then(|file| {
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        let size = usize::try_from(size.min(MAX_BYTES)).unwrap_or_default();
        json.reserve_exact(size.saturating_add(1));
        file.take(MAX_BYTES + 1).read_to_end(&mut json)
    });
    let source = match read {
        Ok(_) if json.len() as u64 <= MAX_BYTES => return Ok((path, json)),
        Ok(_) => io::ErrorKind::FileTooLarge.into(),
        Err(source) => source,
    };
    Err(ConfigJsonError::Read { path, source })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_pid_namespace_without_a_path_is_the_containers_own() {
        let own = |json: &str| parse_config(json.as_bytes()).unwrap().own_pid_namespace;
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

    #[test]
    fn each_caller_gets_its_part() {
        let bundle = tempfile::tempdir().unwrap();
        let json = json!({
            "annotations": {"a": "b"}, "process": {"cwd": "/", "future": [1]},
            "linux": {"cgroupsPath": "/pod/c1"}, "mounts": [{"source": "/s", "destination": "/d"}],
        });
        fs::write(bundle.path().join(FILE_NAME), json.to_string()).unwrap();
        assert_eq!(annotations(bundle.path()).unwrap()["a"], "b");
        assert_eq!(process(bundle.path()).unwrap(), json["process"]);
        assert_eq!(cgroups_path(bundle.path()), "/pod/c1");
        let container = container(bundle.path()).unwrap();
        assert_eq!(
            (
                &*container.spec.process.cwd,
                &*container.mounts[0].destination
            ),
            ("/", "/d")
        );
    }

    #[test]
    fn what_is_missing_or_no_json_is_named() {
        let bundle = tempfile::tempdir().unwrap();
        let path = bundle.path().join(FILE_NAME);
        let error = annotations(bundle.path()).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("read {}: ", path.display())),
            "{error}"
        );
        assert_eq!(cgroups_path(bundle.path()), "");
        fs::write(&path, "{").unwrap();
        let error = container(bundle.path()).err().unwrap().to_string();
        assert!(
            error.starts_with(&format!("parse {}: ", path.display())),
            "{error}"
        );
    }

    #[test]
    fn a_file_without_end_does_not_fill_the_memory() {
        let bundle = tempfile::tempdir().unwrap();
        let file = File::create(bundle.path().join(FILE_NAME)).unwrap();
        // A hole: nothing is written.
        file.set_len(MAX_BYTES + 1).unwrap();
        let error = process(bundle.path()).unwrap_err();
        let too_large = |e: &io::Error| e.kind() == io::ErrorKind::FileTooLarge;
        assert!(
            matches!(&error, ConfigJsonError::Read { source, .. } if too_large(source)),
            "{error}"
        );
    }
}
