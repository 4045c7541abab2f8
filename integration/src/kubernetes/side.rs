//! Whose hooks a test's pods have, and on which shim: the kubelet's, or podhook's.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::shim::ShimKind;

/// The prefix of the pod's annotations that name a container.
const ANNOTATION: &str = "lifecycle.podhook.dev/";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The kubelet's hooks on containerd-shim-runc-v2: the yardstick.
    Original,
    /// The kubelet's hooks on podhook.
    Lifecycle,
    /// podhook's own hooks, by annotations.
    Podhook,
    /// The same, in pods without a pause container.
    Pauseless,
}

impl Side {
    pub const ALL: [Self; 4] = [
        Self::Original,
        Self::Lifecycle,
        Self::Podhook,
        Self::Pauseless,
    ];

    /// Where podhook runs the hooks.
    pub const OWN: [Self; 2] = [Self::Podhook, Self::Pauseless];

    /// The shim of its pods.
    #[must_use]
    pub fn shim(self) -> ShimKind {
        match self {
            Self::Original => ShimKind::Runc,
            Self::Lifecycle | Self::Podhook => ShimKind::Podhook,
            Self::Pauseless => ShimKind::Pauseless,
        }
    }

    /// Whether podhook runs the hooks.
    #[must_use]
    pub fn is_podhook(self) -> bool {
        matches!(self, Self::Podhook | Self::Pauseless)
    }

    /// The manifest of a pod of `spec` with hooks for its containers by name. What a test does not say is as short as
    /// can be: no account's token, busybox, no pull.
    #[must_use]
    pub fn pod(self, name: &str, hooks: &[(&str, &Value)], mut spec: Value) -> Value {
        spec["automountServiceAccountToken"] = json!(false);
        if spec["runtimeClassName"].is_null() {
            spec["runtimeClassName"] = json!(self.shim().handler());
        }
        for list in ["containers", "initContainers"] {
            let containers = spec.get_mut(list).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                if container["image"].is_null() {
                    container["image"] = json!("busybox");
                }
                container["imagePullPolicy"] = json!("Never");
                let own = |(name, _): &&(&str, &Value)| container["name"] == *name;
                if let Some((_, lifecycle)) = hooks.iter().find(own) {
                    container["lifecycle"] = (*lifecycle).clone();
                }
            }
        }
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": spec,
        });
        if self.is_podhook() {
            annotated(pod)
        } else {
            pod
        }
    }
}

/// A pod whose containers' `lifecycle` are podhook's annotations instead.
#[must_use]
pub fn annotated(mut pod: Value) -> Value {
    let mut annotations = Map::new();
    for list in ["containers", "initContainers"] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            let taken = container
                .as_object_mut()
                .and_then(|fields| fields.remove("lifecycle"));
            if let Some(lifecycle) = taken {
                annotations.insert(format!("{ANNOTATION}{name}"), json!(lifecycle.to_string()));
            }
        }
    }
    pod["metadata"]["annotations"] = Value::Object(annotations);
    pod
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Original => "runc",
            Self::Lifecycle => "podhook-lifecycle",
            Self::Podhook => "podhook",
            Self::Pauseless => "podhook-pauseless",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_are_in_the_spec_or_in_an_annotation_and_never_in_both() {
        let hooks = json!({"preStop": {"sleep": {"seconds": 1}}});
        for side in Side::ALL {
            let spec = json!({"containers": [{"name": "main"}, {"name": "other"}]});
            let pod = side.pod("web", &[("main", &hooks)], spec);
            let main = &pod["spec"]["containers"][0];
            let annotation = &pod["metadata"]["annotations"]["lifecycle.podhook.dev/main"];
            if side.is_podhook() {
                assert!(main["lifecycle"].is_null());
                assert_eq!(annotation.as_str(), Some(&*hooks.to_string()));
            } else {
                assert_eq!(main["lifecycle"], hooks);
                assert!(annotation.is_null());
            }
            assert!(pod["spec"]["containers"][1]["lifecycle"].is_null());
        }
    }
}
