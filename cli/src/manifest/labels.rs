//! The labels and annotations that the kubelet writes on what it makes
//! (`pkg/kubelet/kuberuntime/labels.go`).

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use serde::Serialize;

use super::lifecycle;

/// Label: the pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: the pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: the pod's UID.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: the container's name.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Container annotation: the pod's grace period in seconds.
pub const GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Container annotation: its ports as JSON; named ports of hooks are looked up here.
pub const PORTS: &str = podhook_hooks::lifecycle::PORTS_ANNOTATION;
/// Container annotation: a hash of its spec.
const HASH: &str = "io.kubernetes.container.hash";
const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";

/// The labels of a sandbox: the pod's own, and who it is.
pub(super) fn sandbox_labels(pod: &Pod, uid: &str) -> HashMap<String, String> {
    let mut labels: HashMap<_, _> = pod
        .metadata
        .labels
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    labels.extend(identity(pod, uid));
    labels
}

/// The labels of a container.
pub(super) fn container_labels(
    pod: &Pod,
    uid: &str,
    container: &Container,
) -> HashMap<String, String> {
    let mut labels = identity(pod, uid);
    labels.insert(CONTAINER_NAME.to_owned(), container.name.clone());
    labels
}

fn identity(pod: &Pod, uid: &str) -> HashMap<String, String> {
    HashMap::from([
        (
            POD_NAME.to_owned(),
            pod.metadata.name.clone().unwrap_or_default(),
        ),
        (
            POD_NAMESPACE.to_owned(),
            pod.metadata.namespace.clone().unwrap_or_default(),
        ),
        (POD_UID.to_owned(), uid.to_owned()),
    ])
}

/// The pod's own annotations and the lifecycle of each container.
pub(super) fn sandbox_annotations(pod: &Pod) -> HashMap<String, String> {
    let own = pod.metadata.annotations.clone().unwrap_or_default();
    let containers = pod.spec.iter().flat_map(|s| &s.containers);
    own.into_iter()
        .chain(containers.filter_map(lifecycle::annotation))
        .collect()
}

/// The annotations of a container. `io.kubernetes.container.preStopHandler` is left out: it is the
/// kubelet's note to itself to run the hook, and there is no kubelet here.
pub(super) fn container_annotations(pod: &Pod, container: &Container) -> HashMap<String, String> {
    let mut annotations = HashMap::from([
        (HASH.to_owned(), hash(container)),
        (RESTART_COUNT.to_owned(), "0".to_owned()),
        (
            MESSAGE_PATH.to_owned(),
            container
                .termination_message_path
                .clone()
                .unwrap_or_default(),
        ),
        (
            MESSAGE_POLICY.to_owned(),
            container
                .termination_message_policy
                .clone()
                .unwrap_or_default(),
        ),
    ]);
    let grace = pod
        .spec
        .as_ref()
        .and_then(|s| s.termination_grace_period_seconds);
    if let Some(seconds) = grace {
        annotations.insert(GRACE_PERIOD.to_owned(), seconds.to_string());
    }
    if let Some(json) = ports(container) {
        annotations.insert(PORTS.to_owned(), json);
    }
    annotations
}

/// A `ContainerPort` with the fields in the order of the Go type.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Port<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_port: Option<i32>,
    container_port: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'a str>,
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    host_ip: Option<&'a str>,
}

/// As the kubelet writes them.
pub(super) fn ports(container: &Container) -> Option<String> {
    let ports: Vec<Port> = container
        .ports
        .iter()
        .flatten()
        .map(|p| Port {
            name: p.name.as_deref(),
            host_port: p.host_port,
            container_port: p.container_port,
            protocol: p.protocol.as_deref(),
            host_ip: p.host_ip.as_deref(),
        })
        .collect();
    if ports.is_empty() {
        None
    } else {
        serde_json::to_string(&ports).ok()
    }
}

/// FNV-1a over the container's JSON, in lower hex as the kubelet prints its hash.
fn hash(container: &Container) -> String {
    let json = serde_json::to_vec(container).unwrap_or_default();
    let hash = json.iter().fold(0x811c_9dc5_u32, |h, byte| {
        (h ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    format!("{hash:x}")
}
