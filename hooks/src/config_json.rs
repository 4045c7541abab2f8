//! A bundle's `config.json`: the one reader, and the parts that its callers want. Every caller names its part, so that
//! no process keeps more of the file than it uses.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
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
    namespaces: Namespaces,
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

#[derive(Deserialize, Default)]
struct Namespaces(Option<Vec<Namespace>>);

impl Namespaces {
    fn has_own_pid(&self) -> bool {
        let own = |namespace: &Namespace| {
            namespace.kind == "pid" && namespace.path.as_deref().is_none_or(str::is_empty)
        };
        self.0.as_ref().is_some_and(|list| list.iter().any(own))
    }
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
    let linux = rest.linux.unwrap_or_default();
    Ok(ContainerConfig {
        spec: serde_json::from_slice(json)?,
        own_pid_namespace: linux.namespaces.has_own_pid(),
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

/// What an OCI runtime has to do for a container besides the usual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuntimeWork {
    /// As [`ContainerConfig::own_pid_namespace`].
    pub own_pid_namespace: bool,
    /// Whether it runs hooks of that kind.
    pub poststart: bool,
    pub poststop: bool,
    /// Whether there may be a group of Intel's RDT.
    pub rdt: bool,
}

/// That of the configuration in a folder, which may be the runtime's copy.
///
/// # Errors
/// When the file cannot be read, or is no configuration.
pub fn runtime_work(folder: &Path) -> Result<RuntimeWork, ConfigJsonError> {
    type Hooks = Option<Vec<IgnoredAny>>;
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Work {
        linux: Option<Linux>,
        hooks: Option<AllHooks>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct Linux {
        namespaces: Namespaces,
        #[serde(rename = "intelRdt")]
        rdt: Option<IgnoredAny>,
    }
    #[derive(Deserialize, Default)]
    #[serde(default)]
    struct AllHooks {
        poststart: Hooks,
        poststop: Hooks,
    }
    read(folder).map(|work: Work| {
        let linux = work.linux.unwrap_or_default();
        let hooks = work.hooks.unwrap_or_default();
        let is_any = |hooks: Hooks| hooks.is_some_and(|all| !all.is_empty());
        RuntimeWork {
            own_pid_namespace: linux.namespaces.has_own_pid(),
            poststart: is_any(hooks.poststart),
            poststop: is_any(hooks.poststop),
            rdt: linux.rdt.is_some(),
        }
    })
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
    fn what_a_runtime_has_to_do_is_told() {
        let bundle = tempfile::tempdir().unwrap();
        let work = |json: Value| {
            fs::write(bundle.path().join(FILE_NAME), json.to_string()).unwrap();
            let work = runtime_work(bundle.path()).unwrap();
            [
                work.own_pid_namespace,
                work.poststart,
                work.poststop,
                work.rdt,
            ]
        };
        assert_eq!(work(json!({})), [false; 4]);
        let nothing = json!({"hooks": null, "linux": {"intelRdt": null, "namespaces": null}});
        assert_eq!(work(nothing), [false; 4]);
        let none = json!({"hooks": {"poststart": [], "poststop": null, "prestart": [{}]}});
        assert_eq!(work(none), [false; 4]);
        let all = json!({
            "hooks": {"poststart": [{"path": "/x"}], "poststop": [{"path": "/x"}]},
            "linux": {"intelRdt": {}, "namespaces": [{"type": "pid"}]},
        });
        assert_eq!(work(all), [true; 4]);
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
