//! Kubernetes' defaults (`pkg/apis/core/v1/defaults.go`), as far as podhook acts on the fields.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

/// The grace period of a pod that sets none.
pub const GRACE_PERIOD_SECONDS: i64 = 30;

/// Fills in what the manifest leaves open.
pub(super) fn pod(pod: &mut Pod, namespace: Option<&str>) {
    pod.metadata
        .namespace
        .get_or_insert_with(|| namespace.unwrap_or("default").to_owned());
    let Some(spec) = &mut pod.spec else { return };
    spec.restart_policy
        .get_or_insert_with(|| "Always".to_owned());
    spec.dns_policy
        .get_or_insert_with(|| "ClusterFirst".to_owned());
    spec.termination_grace_period_seconds
        .get_or_insert(GRACE_PERIOD_SECONDS);
    default_containers(spec);
}

fn default_containers(spec: &mut PodSpec) {
    let host_network = spec.host_network == Some(true);
    for container in &mut spec.containers {
        // Unlike Kubernetes also for `:latest`: there is no cluster whose nodes must agree, and a
        // local image is used as it is.
        container
            .image_pull_policy
            .get_or_insert_with(|| "IfNotPresent".to_owned());
        container
            .termination_message_path
            .get_or_insert_with(|| "/dev/termination-log".to_owned());
        container
            .termination_message_policy
            .get_or_insert_with(|| "File".to_owned());
        for port in container.ports.iter_mut().flatten() {
            port.protocol.get_or_insert_with(|| "TCP".to_owned());
            if host_network {
                port.host_port.get_or_insert(port.container_port);
            }
        }
        default_requests(container);
    }
}

/// A limit without a request is also the request.
fn default_requests(container: &mut Container) {
    let Some(resources) = &mut container.resources else {
        return;
    };
    let Some(limits) = &resources.limits else {
        return;
    };
    let requests = resources.requests.get_or_insert_default();
    for (name, limit) in limits {
        requests
            .entry(name.clone())
            .or_insert_with(|| limit.clone());
    }
}
