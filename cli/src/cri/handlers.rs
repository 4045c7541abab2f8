//! What containerd's own configuration says of its runtime handlers.
//!
//! containerd answers `Status(verbose)` with its CRI configuration as JSON (`info["config"]`).
//! Two things there decide whether hooks run at all: which shim a handler starts, and whether its
//! `pod_annotations` and `container_annotations` let the lifecycle through to the OCI spec.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_cri::v1::{StatusRequest, StatusResponse};
use serde_json::Value;

use super::client::{Client, Error};

/// The `sandboxer` of a handler whose pods have no pause container: their shim itself.
pub const SANDBOXER: &str = "shim";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeHandler {
    /// `runtime_type`, as `io.containerd.runc.v2`.
    pub runtime_type: String,
    /// `runtime_path`; empty when the type decides.
    pub runtime_path: String,
    /// `sandboxer`: who makes the pods' sandboxes.
    pub sandboxer: String,
    /// Patterns of the pod annotations that reach the OCI spec of its containers.
    pub pod_annotations: Vec<String>,
    /// Patterns of the CRI container annotations that reach the OCI spec.
    pub container_annotations: Vec<String>,
    /// Whether the cgroup driver is systemd.
    pub systemd_cgroup: bool,
}

impl RuntimeHandler {
    /// Whether the handler starts podhook's shim.
    #[must_use]
    pub fn is_podhook(&self) -> bool {
        let is_shim = |path: &str| {
            let name = Path::new(path).file_name();
            name.is_some_and(|n| n.to_string_lossy().starts_with("containerd-shim-podhook"))
        };
        is_shim(&self.runtime_path)
            || is_shim(&self.runtime_type)
            || self.runtime_type.starts_with("io.containerd.podhook.")
    }

    /// Whether the handler's pods have no pause container.
    #[must_use]
    pub fn is_pauseless(&self) -> bool {
        self.sandboxer == SANDBOXER
    }

    /// Whether a pod annotation with this key reaches the shim: in the OCI spec, or with the whole sandbox.
    #[must_use]
    pub fn passes_pod_annotation(&self, key: &str) -> bool {
        self.is_pauseless() || self.pod_annotations.iter().any(|p| path_match(p, key))
    }

    /// Whether a container annotation with this key reaches the OCI spec.
    #[must_use]
    pub fn passes_container_annotation(&self, key: &str) -> bool {
        self.container_annotations
            .iter()
            .any(|p| path_match(p, key))
    }
}

/// The handlers of a containerd. Empty when the runtime does not tell (it is no containerd).
#[derive(Debug, Clone, Default)]
pub struct Handlers {
    handlers: BTreeMap<String, RuntimeHandler>,
    default: String,
    state: Option<PathBuf>,
}

impl Handlers {
    /// The handler of this name; "" is the default one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RuntimeHandler> {
        let name = if name.is_empty() { &self.default } else { name };
        self.handlers.get(name)
    }

    /// The name of the default handler.
    #[must_use]
    pub fn default_name(&self) -> &str {
        &self.default
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.handlers.keys().map(String::as_str)
    }

    /// containerd's state directory (`state` of its configuration).
    #[must_use]
    pub fn state(&self) -> Option<&Path> {
        self.state.as_deref()
    }

    pub(crate) fn from_config(config: &Value) -> Self {
        let containerd = field(config, "containerd");
        let handlers = containerd
            .and_then(|c| field(c, "runtimes"))
            .and_then(Value::as_object)
            .map(|runtimes| {
                runtimes
                    .iter()
                    .map(|(name, runtime)| (name.clone(), handler(runtime)))
                    .collect()
            })
            .unwrap_or_default();
        Self {
            handlers,
            default: containerd.map_or_else(String::new, |c| text(c, "defaultRuntimeName")),
            // `stateDir` is the CRI plugin's own folder below containerd's.
            state: field(config, "stateDir")
                .and_then(Value::as_str)
                .and_then(|dir| Path::new(dir).parent())
                .map(Path::to_path_buf),
        }
    }
}

/// What containerd says of itself.
#[derive(Debug, Clone, Default)]
pub struct Status {
    pub handlers: Handlers,
    /// Why pods get no network (the condition `NetworkReady`), where they get none.
    pub no_network: Option<String>,
}

impl Status {
    fn of(answer: &StatusResponse) -> Self {
        let config = answer.info.get("config");
        let config = config.and_then(|text| serde_json::from_str(text).ok());
        let conditions = answer.status.iter().flat_map(|status| &status.conditions);
        let mut network = conditions
            .filter(|condition| condition.r#type == "NetworkReady" && !condition.status)
            .map(|condition| match &*condition.message {
                "" => condition.reason.clone(),
                message => message.to_owned(),
            });
        Self {
            handlers: config.map_or_else(Handlers::default, |config: Value| {
                Handlers::from_config(&config)
            }),
            no_network: network.next(),
        }
    }
}

impl Client {
    /// Asks containerd for its handlers.
    ///
    /// # Errors
    /// When the call fails; an answer without configuration is no error.
    pub async fn handlers(&self) -> Result<Handlers, Error> {
        Ok(self.status().await?.handlers)
    }

    /// Asks containerd for its handlers, and whether pods get a network.
    ///
    /// # Errors
    /// As [`Self::handlers`].
    pub async fn status(&self) -> Result<Status, Error> {
        let answer = self
            .runtime
            .clone()
            .status(StatusRequest { verbose: true })
            .await
            .map_err(Error::call("Status"))?;
        Ok(Status::of(answer.get_ref()))
    }
}

fn handler(runtime: &Value) -> RuntimeHandler {
    RuntimeHandler {
        runtime_type: text(runtime, "runtimeType"),
        runtime_path: text(runtime, "runtimePath"),
        sandboxer: text(runtime, "sandboxer"),
        pod_annotations: list(runtime, "PodAnnotations"),
        container_annotations: list(runtime, "ContainerAnnotations"),
        systemd_cgroup: field(runtime, "options")
            .and_then(|o| field(o, "SystemdCgroup"))
            .and_then(Value::as_bool)
            .unwrap_or(false),
    }
}

/// A field by its name in any case: containerd's JSON tags are not alike ("PodAnnotations").
fn field<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object
        .as_object()?
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

fn text(object: &Value, name: &str) -> String {
    field(object, name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn list(object: &Value, name: &str) -> Vec<String> {
    field(object, name)
        .and_then(Value::as_array)
        .map(|items| {
            items
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default()
}

/// Go's `path.Match` without character classes: `*` and `?` do not match `/`. A class (`[…]`) is
/// taken literally: annotation keys hold no brackets, so such a pattern matches nothing that matters.
pub(crate) fn path_match(pattern: &str, name: &str) -> bool {
    fn matches(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                matches(rest, name)
                    || name
                        .split_first()
                        .is_some_and(|(c, tail)| *c != b'/' && matches(pattern, tail))
            }
            (Some((b'?', rest)), Some((c, tail))) => *c != b'/' && matches(rest, tail),
            (Some((p, rest)), Some((c, tail))) => p == c && matches(rest, tail),
            _ => false,
        }
    }
    matches(pattern.as_bytes(), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{
        "containerd": {"defaultRuntimeName": "runc", "runtimes": {
            "runc": {"runtimeType": "io.containerd.runc.v2", "PodAnnotations": [],
                     "options": {"SystemdCgroup": true}},
            "podhook": {"runtimeType": "io.containerd.runc.v2",
                        "runtimePath": "/usr/bin/containerd-shim-podhook-v1",
                        "PodAnnotations": ["lifecycle.podhook.dev/*"],
                        "ContainerAnnotations": null, "options": null},
            "own-type": {"runtimeType": "io.containerd.podhook.v1", "sandboxer": "podsandbox"},
            "path": {"runtimeType": "/opt/containerd-shim-podhook-v1", "sandboxer": "shim"}}},
        "stateDir": "/run/containerd/io.containerd.grpc.v1.cri"}"#;

    fn handlers() -> Handlers {
        Handlers::from_config(&serde_json::from_str(CONFIG).unwrap())
    }

    #[test]
    fn every_runtime_configuration_is_podhook_and_runc_is_not() {
        let handlers = handlers();
        assert!(handlers.get("podhook").unwrap().is_podhook());
        assert!(handlers.get("own-type").unwrap().is_podhook());
        assert!(handlers.get("path").unwrap().is_podhook());
        assert!(!handlers.get("runc").unwrap().is_podhook());
        assert!(handlers.get("kata").is_none());
    }

    #[test]
    fn a_network_that_is_not_ready_is_said_with_its_reason() {
        use k8s_cri::v1::{RuntimeCondition, RuntimeStatus};
        let condition = |kind: &str, status: bool, message: &str| RuntimeCondition {
            r#type: kind.to_owned(),
            status,
            reason: "NetworkPluginNotReady".to_owned(),
            message: message.to_owned(),
        };
        let why = |network: RuntimeCondition| {
            let conditions = vec![condition("RuntimeReady", true, ""), network];
            Status::of(&StatusResponse {
                status: Some(RuntimeStatus { conditions }),
                ..StatusResponse::default()
            })
            .no_network
        };
        assert_eq!(why(condition("NetworkReady", true, "")), None);
        let said = "cni plugin not initialized";
        let none = why(condition("NetworkReady", false, said));
        assert_eq!(none.as_deref(), Some(said));
        let none = why(condition("NetworkReady", false, ""));
        assert_eq!(none.as_deref(), Some("NetworkPluginNotReady"));
    }

    #[test]
    fn a_shim_that_is_the_sandbox_has_the_pods_annotations_whole() {
        let handlers = handlers();
        let passes = |name: &str| {
            let handler = handlers.get(name).unwrap();
            handler.passes_pod_annotation("lifecycle.podhook.dev/web")
        };
        assert!(passes("path"));
        assert!(!passes("own-type"));
    }

    #[test]
    fn the_empty_name_is_the_default_handler() {
        assert!(handlers().get("").unwrap().systemd_cgroup);
    }

    #[test]
    fn the_state_directory_is_the_parent_of_the_cri_plugins() {
        assert_eq!(handlers().state(), Some(Path::new("/run/containerd")));
    }

    #[test]
    fn a_star_does_not_cross_the_slash() {
        assert!(!path_match("*", "lifecycle.podhook.dev/web"));
        assert!(path_match("*/*", "lifecycle.podhook.dev/web"));
        assert!(path_match(
            "lifecycle.podhook.dev/*",
            "lifecycle.podhook.dev/web"
        ));
        assert!(!path_match("podhook.dev/*", "lifecycle.podhook.dev/web"));
        assert!(path_match("*", "plain"));
    }
}
