//! The annotations of the OCI spec, and what CRI says in them.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::text;

/// The OCI spec's annotations, in whatever map they come.
pub trait Annotations {
    fn value(&self, key: &str) -> Option<&str>;
}

impl Annotations for BTreeMap<String, String> {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl Annotations for HashMap<String, String> {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

/// `None`: a spec without annotations.
impl<A: Annotations> Annotations for Option<A> {
    fn value(&self, key: &str) -> Option<&str> {
        self.as_ref()?.value(key)
    }
}

impl<A: Annotations> Annotations for &A {
    fn value(&self, key: &str) -> Option<&str> {
        (**self).value(key)
    }
}

const CONTAINER_TYPE: &str = "io.kubernetes.cri.container-type";
/// What containerd calls the container of a pod.
pub const CONTAINER_NAME_ANNOTATION: &str = "io.kubernetes.cri.container-name";
const SANDBOX_NAMESPACE: &str = "io.kubernetes.cri.sandbox-namespace";
const SANDBOX_NAME: &str = "io.kubernetes.cri.sandbox-name";
const SANDBOX_UID: &str = "io.kubernetes.cri.sandbox-uid";

const IMAGE_NAME: &str = "io.kubernetes.cri.image-name";
/// How often the kubelet has restarted the container.
const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";

/// The image's name as the CRI client gave it.
pub(crate) fn image(annotations: &impl Annotations) -> Option<&str> {
    annotations.value(IMAGE_NAME)
}

/// The container's attempt, where the kubelet's annotation is passed on.
pub fn attempt(annotations: &impl Annotations) -> Option<u32> {
    annotations.value(RESTART_COUNT)?.parse().ok()
}

/// Whether a CRI client made the container.
pub fn is_cri(annotations: &impl Annotations) -> bool {
    annotations.value(CONTAINER_TYPE).is_some()
}

/// Whether it is a pod's sandbox: that never has a lifecycle.
pub fn is_sandbox(annotations: &impl Annotations) -> bool {
    annotations.value(CONTAINER_TYPE) == Some("sandbox")
}

/// Which container of which pod it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// The pod's Kubernetes namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The container's name in the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

impl Pod {
    /// As containerd's CRI plugin writes it; none for a container that is in no pod. Kubernetes names
    /// have at most 253 characters; anything longer is cut.
    pub fn from_annotations(annotations: &impl Annotations) -> Option<Pod> {
        let value = |key| {
            annotations
                .value(key)
                .map(|value| text::shorten(value, 253))
        };
        let pod = Pod {
            namespace: value(SANDBOX_NAMESPACE),
            name: value(SANDBOX_NAME),
            uid: value(SANDBOX_UID),
            container: value(CONTAINER_NAME_ANNOTATION),
        };
        (pod != Pod::default()).then_some(pod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_container_outside_of_pods_has_no_pod() {
        assert_eq!(Pod::from_annotations(&annotations(&[("a", "b")])), None);
        assert!(!is_cri(&None::<BTreeMap<String, String>>));
    }

    #[test]
    fn a_pod_is_read_as_containerd_writes_it() {
        let annotations = annotations(&[
            (CONTAINER_TYPE, "container"),
            (CONTAINER_NAME_ANNOTATION, "nginx"),
            (SANDBOX_NAMESPACE, "shop"),
            (SANDBOX_NAME, "web-0"),
            (SANDBOX_UID, "u-1"),
        ]);
        let pod = Pod::from_annotations(&annotations).unwrap();
        assert_eq!(pod.namespace.as_deref(), Some("shop"));
        assert_eq!(pod.name.as_deref(), Some("web-0"));
        assert_eq!(pod.uid.as_deref(), Some("u-1"));
        assert_eq!(pod.container.as_deref(), Some("nginx"));
        assert!(is_cri(&annotations) && !is_sandbox(&annotations));
    }

    #[test]
    fn containerd_1_6_writes_no_sandbox_uid() {
        let pod = Pod::from_annotations(&annotations(&[(SANDBOX_NAME, "web-0")])).unwrap();
        assert_eq!(serde_json::to_string(&pod).unwrap(), r#"{"name":"web-0"}"#);
    }
}
