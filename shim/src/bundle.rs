//! What the shim itself reads of a bundle's `config.json`.

use std::{fs, path::Path};

use podhook_hooks::exec::spec::Spec;
use serde::Deserialize;

use crate::error::{Error, Result};

/// A bundle's configuration.
pub struct Config {
    /// The parts that hooks need.
    pub spec: Spec,
    /// Whether the container has a pid namespace of its own, so that its processes die with init.
    pub own_pid_namespace: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Namespaced {
    linux: Option<Linux>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Linux {
    namespaces: Option<Vec<Namespace>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    path: Option<String>,
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
        let namespaces = serde_json::from_slice::<Namespaced>(json)?
            .linux
            .and_then(|linux| linux.namespaces);
        let own = |namespace: &Namespace| {
            namespace.kind == "pid" && namespace.path.as_deref().is_none_or(str::is_empty)
        };
        Ok(Self {
            spec: serde_json::from_slice(json)?,
            own_pid_namespace: namespaces.is_some_and(|list| list.iter().any(own)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
